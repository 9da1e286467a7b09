"""Texts that the model writes greedily after prompts, against reference texts: exact match,
sacrebleu's BLEU and chrF (1804.08771), ROUGE by Unicode words or characters.

All metrics are out of 100 but exact_match, a share of 1. Korean is measured by chrF, by BLEU with
bleu_tokenizer "char", and by ROUGE of characters.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from lm_lab.contracts import EvalTask, Scores, TextModel
from lm_lab.evaluation import rouge
from lm_lab.evaluation.tasks import _records
from lm_lab.schema import setting
from lm_lab.types import UserError

Measured = tuple[np.ndarray, Callable[[np.ndarray], float]]
"""Statistics of each text, and the measure of the statistics of several."""

Measure = Literal["exact_match", "bleu", "chrf", "rouge1", "rouge2", "rougeL"]


@dataclass(frozen=True)
class Config:
    """Where prompts and references are, how texts are generated, and which measures are taken of
    them.
    """

    path: str = setting("JSON lines, or a folder of such files")
    prompt: str = setting("field of the text that is gone on from", "source")
    target: str = setting("field of the reference", "target")
    measures: tuple[Measure, ...] = setting("what is measured", ("exact_match",))
    new_tokens: int = setting("tokens of a written text, at most", 128, low=1, high=100_000)
    until: tuple[str, ...] = setting("texts before which a written text ends", ("\n",))
    bleu_tokenizer: Literal["13a", "char", "intl", "none"] = setting("sacrebleu's", "13a")
    rouge_by: rouge.Unit = setting("what n-grams of ROUGE are made of", "words")

    def __post_init__(self) -> None:
        """Raises UserError for no measure, and for those of sacrebleu where it is not installed."""
        if not self.measures:
            raise UserError("measures is empty; name one of exact_match, bleu, chrf, rougeL")
        if {"bleu", "chrf"} & set(self.measures) and importlib.util.find_spec("sacrebleu") is None:
            raise UserError(
                "measures has bleu or chrf, which need sacrebleu; install it by pip install "
                "'lm_lab[tasks]', or leave them out"
            )


def prepare(config: Config) -> Callable[[TextModel], Scores]:
    """Reads prompts and references. Raises UserError."""
    records = _records.read(config.path)
    prompts = [record.field(config.prompt, str) for record in records]
    targets = [record.field(config.target, str) for record in records]

    def measure(model: TextModel) -> Scores:
        written = model.write(prompts, config.new_tokens, config.until)
        return compare([text.strip() for text in written], targets, config)

    return measure


def compare(written: Sequence[str], targets: Sequence[str], config: Config) -> Scores:
    """The measures of written texts against one reference each."""
    by = config.rouge_by

    def mean(score: Callable[[str, str], float]) -> Measured:
        values = np.array([score(*two) for two in zip(written, targets, strict=True)])
        return values, lambda drawn: float(drawn.mean())

    of_all: dict[str, Callable[[], Measured]] = {
        "exact_match": lambda: mean(lambda one, other: float(one == other.strip())),
        "rouge1": lambda: mean(lambda one, other: 100 * rouge.rouge_n(one, other, 1, by)),
        "rouge2": lambda: mean(lambda one, other: 100 * rouge.rouge_n(one, other, 2, by)),
        "rougeL": lambda: mean(lambda one, other: 100 * rouge.rouge_l(one, other, by)),
        "bleu": lambda: _bleu(written, targets, config.bleu_tokenizer),
        "chrf": lambda: _chrf(written, targets),
    }
    measured = {name: of_all[name]() for name in config.measures}
    statistics = {name: values for name, (values, _) in measured.items()}
    return Scores(statistics, partial(_metrics, {name: of for name, (_, of) in measured.items()}))


def _metrics(
    functions: Mapping[str, Callable[[np.ndarray], float]], statistics: Mapping[str, np.ndarray]
) -> dict[str, float]:
    return {name: function(statistics[name]) for name, function in functions.items()}


def _bleu(written: Sequence[str], targets: Sequence[str], tokenizer: str) -> Measured:
    """(counts [n 10] of each text: n-grams in common, n-grams, both lengths; BLEU of such counts).

    BLEU of several texts is that of the sums of their counts.
    """
    from sacrebleu.metrics.bleu import BLEU

    bleu = BLEU(tokenize=tokenizer, force=True, effective_order=True)
    rows = []
    for text, target in zip(written, targets, strict=True):
        score = bleu.sentence_score(text, [target])
        rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])

    def of(counts: np.ndarray) -> float:
        total = [int(count) for count in counts.sum(0)]
        sums = (total[:4], total[4:8], total[8], total[9])
        return BLEU.compute_bleu(*sums, smooth_method="exp").score

    return np.array(rows, np.int64), of


def _chrf(written: Sequence[str], targets: Sequence[str]) -> Measured:
    """(statistics [n 18] of sacrebleu's chrF of each text, chrF of the sum of such statistics)."""
    from sacrebleu.metrics.chrf import CHRF

    chrf = CHRF()
    # what sacrebleu's own bootstrap draws from: it has no public name for it
    rows = chrf._extract_corpus_statistics(list(written), [list(targets)])

    def of(statistics: np.ndarray) -> float:
        return chrf._compute_score_from_stats(statistics.sum(0).tolist()).score

    return np.array(rows, np.int64), of


TASK = EvalTask(Config, prepare, needs=("write",))
