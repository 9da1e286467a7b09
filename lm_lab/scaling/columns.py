"""The names and units by which published tables call the columns that laws are fitted to."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lm_lab.schema import suggest
from lm_lab.types import UserError

MEANINGS = {
    "params": "N, parameters; of a mixture of experts all of them",
    "tokens": "D, training tokens, repeats counted",
    "flops": "C, training FLOPs",
    "loss": "held-out loss, nats",
    "loss_sd": "sample s.d. of the loss over seeds, nats",
    "runs": "seeds that a loss is the mean of",
    "budget": "compute budget that runs share, FLOPs",
    "seed": "seed of a run",
    "rate": "peak learning rate",
    "batch": "tokens a batch",
    "unique_tokens": "tokens of the data before any repeats",
    "epochs": "passes over the data",
    "active_params": "parameters that one token uses",
    "experts": "experts of a layer; 1: a dense model",
    "decayed": "share of the learning rate's decay behind a row, 0 to 1",
    "accuracy": "share of right answers, 0 to 1",
    "error": "share of wrong answers, 0 to 1",
}
"""The standard columns, and what each holds. Every value is a number."""

_ALIASES = {
    "params": "n params n_params num_params nparams parameters n_parameters num_parameters "
    "param_count params_count parameter_count model_size model_params size "
    "non_embedding_params params_non_embedding n_non_embedding total_params n_total "
    "total_parameters total_parameter_count",
    "tokens": "d tokens n_tokens num_tokens ntokens train_tokens training_tokens tokens_seen "
    "total_tokens data_size dataset_size training_data_size pretraining_data_size token_count",
    "flops": "c flops flop compute train_flops training_flops total_flops train_flop "
    "training_flop training_compute n_flops train_compute",
    "loss": "l loss val_loss valid_loss validation_loss eval_loss test_loss final_loss "
    "heldout_loss held_out_loss nll cross_entropy ce_loss loss_validation final_val_loss",
    "loss_sd": "loss_sd loss_std loss_stdev sd_loss std_loss loss_stderr",
    "runs": "runs n_seeds num_seeds seeds",
    "budget": "budget budget_flops flops_budget flop_budget isoflop compute_budget",
    "seed": "seed random_seed rng_seed",
    "rate": "rate lr peak_lr max_lr learning_rate peak_rate peak_learning_rate optimizer_peak_rate",
    "batch": "batch bs batch_size global_bs global_batch_size bsz batch_tokens",
    "unique_tokens": "unique_tokens u_d unique_data n_unique_tokens tokens_unique",
    "epochs": "epochs n_epochs num_epochs",
    "active_params": "active_params n_active activated_params params_active active_parameters",
    "experts": "experts n_experts num_experts expert_count",
    "decayed": "decayed",
    "accuracy": "acc accuracy task_accuracy downstream_accuracy",
    "error": "err error error_rate top1_error downstream_error",
}
_STANDARD = {alias: name for name, text in _ALIASES.items() for alias in text.split()}
_BITS_PER_BYTE = ("bpb", "bits_per_byte", "loss_bpb", "val_bpb")  # a loss where there is no other
RUN_NAMES = ("name", "run", "run_name", "run_id", "id", "hyper_id", "model_name", "model")
_HYPERPARAMETERS = (
    "warmup warmup_steps warmup_tokens depth width layers n_layers heads n_heads d_model wd "
    "weight_decay schedule decay optimizer momentum beta1 beta2 dropout init_scale clip "
    "aspect_ratio context length seq_len sequence_length"
)
_SECTIONS = r"(model|objective|data|optimizer|schedule|train|adapter|precision)(\.|$)"
SETTINGS = frozenset(_HYPERPARAMETERS.split())
"""Columns of numbers that are settings of a run, not its results. Columns of text are, too."""
_VOCABULARIES = ("vocab", "vocab_size", "n_vocab", "vocabulary", "vocabulary_size")
_METRIC = re.compile(r"(acc|accuracy|err|error|em|exact_match|f1|bleu|rouge|mcc)(_norm)?$")

_COUNTS = {"k": 1e3, "thousand": 1e3, "m": 1e6, "mn": 1e6, "million": 1e6, "b": 1e9, "bn": 1e9}
_COUNTS |= {"billion": 1e9, "g": 1e9, "t": 1e12, "tn": 1e12, "trillion": 1e12}
_FLOPS = {"exaflop": 1e18, "eflop": 1e18, "zettaflop": 1e21, "zflop": 1e21, "petaflop": 1e15}
_FLOPS |= {"pf-day": 8.64e19, "pf_day": 8.64e19, "petaflop_day": 8.64e19, "petaflop/s-day": 8.64e19}
_LOSSES = {"nat": 1.0, "bit": math.log(2)}
_COUNTED = ("params", "tokens", "unique_tokens", "active_params", "batch")


@dataclass(frozen=True)
class Choice:
    """Which column is read as a standard one: `factor` times its values; `byte`: per byte."""

    source: str
    factor: float = 1.0
    byte: bool = False
    unit: str = ""

    def words(self) -> str:
        """The origin of the column, as "column 'N (B)', times 1e+09"."""
        if self.unit and self.factor == 1:
            return f"column {self.source!r}, {self.unit}"
        times = f", in {self.unit}: times {self.factor:.6g}" if self.factor != 1 else ""
        return f"column {self.source!r}{times}"


def choose(
    columns: Sequence[str], chosen: Mapping[str, str], texts: Collection[str], where: str
) -> dict[str, Choice]:
    """The column of a table for each standard one: those of `chosen` (standard name to column, or
    "column:unit"), the others by their names, unless they are of `texts`, which hold no number.

    Raises UserError, which begins with `where`, for a name of `chosen` that is no standard one, a
    column that is not there, an unknown unit, and two columns that could be one.
    """
    gone = [f"{name}={text}" for name, text in chosen.items() if _column(text, columns) is None]
    if len(gone) > 1:
        raise UserError(
            f"{where}: columns: the table has none of the columns of {', '.join(gone)}; it has "
            f"{', '.join(columns)}"
        )
    choices_by_name = {
        name: _named(name, text, columns, f"{where}: columns: {name}={text}")
        for name, text in chosen.items()
    }
    used = {*texts, *(choice.source for choice in choices_by_name.values())}
    candidates: dict[str, list[Choice]] = {}
    for column in columns:
        recognised = None if column in used else recognise(column)
        if recognised is not None and recognised[0] not in choices_by_name:
            candidates.setdefault(recognised[0], []).append(recognised[1])
    for name, choices in candidates.items():
        plain = [option for option in choices if _plain(option.source)[0] not in _BITS_PER_BYTE]
        choices = plain or choices
        if len(choices) > 1:
            rivals = " and ".join(repr(option.source) for option in choices[:4])
            raise UserError(
                f"{where}: columns {rivals} could each be {name} ({MEANINGS[name]}); say which, as "
                f"in columns {name}={choices[0].source}"
            )
        choices_by_name[name] = choices[0]
    return choices_by_name


def recognise(column: str) -> tuple[str, Choice] | None:
    """The standard name and the unit that a column's name says, None for an unknown name."""
    plain, unit = _plain(column)
    if plain in _BITS_PER_BYTE:
        return "loss", Choice(column, math.log(2), byte=True, unit="bits per byte")
    name = _STANDARD.get(plain)
    if name is None:
        stem, _, last = plain.rpartition("_")
        name = _STANDARD.get(stem)
        if name is None or _unit(name, last) is None:
            return None
        unit = last
    if unit is None:
        return name, Choice(column)
    scale = _unit(name, unit)
    return (name, Choice(column)) if scale is None else (name, Choice(column, *scale, unit=unit))


