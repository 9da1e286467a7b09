"""Which documents are left out: those that a filter refuses, and copies of other documents."""

import contextlib
import dataclasses
import hashlib
import re
import tempfile
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np

from lm_lab.schema import setting
from lm_lab.types import Document, UserError


@dataclasses.dataclass(frozen=True)
class Filter:
    """The filter of documents. Sizes are of text and target together."""

    least_bytes: int | None = setting("leave out documents with fewer UTF-8 bytes", None, low=1)
    most_bytes: int | None = setting("leave out documents with more UTF-8 bytes", None, low=1)
    least_characters: int | None = setting("leave out documents with fewer characters", None, low=1)
    most_characters: int | None = setting("leave out documents with more characters", None, low=1)
    matches: str | None = setting("leave out documents without a match of this expression", None)
    matches_not: str | None = setting("leave out documents with a match of this expression", None)

    def __post_init__(self) -> None:
        """Checks the expressions."""
        for name, pattern in (("matches", self.matches), ("matches_not", self.matches_not)):
            try:
                re.compile(pattern or "")
            except re.error as error:
                raise UserError(f"{name} is no regular expression ({error}); mend it") from None

    def fault(self, content: str) -> str | None:
        """The setting by which a document is left out, None if it is read."""
        size, length = len(content.encode()), len(content)
        refusals = {
            "least_bytes": size < (self.least_bytes or 0),
            "most_bytes": size > (self.most_bytes or size),
            "least_characters": length < (self.least_characters or 0),
            "most_characters": length > (self.most_characters or length),
            "matches": self.matches is not None and not re.search(self.matches, content),
            "matches_not": self.matches_not is not None and re.search(self.matches_not, content),
        }
        return next((name for name, refuses in refusals.items() if refuses), None)


@dataclasses.dataclass(frozen=True)
class Keep:
    """Copies are trained on too."""


@dataclasses.dataclass(frozen=True)
class Exact:
    """Training documents that are equal but for white space and Unicode's normal form to an earlier
    one, or to one of the held-out text or the test, are left out.
    """


@dataclasses.dataclass(frozen=True)
class Near:
    """As exact, and also those that share most of their shingles (MinHash, banded; Broder 1997,
    2107.06499).
    """

    threshold: float = setting(
        "share of common shingles, as MinHash estimates it, from which texts are copies",
        0.8,
        low=0.1,
        high=0.99,
    )
    shingle: int = setting("words in a shingle", 5, low=1, high=100)
    permutations: int = setting("of MinHash; more are slower and more exact", 128, low=16, high=512)
    seed: int = setting("of the permutations", 1, low=0, high=2**32 - 1)


Duplicates = Keep | Exact | Near
DUPLICATES: dict[str, type] = {"keep": Keep, "exact": Exact, "near": Near}
NO_FILTER, KEEP = Filter(), Keep()


def content_of(document: Document) -> str:
    """All text of a document."""
    parts = (document.text, document.target, document.rejected)
    return "\n".join(part for part in parts if part is not None)


class Copies:
    """Finds copies among documents that are added one by one: 16 bytes of memory each, and the
    signatures for near ones in a temporary file.
    """

    def __init__(self, settings: Duplicates, stack: contextlib.ExitStack) -> None:
        """`stack` closes the file. Raises UserError where datasketch is needed and not
        installed.
        """
        self._digests, self._count = bytearray(), 0
        self._near = _Signatures(settings, stack) if isinstance(settings, Near) else None

    def add(self, content: str) -> None:
        """Adds the next document."""
        normal = " ".join(unicodedata.normalize("NFC", content).split())
        self._digests += hashlib.sha256(normal.encode()).digest()[:16]
        if self._near is not None:
            self._near.add(normal)

    def find(self, judged: np.ndarray) -> tuple[np.ndarray, Counter[str]]:
        """(which documents are copies bool[n], how many of each kind), `judged` documents bool[n]
        (held out, or of the test) are never copies; a training document may be a copy of those, or
        of an earlier training document.
        """
        exact, counts = self._exact(judged)
        if self._near is None:
            return exact, counts
        near = self._near.find(judged, exact, counts)
        return exact | near, counts

    def _exact(self, judged: np.ndarray) -> tuple[np.ndarray, Counter[str]]:
        high, low = np.frombuffer(bytes(self._digests), "<u8").reshape(-1, 2).T
        order = np.lexsort((np.arange(len(high)), ~judged, low, high))
        follows = np.zeros(len(order), bool)
        follows[1:] = (high[order][1:] == high[order][:-1]) & (low[order][1:] == low[order][:-1])
        first = np.maximum.accumulate(np.where(follows, 0, np.arange(len(order))))
        copies, of_judged = np.zeros(len(order), bool), np.zeros(len(order), bool)
        copies[order] = follows & ~judged[order]
        of_judged[order] = judged[order][first] & copies[order]
        leaked = int(of_judged.sum())
        return copies, Counter(exact=int(copies.sum()) - leaked, exact_of_judged=leaked)


