"""The text of a run: what its `data` section names, each opened at first use, and once."""

import sys
from functools import cached_property
from pathlib import Path

import numpy as np

from lm_lab import registry
from lm_lab.data import store, vocabularies
from lm_lab.data.documents import Corpus
from lm_lab.data.loader import Config, Dataset, Split
from lm_lab.data.splits import Rule
from lm_lab.types import Codec, Side


class Text:
    """The corpus, tokenizer and token store of a `data` section."""

    def __init__(self, config: Config, directory: Path | None = None) -> None:
        """Opens nothing yet; the token store lies in `directory` (default: the user's cache)."""
        self.config = config
        self._directory = directory

    @cached_property
    def corpus(self) -> Corpus:
        """The documents. Raises UserError where there is no such source."""
        return Corpus(*self.config.source)

    @cached_property
    def codec(self) -> Codec:
        """The tokenizer; one that learns has learnt from the corpus,
        now or before, or from another.

        Raises UserError as the source does, and for files that cannot be read or written.
        """
        named = self.config.vocabulary_file
        return vocabularies.tokenizer(*self.config.tokenizer, self.corpus, self._rule, named)

    @cached_property
    def learnt_file(self) -> Path | None:
        """The file of what the tokenizer has learnt; None for one that learns nothing."""
        name, settings = self.config.tokenizer
        if registry.load("data.tokenizers", name, "config.data.tokenizer").learn is None:
            return None
        if self.config.vocabulary_file is not None:
            return Path(self.config.vocabulary_file)
        return vocabularies.learnt(name, settings, self.corpus, self._rule)

    @cached_property
    def dataset(self) -> Dataset:
        """The token store, built first if need be.

        Says on stderr where the end is held out of a text that was to be split by documents and is
        a single one. Raises UserError as lm_lab.data.store.build does.
        """
        config, codec = self.config, self.codec
        built = store.build(
            self.corpus,
            codec,
            self._directory,
            split=config.split,
            holdout_fraction=config.holdout_fraction,
        )
        places = built.manifest["splits"]
        tail = places["heldout"]["file"] == places["train"]["file"]
        if tail and config.split == "documents":
            cut = (
                f"the last {100 * config.holdout_fraction:g} % of it is held out "
                "(config.data.holdout_fraction)"
            )
            print(f"The text is one document: {cut}", file=sys.stderr, flush=True)
        sides = {name: self._split(built, name) for name in built.tokens}
        return Dataset(
            codec.vocab,
            built.bytes_of,
            codec,
            built.key,
            sides["train"],
            sides["heldout"],
            sides.get("test"),
            tail,
            built.path,
        )

    def _split(self, built: store.Store, name: Side) -> Split:
        return Split(
            name,
            built.tokens[name],
            built.bytes_of.astype(np.float32),
            self.codec.end_of_document,
            self.config.isolate_documents,
            (built.records or {}).get(name),
        )

    @property
    def _rule(self) -> Rule:
        return Rule(self.config.split, self.config.holdout_fraction)


class Texts:
    """Those of several runs: equal `data` sections share one."""

    def __init__(self) -> None:
        """None yet."""
        self._texts: dict[Config, Text] = {}

    def of(self, config: Config) -> Text:
        """The text of a `data` section, made at the first call for it."""
        if config not in self._texts:
            self._texts[config] = Text(config)
        return self._texts[config]
