"""Assigns each document to a split: trained on, held out, or kept for the test at the end."""

import contextlib
import dataclasses
import hashlib
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np

from lm_lab.data.documents import SIDES, digest
from lm_lab.data.progress import Progress
from lm_lab.data.selection import (
    KEEP,
    NO_FILTER,
    Copies,
    Duplicates,
    Filter,
    Keep,
    content_of,
    describe,
)
from lm_lab.data.spool import Spool
from lm_lab.types import DataForm, Document, UserError

SplitRule = Literal["documents", "tail"]
Documents = Callable[[], Iterator[Document]]
TRAIN, HELDOUT, TEST = range(len(SIDES))
UNSTATED = -1
LEFT_OUT = 255
DIGEST = 32  # bytes of a SHA-256


class Rule(NamedTuple):
    """How documents are held out if the source does not state it, and which are left out."""

    split: SplitRule
    fraction: float
    filter: Filter = NO_FILTER
    duplicates: Duplicates = KEEP
    train_documents: int | None = None  # how many are trained on, at most

    @property
    def facts(self) -> dict[str, object]:
        """The settings that leave documents out, for the key of a store; {} if there are none."""
        settings: dict[str, object] = {}
        if self.filter != NO_FILTER:
            settings["filter"] = dataclasses.asdict(self.filter)
        if not isinstance(self.duplicates, Keep):
            name = type(self.duplicates).__name__.lower()
            settings["duplicates"] = {"name": name, **dataclasses.asdict(self.duplicates)}
        if self.train_documents is not None:
            settings["train_documents"] = self.train_documents
        return settings


class Facts(NamedTuple):
    """What the first reading of a source stores of a document."""

    sha256: bytes  # of all its content
    # of its group, or of its text alone: groups, and pairs with one source, go to one split
    text_sha256: bytes
    bytes: int
    side: int  # the split that the source states, an index of SIDES, or UNSTATED


class DocumentInfo:
    """The facts of all documents of a source, in 73 bytes each."""

    def __init__(self) -> None:
        """Without documents."""
        self._sha256, self._text_sha256 = bytearray(), bytearray()
        self._bytes, self._stated = array("q"), array("b")

    def __len__(self) -> int:
        """The number of documents."""
        return len(self._bytes)

    def __iter__(self) -> Iterator[Facts]:
        """The facts, in the order of the documents."""
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, number: int) -> Facts:
        """The facts of a document."""
        place = slice(number * DIGEST, (number + 1) * DIGEST)
        digests = bytes(self._sha256[place]), bytes(self._text_sha256[place])
        return Facts(*digests, self._bytes[number], self._stated[number])

    def add(self, facts: Facts) -> None:
        """Adds the facts of the next document."""
        self._sha256 += facts.sha256
        self._text_sha256 += facts.text_sha256
        self._bytes.append(facts.bytes)
        self._stated.append(facts.side)

    def part(self, places: np.ndarray) -> "DocumentInfo":
        """The facts of some documents."""
        selected = DocumentInfo()
        for index in places.tolist():
            selected.add(self[index])
        return selected

    @property
    def sha256(self) -> np.ndarray:
        """SHA-256 of all content, u8[n, 32]."""
        return np.frombuffer(bytes(self._sha256), np.uint8).reshape(-1, DIGEST)

    @property
    def text_sha256(self) -> np.ndarray:
        """SHA-256 of the groups, or of the texts of documents without one, u8[n, 32]."""
        return np.frombuffer(bytes(self._text_sha256), np.uint8).reshape(-1, DIGEST)

    @property
    def bytes(self) -> np.ndarray:
        """UTF-8 bytes of text and target, i64[n]."""
        return np.array(self._bytes, np.int64)

    @property
    def stated(self) -> np.ndarray:
        """The splits that the source states, i8[n]; UNSTATED where it states none."""
        return np.array(self._stated, np.int8)


