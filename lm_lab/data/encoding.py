"""Encodes documents, batch by batch: while a batch is encoded on all cores, the next one is read
and the previous one is written.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from lm_lab.data.documents import SIDES
from lm_lab.data.splits import LEFT_OUT, Documents, Facts, Scan, facts_of
from lm_lab.data.spool import Spool
from lm_lab.types import Codec, Document, Sampling, Side, UserError

BATCH_BYTES, BATCH_DOCUMENTS = 2**22, 2**14
CHANGED = "changed while it was read; run again when it is at rest"


class Read(NamedTuple):
    """A batch of consecutive documents, without those that are left out."""

    documents: list[Document]
    facts: list[Facts]
    sides: list[Side]
    stop: int  # the number of the first document after the batch
    bytes: int = 0  # of UTF-8 text


class Encoded(NamedTuple):
    """A batch with the ids of each document's texts: text, then target, then rejected.

    A document that is stored several times is there so often, and `read.bytes` counts it once.
    """

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
            yield batch._replace(stop=number + 1, bytes=size)
            batch, size = Read([], [], [], number + 1), 0
    if batch.documents:
        yield batch._replace(stop=len(info), bytes=size)


def _from(documents: Documents, spool: Spool, first: int, stop: int) -> Iterator[Document]:
    """The documents from number `first` on, from the spool as far as it has them."""
    yield from spool.documents(first)
    if spool.count < stop:
        yield from itertools.islice(documents(), max(first, spool.count), None)


def _encode(tokenizer: Codec, batch: Read) -> Encoded:
    """The ids of all texts of a batch; of training documents the drawn ones, where the tokenizer
    draws.
    """
    if tokenizer.sampling is None:
        return Encoded(batch, _ids(tokenizer, batch.documents))
    others = _part(batch, [side != "train" for side in batch.sides])
    trained = _part(batch, [side == "train" for side in batch.sides])
    drawn = [
        Encoded(trained, _drawn_ids(tokenizer.sampling, trained, copy))
        for copy in range(tokenizer.sampling.copies)
    ]
    parts = [Encoded(others, _ids(tokenizer, others.documents)), *drawn]
    documents, facts, sides = (
        list(itertools.chain.from_iterable(column))
        for column in zip(*(part.read[:3] for part in parts))
    )
    read = batch._replace(documents=documents, facts=facts, sides=sides)
    return Encoded(read, list(itertools.chain.from_iterable(part.ids for part in parts)))


def _part(batch: Read, chosen: list[bool]) -> Read:
    """The chosen documents of a batch."""
    documents, facts, sides = (list(itertools.compress(column, chosen)) for column in batch[:3])
    return batch._replace(documents=documents, facts=facts, sides=sides)


def _drawn_ids(sampling: Sampling, batch: Read, copy: int) -> list[list[np.ndarray]]:
    """The ids of each document's texts, drawn by a seed of the documents and the copy's number, so
    that a build that goes on after a kill draws the same ones.
    """
    names = b"".join(facts.sha256 for facts in batch.facts)
    seed = int.from_bytes(hashlib.sha256(b"%d " % copy + names).digest()[:4], "little")
    texts = [_texts(document) for document in batch.documents]
    return _grouped(sampling.draw([text for group in texts for text in group], seed), texts)


def _grouped(ids: Iterable[np.ndarray], texts: list[list[str]]) -> list[list[np.ndarray]]:
    """The ids of texts one after another, by document."""
    following = iter(ids)
    return [list(itertools.islice(following, len(group))) for group in texts]


def _ids(tokenizer: Codec, documents: list[Document]) -> list[list[np.ndarray]]:
    """The ids of each document's texts, by one call of the tokenizer, or by two where sources are
    tokenized another way.
    """
    texts = [_texts(document) for document in documents]
    if tokenizer.encode_source is None:
        return _grouped(tokenizer.encode_batch([text for group in texts for text in group]), texts)
    target_ids = iter(tokenizer.encode_batch([text for group in texts for text in _answers(group)]))
    return [
        [
            *(tokenizer.of_source(text) for text in group[: len(group) - len(_answers(group))]),
            *itertools.islice(target_ids, len(_answers(group))),
        ]
        for group in texts
    ]


def _answers(texts: list[str]) -> list[str]:
    """The texts that are not a source: all but the first, if there are several."""
    return texts[1:] or texts


def _texts(document: Document) -> list[str]:
    """The texts of a document, in the order in which a store has them."""
    parts = (document.text, document.target, document.rejected)
    return [part for part in parts if part is not None]
