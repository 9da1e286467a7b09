"""Which tokenizer makes the best use of a small training budget on Korean film reviews?

One decoder behind ten tokenizers: bytes, letters and syllables of Hangul, words, and BPE and
unigram pieces of three vocabularies. At each of two costs, in FLOPs per byte of text, the width is
chosen so that all ten cost the same (as near as widths come); at each of three budgets all ten have
then read the same bytes, too. Windows span the same bytes (192), a step reads about 3,072.
All are judged by bits per byte of the same held-out reviews, whatever their vocabulary.

Command:  lm-lab sweep experiments/tokenizers --workdir=runs/tokenizers
          with ratings_train.txt.gz of github.com/e9t/nsmc in data/nsmc (LM_LAB_DATA for data)
Cost:     140 runs, 1.5e14 FLOPs, 81 CPU-minutes on two cores that other work shared
Answer:   tokenizers.md, beside this file
"""

from typing import Any, NamedTuple

from ml_collections import ConfigDict

from lm_lab.compute.ladder import widths_near
from lm_lab.data import published
from lm_lab.sweeps.algebra import Sweep, chain, param, product
from lm_lab.sweeps.study import Study

HEADS, DEPTH = 2, 2
WINDOW_BYTES, STEP_BYTES = 192, 3072
BUDGETS = (2e11, 6e11, 2e12)
FLOPS_PER_BYTE = (5e5, 2e6)
RATES = (0.2, 0.5)  # times 1 / width
HIGHER = 1.25  # tried too, at the largest budget


class Contender(NamedTuple):
    """A tokenizer with its settings, its vocabulary, and bytes of held-out text a token of it."""

    settings: dict[str, Any]
    vocab: int
    bytes_per_token: float


def pieces(kind: str, count: int, bytes_per_token: float) -> Contender:
    settings = {"name": "sentencepiece", "kind": kind, "pieces": count}
    return Contender(settings, count + 1, bytes_per_token)


# Vocabularies and bytes a token: `lm-lab tokenize` of each.
CONTENDERS = {
    "bytes": Contender({"name": "byte"}, 257, 1.0),
    "letters": Contender({"name": "characters", "hangul": "letters"}, 809, 1.19),
    "syllables": Contender({"name": "characters", "hangul": "syllables"}, 3187, 2.39),
    "words": Contender({"name": "words", "most_words": 8000}, 8257, 1.51),
    "BPE 2k": pieces("bpe", 2000, 2.57),
    "BPE 8k": pieces("bpe", 8000, 4.81),
    "BPE 32k": pieces("bpe", 32000, 5.84),
    "unigram 2k": pieces("unigram", 2000, 2.55),
    "unigram 8k": pieces("unigram", 8000, 4.67),
    "unigram 32k": pieces("unigram", 32000, 5.65),
}


def study() -> Study:
    return Study(
        name="tokenizers",
        question="Which tokenizer makes the best use of a small budget on Korean film reviews?",
        base=base(),
        sweep=chain(*(contender(name, budget) for budget in BUDGETS for name in CONTENDERS)),
        analysis={
            "kind": "comparison",
            "arms": {name: told_apart(name) for name in CONTENDERS},
            "reference": "bytes",
            "metric": "bits_per_byte",
        },
    )


def base() -> ConfigDict:
    config = ConfigDict()
    config.model = ConfigDict({"family": "decoder", "depth": DEPTH, "heads": HEADS})
    config.objective = ConfigDict({"name": "causal"})
    reviews = published.file("nsmc", "ratings_train.txt.gz")
    config.data = ConfigDict(
        {"source": {"name": "files", "path": reviews, "format": "tsv", "text": "document"}}
    )
    config.optimizer = ConfigDict({"weight_decay": 0.0})
    config.schedule = ConfigDict({"warmup_fraction": 0.05})
    config.train = ConfigDict(
        {"steps_per_call": 20, "log_every_steps": 20, "eval_batches": 128, "selection_batches": 64}
    )
    return config


def contender(name: str, budget: float) -> Sweep:
    """The runs of a tokenizer at a budget: a width for each cost of a byte, at every rate."""
    tokenizer, length = CONTENDERS[name].settings, window(name)
    same = {f"data.tokenizer.{key}": value for key, value in tokenizer.items()}
    same |= {"data.length": length, "train.budget_flops": budget}
    same |= {"train.batch_size": round(STEP_BYTES / WINDOW_BYTES)}
    rates = (*RATES, HIGHER) if budget == max(BUDGETS) else RATES
    of_widths = [
        product(
            param("model.width", [width]),
            param("optimizer.peak_rate", [rate / width for rate in rates]),
        )
        for width in widths(name)
    ]
    return product([same], chain(*of_widths))


def window(name: str) -> int:
    """Tokens that stand for WINDOW_BYTES bytes."""
    return round(WINDOW_BYTES / CONTENDERS[name].bytes_per_token)


def widths(name: str) -> list[int]:
    """The widths at which a byte of text costs FLOPS_PER_BYTE in training."""
    vocab, per_token = CONTENDERS[name].vocab, CONTENDERS[name].bytes_per_token

    def flops_per_byte(width: int) -> int:
        body = 12 * DEPTH * width**2 + DEPTH * window(name) * width  # products, causal attention
        return round(6 * (body + vocab * width) / per_token)

    return widths_near(1.0, FLOPS_PER_BYTE, flops_per_byte, multiple=2 * HEADS)


def told_apart(name: str) -> dict[str, Any]:
    """The overrides that its runs share and no other contender's have."""
    return {f"data.tokenizer.{key}": value for key, value in CONTENDERS[name].settings.items()}