def _named(name: str, text: str, columns: Sequence[str], where: str) -> Choice:
    if name not in MEANINGS:
        raise UserError(f"{where}: {name!r} is no standard column; {suggest(name, [*MEANINGS])}")
    if text in columns:
        recognised = recognise(text)
        return recognised[1] if recognised and recognised[0] == name else Choice(text)
    column, unit = _column(text, columns), text.rpartition(":")[2]
    if column is None:
        wanted = text.rpartition(":")[0] or text
        raise UserError(
            f"{where}: the table has no column {wanted!r}; {suggest(wanted, list(columns))}"
        )
    scale = _unit(name, unit)
    if scale is None:
        units = "nats, bits, nats/byte, bits/byte" if name == "loss" else "millions, billions, 1e21"
        raise UserError(f"{where}: {unit!r} is no unit of {name}; give one such as {units}")
    return Choice(column, *scale, unit=unit)


def _column(text: str, columns: Sequence[str]) -> str | None:
    """The column that "column" or "column:unit" names; None for one that is not there."""
    names = (text, text.rpartition(":")[0])
    return next((name for name in names if name in columns), None)


def _plain(column: str) -> tuple[str, str | None]:
    """A column's name in lower case with _ between words, and the unit in brackets at its end."""
    bracket = re.fullmatch(r"(.*?)\s*[(\[]\s*([^()\[\]]*?)\s*[)\]]\s*", column)
    stem, unit = bracket.groups() if bracket else (column, None)
    return re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_"), unit


def _unit(name: str, unit: str) -> tuple[float, bool] | None:
    """(factor to the standard unit, whether it is per byte); None for no unit of such a column."""
    word = unit.strip().lower().replace(" per ", "/")
    if name in ("loss", "loss_sd"):
        if word == "bpb":
            word = "bits/byte"
        what, _, per = word.partition("/")
        factor = _LOSSES.get(what.removesuffix("s"))
        if factor is None or per not in ("", "token", "byte", "tok"):
            return None
        return factor, per == "byte"
    scales = _FLOPS | _COUNTS if name in ("flops", "budget") else _COUNTS
    if name not in (*_COUNTED, "flops", "budget"):
        return None
    if re.fullmatch(r"1e\+?\d+", word):
        return float(word), False
    factor = scales.get(word.removesuffix("s"), scales.get(word))
    return None if factor is None else (factor, False)


def is_setting(column: str) -> bool:
    """Whether a column is a setting by its name: of SETTINGS, or a key of a config of ours."""
    last = column.strip().lower().rpartition(".")[2]
    return last in SETTINGS or re.match(_SECTIONS, column) is not None


def is_vocab(column: str) -> bool:
    """Whether a column holds sizes of vocabularies by its name, as "model.vocab"."""
    return _plain(column.rpartition(".")[2])[0] in _VOCABULARIES


def is_metric(column: str) -> bool:
    """Whether a column is the metric of a task by its name, as "hellaswag_acc"."""
    return _METRIC.search(_plain(column)[0]) is not None


def is_count(name: str) -> bool:
    """Whether a standard column counts things, so that a cell may say "70M"."""
    return name in _COUNTED