class _Signatures:
    """MinHash signatures of documents, in a temporary file."""

    def __init__(self, settings: Near, stack: contextlib.ExitStack) -> None:
        try:
            from datasketch import MinHash, MinHashLSH
        except ImportError:
            raise UserError(
                "config.data.duplicates 'near' needs datasketch; install it with pip install "
                '"lm_lab[data]"'
            ) from None
        self._settings = settings
        self._empty = MinHash(settings.permutations, seed=settings.seed)
        index = MinHashLSH(settings.threshold, settings.permutations)
        self._bands, self._rows = index.b, index.r  # with the fewest errors at the threshold
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the stack closes it
        self._file = stack.enter_context(file)

    def add(self, text: str) -> None:
        tokens, size = text.split(), self._settings.shingle
        starts = range(max(1, len(tokens) - size + 1))
        shingles = {" ".join(tokens[start : start + size]).encode() for start in starts}
        signature = self._empty.copy()
        signature.update_batch(sorted(shingles))
        self._file.write(signature.hashvalues.astype("<u4").tobytes())

    def find(self, judged: np.ndarray, dropped: np.ndarray, counts: Counter[str]) -> np.ndarray:
        """Which documents are near copies, bool[n], of those that are not `dropped` yet."""
        self._file.flush()
        shape = (len(judged), self._settings.permutations)
        signatures = np.memmap(self._file, "<u4", "r", shape=shape) if len(judged) else None
        copies = np.zeros(len(judged), bool)
        if signatures is None:
            return copies
        buckets = self._shared_buckets(signatures, np.flatnonzero(~dropped))
        originals: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number in sorted(buckets, key=lambda document: (not judged[document], document)):
            original = None
            if not judged[number]:
                before = {document for bucket in buckets[number] for document in originals[bucket]}
                original = self._original(signatures, number, sorted(before))
            if original is None:
                for bucket in buckets[number]:
                    originals[bucket].append(number)
            else:
                copies[number] = True
                counts["near_of_judged" if judged[original] else "near"] += 1
        return copies

    def _shared_buckets(
        self, signatures: np.ndarray, numbers: np.ndarray
    ) -> dict[int, list[tuple[int, int]]]:
        """The buckets (band, hash) of each document that shares one with another."""
        shared: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for band in range(self._bands):
            columns = signatures[:, band * self._rows : (band + 1) * self._rows]
            hashes = np.zeros(len(signatures), np.uint64)
            for column in columns.T:
                hashes = (hashes ^ column) * np.uint64(0x9E3779B97F4A7C15)
                hashes ^= hashes >> np.uint64(29)
            _, group, sizes = np.unique(hashes[numbers], return_inverse=True, return_counts=True)
            for number in numbers[sizes[group] > 1].tolist():
                shared[number].append((band, int(hashes[number])))
        return shared

    def _original(self, signatures: np.ndarray, number: int, others: list[int]) -> int | None:
        """The first of some documents that this one is a copy of."""
        if not others:
            return None
        alike = (signatures[others] == signatures[number]).mean(1) >= self._settings.threshold
        return others[int(alike.argmax())] if alike.any() else None


def describe(counts: Counter[str]) -> Iterator[str]:
    """What was left out, as lines of text for people."""
    names = {
        "exact": "exact copies of earlier training documents",
        "exact_of_judged": "exact copies of held-out or test documents",
        "near": "near copies of earlier training documents",
        "near_of_judged": "near copies of held-out or test documents",
        "beyond_train_documents": "training documents beyond config.data.train_documents",
    }
    for name, count in counts.items():
        if count:
            what = names.get(name, f"by config.data.filter.{name}")
            yield f"{count:,} {what}"