class Scan(NamedTuple):
    """The result of the first reading of a source."""

    info: DocumentInfo
    sides: np.ndarray  # u8[n]: the split of each document, an index of SIDES, or LEFT_OUT
    left_out: dict[str, int]  # how many documents are left out, by the reason
    leaked: int  # training documents that are also held out or in the test, and were not looked for

    @property
    def kept(self) -> np.ndarray:
        """Which documents are read, bool[n]."""
        return self.sides != LEFT_OUT

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of the documents that are read."""
        return self.bytes_before(len(self.sides))

    def bytes_before(self, number: int) -> int:
        """UTF-8 bytes of the kept documents before the one with this number."""
        return int(self.info.bytes[:number][self.kept[:number]].sum())


def scan(documents: Documents, rule: Rule, kind: DataForm, spool: Spool | None = None) -> Scan:
    """The facts of every document, and its split. Documents left out by the filter or as copies are
    counted on stderr. The documents go into the spool. Raises UserError for an empty split.
    """
    info, counts, read, grouped = DocumentInfo(), Counter[str](), array("b"), False
    filters, finds = rule.filter != NO_FILTER, not isinstance(rule.duplicates, Keep)
    with contextlib.ExitStack() as stack:
        copies = Copies(rule.duplicates, stack) if finds else None
        progress = stack.enter_context(Progress("Reading text"))
        for document in documents():
            facts = facts_of(document)
            info.add(facts)
            fault = rule.filter.fault(content_of(document)) if filters else None
            if fault:
                counts[fault] += 1
            read.append(fault is None)
            grouped |= document.group is not None
            if copies is not None and fault is None:
                copies.add(content_of(document))
            if spool is not None:
                spool.add(document, facts.bytes)
            progress.add(facts.bytes)
        if spool is not None:
            spool.flush()
        sides = _assign_kept(info, np.array(read, bool), rule, kind)
        if copies is not None:
            counts.update(_leave_out(copies, sides))
        if rule.train_documents is not None:
            counts.update(_keep_few(info, sides, rule.train_documents))
    if reasons := ", ".join(describe(counts)):
        print(f"left out of {len(info):,} documents: {reasons}", file=sys.stderr, flush=True)
    leaked = 0 if finds else _leaked(info, sides, kind, grouped)
    return Scan(info, sides, {name: count for name, count in counts.items() if count}, leaked)


def _assign_kept(info: DocumentInfo, read: np.ndarray, rule: Rule, kind: DataForm) -> np.ndarray:
    """The splits u8[n] of documents; those that are not `read` bool[n] are left out."""
    if read.all():
        return assign_splits(info, rule, kind)
    if not read.any():
        raise UserError(f"config.data.filter: leaves none of {len(info):,} documents; loosen it")
    splits = np.full(len(info), LEFT_OUT, np.uint8)
    splits[read] = assign_splits(info.part(np.flatnonzero(read)), rule, kind)
    return splits


def _leave_out(copies: Copies, sides: np.ndarray) -> Counter[str]:
    """Leaves copies out of `sides`, in place; returns how many of each kind."""
    indices = np.flatnonzero(sides != LEFT_OUT)
    is_copy, counts = copies.find(sides[indices] != TRAIN)
    sides[indices[is_copy]] = LEFT_OUT
    if not (sides == TRAIN).any():
        raise UserError(
            "config.data.duplicates: all training documents are copies of held-out or test ones; "
            "give other text"
        )
    return counts


def _keep_few(info: DocumentInfo, sides: np.ndarray, count: int) -> Counter[str]:
    """Leaves all training documents but `count` out of `sides`, in place; returns how many are left
    out.

    A hash of the text chooses them, not the one that decides what is held out. So the documents of
    a smaller count are among those of a larger one, and copies of a text stay together.
    """
    indices = np.flatnonzero(sides == TRAIN)
    if not (sides == HELDOUT).any():
        raise UserError(
            "config.data.train_documents: chooses whole documents, and what is held out is the end "
            "of the text; leave it out, or hold out whole documents (config.data.split)"
        )
    if len(indices) < count:
        raise UserError(
            f"config.data.train_documents: {count:,} are asked for and there are {len(indices):,}; "
            "lower it, or leave it out for all"
        )
    hashes = info.text_sha256[indices, 8:16].copy().view("<u8")[:, 0]
    beyond = indices[np.argsort(hashes, kind="stable")[count:]]
    sides[beyond] = LEFT_OUT
    return Counter(beyond_train_documents=len(beyond))


def _leaked(info: DocumentInfo, sides: np.ndarray, kind: DataForm, grouped: bool) -> int:
    """How many training documents are byte for byte also held out or in the test."""
    by_text = kind in ("stream", "labelled") and not grouped
    hashes = info.text_sha256 if by_text else info.sha256
    heads = hashes[:, :8].copy().view("<u8")[:, 0]
    return int(np.isin(heads[sides == TRAIN], heads[(sides == HELDOUT) | (sides == TEST)]).sum())


def facts_of(document: Document) -> Facts:
    """Hashes and size of a document."""
    data = document.text.encode()
    text = sha256 = hashlib.sha256(data).digest()
    target = b"" if document.target is None else document.target.encode()
    rejected = [] if document.rejected is None else [document.rejected.encode()]
    if document.target is not None or document.label is not None:
        sha256 = bytes.fromhex(digest([data, target, repr(document.label), *rejected]))
    if document.rejected is not None and not document.text:
        text = sha256  # preferences without prompts are no copies of each other
    if document.group is not None:
        text = hashlib.sha256(b"group " + document.group.encode()).digest()
    side = UNSTATED if document.split is None else SIDES.index(document.split)
    return Facts(sha256, text, len(data) + len(target) + sum(map(len, rejected)), side)


def assign_splits(info: DocumentInfo, rule: Rule, kind: DataForm) -> np.ndarray:
    """The split of each document, an index of SIDES, u8[n].

    Where the source states what is held out, everything else that is not test is trained on. Else
    the rule divides all that is not test. A stream whose end is held out has no held-out document;
    a single document is always divided that way. Raises UserError for an empty split.
    """
    stated = info.stated
    sides = np.where(stated == UNSTATED, TRAIN, stated).astype(np.uint8)
    if (sides == HELDOUT).any() or (stated == TRAIN).any():
        if not ((sides == TRAIN).any() and (sides == HELDOUT).any()):
            raise UserError(
                "config.data.source: gives no text to train on, or none that is held out; name "
                "both files"
            )
        return sides
    unassigned = np.flatnonzero(sides == TRAIN)
    if not len(unassigned):
        raise UserError("config.data.source: gives text for the test alone, and none to train on")
    if rule.split == "documents" and (kind != "stream" or len(unassigned) > 1):
        sides[unassigned] = choose(info.text_sha256[unassigned], rule.fraction, kind)
    elif kind != "stream":
        raise UserError(
            "config.data.split: 'tail' cuts a stream of text, and records are whole; leave it "
            "'documents'"
        )
    return sides


def choose(text_sha256: np.ndarray, fraction: float, kind: DataForm = "stream") -> np.ndarray:
    """Which documents are held out, bool[n]: those whose hash u8[n, 32], as a number in [0, 1), is
    below `fraction`.

    Only the text decides: a document stays in its split when others come or go or it is renamed,
    and copies of a text share a split. Each split gets at least one text. Raises UserError if all
    are copies of one text.
    """
    copies_of_first = (text_sha256 == text_sha256[0]).all(-1)
    if copies_of_first.all():
        tail = "set config.data.split='tail' to hold out the end of the text"
        remedy = tail if kind == "stream" else "give more, or config.data.source.heldout_path"
        raise UserError(
            "config.data.split: 'documents' needs at least two different documents and the source "
            f"has 1; {remedy}"
        )
    heads = text_sha256[:, :8].copy().view(">u8")[:, 0]
    below = heads < min(int(fraction * 2**64), 2**64 - 1)
    lowest = min(row.tobytes() for row in text_sha256[heads == heads.min()])
    highest = max(row.tobytes() for row in text_sha256[heads == heads.max()])
    below[_is(text_sha256, lowest)] = True
    below[_is(text_sha256, highest)] = False
    return below


def _is(text_sha256: np.ndarray, sha256: bytes) -> np.ndarray:
    """Which of the hashes equal the given one, bool[n]."""
    return (text_sha256 == np.frombuffer(sha256, np.uint8)).all(-1)
