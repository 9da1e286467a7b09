"""The text of a run: corpora, tokenizer and token stores of its `data` section, each opened once,
at first use.
"""

import dataclasses
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lm_lab import registry
from lm_lab.data import loader, store, vocabularies
from lm_lab.data.documents import Corpus, digest, errors_at
from lm_lab.data.loader import Config, Dataset, Sides, Split
from lm_lab.data.splits import Rule
from lm_lab.types import Codec, Side

APART = 0.05  # of the bytes of a text, from which what is counted is another text


class Text:
    """The corpus, tokenizer and token store of a `data` section."""

    def __init__(self, config: Config, directory: Path | None = None) -> None:
        """Opens nothing yet; the token store lies in `directory` (default: the user's cache)."""
        self.config = config
        self._directory = directory

    @cached_property
    def corpora(self) -> dict[str, Corpus]:
        """The documents of each source, by label. Raises UserError where there is no such
        source.
        """
        return {
            label: Corpus(*member.source, key=loader.key(label))
            for label, member in self.config.members.items()
        }

    @property
    def corpus(self) -> Corpus:
        """The documents; of a mixture those of the first source."""
        return next(iter(self.corpora.values()))

    @cached_property
    def revisions(self) -> dict[str, str]:
        """The commits of sources that come from a hub, by the key of their revision."""
        found = {
            f"{corpus.key}.revision": corpus.source.revision(corpus.settings)
            for corpus in self.corpora.values()
        }
        return {key: commit for key, commit in found.items() if commit is not None}

    @property
    def places(self) -> list[str]:
        """The keys that say where the text lies."""
        return [
            f"{corpus.key}.{field.name}"
            for corpus in self.corpora.values()
            for field in dataclasses.fields(corpus.settings)
            if field.metadata.get("names_file") and vars(corpus.settings)[field.name] is not None
        ]

    @cached_property
    def codec(self) -> Codec:
        """The tokenizer; one that learns is trained, now or by an earlier run, on the training text
        of all sources with a weight, or on the text of config.data.vocabulary_file.

        Raises UserError as the source does, and for files that cannot be read or written.
        """
        named = self.config.vocabulary_file
        return vocabularies.tokenizer(*self.config.tokenizer, self._trained_on, self._rule, named)

    @cached_property
    def learnt_file(self) -> Path | None:
        """The file of what the tokenizer has learnt; None for one that learns nothing."""
        name, settings = self.config.tokenizer
        if registry.load("data.tokenizers", name, "config.data.tokenizer").learn is None:
            return None
        if self.config.vocabulary_file is not None:
            return Path(self.config.vocabulary_file)
        return vocabularies.learnt(name, settings, self._trained_on, self._rule)

    def exported(self) -> Mapping[str, Any] | None:
        """The tokenizer.json of the same ids, as of the Hugging Face library; None where the
        tokenizer has none. Raises UserError as `codec` does.
        """
        name, settings = self.config.tokenizer
        maker = registry.load("data.tokenizers", name, "config.data.tokenizer")
        if maker.exported is None:
            return None
        is_named = self.config.vocabulary_file is not None
        learnt = (
            vocabularies.content(name, self.learnt_file, is_named=is_named)
            if self.learnt_file
            else b""
        )
        return maker.exported(settings, learnt)

    @cached_property
    def dataset(self) -> Dataset:
        """The token stores, one a source, built first if need be. Raises UserError as
        lm_lab.data.store.build does.
        """
        stores = {label: self._store(corpus) for label, corpus in self.corpora.items()}
        sources = {label: self._sides(label, built) for label, built in stores.items()}
        keys = [text for label, built in stores.items() for text in (label, built.key)]
        identity = digest(["mixture", *keys])[:32] if self.config.sources else keys[1]
        bytes_of = next(iter(stores.values())).bytes_of
        return Dataset(self.codec.vocab, bytes_of, self.codec, identity, sources)

    def _store(self, corpus: Corpus) -> store.Store:
        config, codec = self.config, self.codec
        with errors_at(corpus.key):
            return store.build(
                corpus,
                codec,
                self._directory,
                split=config.split,
                holdout_fraction=config.holdout_fraction,
                filter=config.filter,
                duplicates=config.duplicates,
                train_documents=config.train_documents,
            )

    def say_splits(self) -> None:
        """Says on stderr which texts were to be split by documents and are a single one, so that
        their end is held out, which have training documents that are held out too, and of which the
        tokenizer counts other bytes than they have.
        """
        config = self.config
        for sides in self.dataset.sources.values():
            of = f" of {sides.train.key}" if sides.train.label else ""
            if sides.tail and config.split == "documents":
                print(
                    f"The text{of} is one document: the last {100 * config.holdout_fraction:g} % "
                    "of it is held out (config.data.holdout_fraction)",
                    file=sys.stderr,
                    flush=True,
                )
            if sides.leaked:
                print(
                    f"{sides.leaked:,} training documents{of} are also in the held-out text or the "
                    "test; config.data.duplicates='exact' leaves them out",
                    file=sys.stderr,
                    flush=True,
                )
            if abs(sides.counted - 1) > APART:
                print(
                    f"The tokenizer normalises the text{of} or loses parts of it, and counts "
                    f"{sides.counted:.2f} bytes for each that the text has; multiply bits per byte "
                    f"by {sides.counted:.2f} to compare them with those of other tokenizers",
                    file=sys.stderr,
                    flush=True,
                )

    def _sides(self, label: str, built: store.Store) -> Sides:
        sides = {name: self._split(label, built, name) for name in built.tokens}
        return Sides(
            self.config.members[label].points,
            sides["train"],
            sides["heldout"],
            sides.get("test"),
            _is_tail(built),
            built.manifest.get("leaked", 0),
            built.path,
            _counted(built),
        )

    def _split(self, label: str, built: store.Store, name: Side) -> Split:
        return Split(
            name,
            built.tokens[name],
            built.bytes_of.astype(np.float32),
            self.codec.end_of_document,
            self.config.segmented,
            (built.records or {}).get(name),
            label,
            built.path,
        )

    @property
    def _rule(self) -> Rule:
        config = self.config
        return Rule(
            config.split,
            config.holdout_fraction,
            config.filter,
            config.duplicates,
            config.train_documents,
        )

    @property
    def _trained_on(self) -> list[Corpus]:
        """The sources that have a weight at some step."""
        return [
            self.corpora[label]
            for label, member in self.config.members.items()
            if any(weight for _, weight in member.points)
        ]


def _is_tail(built: store.Store) -> bool:
    places = built.manifest["splits"]
    return places["heldout"]["file"] == places["train"]["file"]


def _counted(built: store.Store) -> float:
    """Bytes that the tokenizer counts for a byte of the text; 1 in stores of the first releases,
    which do not say it.
    """
    counts = [each["bytes"] for each in built.manifest.get("statistics", {}).values()]
    size = built.manifest["bytes"]
    return sum(counts) / size if counts and size else 1.0


class Texts:
    """The texts of several runs: equal `data` sections share one."""

    def __init__(self) -> None:
        """Opens nothing yet."""
        self._texts: dict[Config, Text] = {}

    def of(self, config: Config) -> Text:
        """The text of a `data` section, made at the first call for it."""
        if config not in self._texts:
            self._texts[config] = Text(config)
        return self._texts[config]
