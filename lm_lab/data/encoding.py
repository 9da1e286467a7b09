"""Encodes documents, batch by batch: while a batch is encoded on all cores, the next one is read
and the previous one is written.
"""

import itertools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from lm_lab.data.documents import SIDES
from lm_lab.data.splits import LEFT_OUT, Documents, Facts, Scan, facts_of
from lm_lab.data.spool import Spool
from lm_lab.types import Codec, Document, Side, UserError

BATCH_BYTES, BATCH_DOCUMENTS = 2**22, 2**14
CHANGED = "changed while it was read; run again when it is at rest"


class Read(NamedTuple):
    """A batch of consecutive documents, without those that are left out."""

    documents: list[Document]
    facts: list[Facts]
    sides: list[Side]
    stop: int  # the number of the first document after the batch


class Encoded(NamedTuple):
    """A batch with the ids of each document's texts: text, then target, then rejected."""

    read: Read
    ids: list[list[np.ndarray]]


def encoded(
    documents: Documents, scanned: Scan, spool: Spool, tokenizer: Codec, first: int = 0
) -> Iterator[Encoded]:
    """The documents from number `first` on, in batches; those that the spool has not are read
    again.

    Raises UserError for a document that changed since the first reading.
    """
    waiting: Future[Encoded] | None = None
    with ThreadPoolExecutor(1) as pool:
        for batch in _batches(documents, scanned, spool, first):
            following = pool.submit(_encode, tokenizer, batch)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


def _batches(documents: Documents, scanned: Scan, spool: Spool, first: int) -> Iterator[Read]:
    info, splits = scanned.info, scanned.sides.tolist()
    batch, size, numbers = Read([], [], [], first), 0, range(first, len(info))
    for number, document in zip(numbers, _from(documents, spool, first, len(info))):
        expected = info[number]
        if number >= spool.count and facts_of(document) != expected:
            raise UserError(f"config.data.source: {document.name} {CHANGED}")
        if splits[number] == LEFT_OUT:
            continue
        batch.documents.append(document)
        batch.facts.append(expected)
        batch.sides.append(SIDES[splits[number]])
        size += expected.bytes
        if size >= BATCH_BYTES or len(batch.documents) == BATCH_DOCUMENTS:
            yield batch._replace(stop=number + 1)
            batch, size = Read([], [], [], number + 1), 0
    if batch.documents:
        yield batch._replace(stop=len(info))


def _from(documents: Documents, spool: Spool, first: int, stop: int) -> Iterator[Document]:
    """The documents from number `first` on, from the spool as far as it has them."""
    yield from spool.documents(first)
    if spool.count < stop:
        yield from itertools.islice(documents(), max(first, spool.count), None)


def _encode(tokenizer: Codec, batch: Read) -> Encoded:
    """The ids of all texts of a batch, by one call of the tokenizer, or by two where sources are
    tokenized another way.
    """
    texts = [_texts(document) for document in batch.documents]
    if tokenizer.encode_source is None:
        ids_of_texts = iter(tokenizer.encode_batch([text for group in texts for text in group]))
        ids = [list(itertools.islice(ids_of_texts, len(group))) for group in texts]
    else:
        target_ids = iter(
            tokenizer.encode_batch([text for group in texts for text in _answers(group)])
        )
        ids = [
            [
                *(tokenizer.of_source(text) for text in group[: len(group) - len(_answers(group))]),
                *itertools.islice(target_ids, len(_answers(group))),
            ]
            for group in texts
        ]
    return Encoded(batch, ids)


def _answers(texts: list[str]) -> list[str]:
    """The texts that are not a source: all but the first, if there are several."""
    return texts[1:] or texts


def _texts(document: Document) -> list[str]:
    """The texts of a document, in the order in which a store has them."""
    parts = (document.text, document.target, document.rejected)
    return [part for part in parts if part is not None]
