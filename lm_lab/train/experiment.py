"""A run as a value: the typed form of a config."""

from dataclasses import dataclass, fields, replace
from types import ModuleType
from typing import Any, Literal

from lm_lab import contracts, registry
from lm_lab.data import loader
from lm_lab.data.tokenizer import Tokenizer
from lm_lab.engine import sharding
from lm_lab.nn.heads import Pooled
from lm_lab.schema import setting
from lm_lab.train import optimizer
from lm_lab.types import Adapter, Objective, Reads, UserError, Vocabulary

# Settings of a family that change how, and not what.
REFERENCE = {
    "remat": "none",
    "attention_kernel": "plain",
    "recurrent_kernel": "plain",
    "experts_kernel": "ragged",
}


def reads(objective: ModuleType) -> Reads:
    """What an objective learns from: a stream, unless its module says READS."""
    return getattr(objective, "READS", "stream")


def complete(objective: ModuleType, settings: Any, model: Any, where: str) -> Any:
    """The objective's settings, completed by the model's. Raises UserError where the model cannot
    learn it.
    """
    contracts.check_model(model, "config.model.family")
    if objective.SEES not in (None, model.sees):
        shown = {"past": "only the past", "all": "the whole text", "words": "words without order"}
        raise UserError(
            f"{where} is for models that see {shown[objective.SEES]}, and this config.model "
            f"sees {shown[model.sees]}; "
            "choose another of the two"
        )
    if getattr(objective, "CONTEXT", False) not in (None, model.reads_context):
        clash = ("gives no", "reads one") if model.reads_context else ("gives a", "reads none")
        raise UserError(
            f"{where} {clash[0]} context, and this config.model {clash[1]}; choose another of "
            "the two"
        )
    return objective.complete(settings, model) if hasattr(objective, "complete") else settings


def _window(objective: ModuleType, settings: Any, length: int) -> tuple[int, int]:
    """(tokens in a window, tokens from one window to the next); a record is a row."""
    return objective.window(settings, length) if reads(objective) == "stream" else (length, length)


def vocabulary(tokenizer: Tokenizer, model: Any) -> Vocabulary:
    """What objectives know of the tokenizer, and of the model's special ids."""
    text = (tokenizer.vocab, tokenizer.end_of_document, tokenizer.words, tokenizer.sentence_ends)
    return Vocabulary(*text, getattr(model, "start_id", None), tokenizer.mask, tokenizer.sentinels)


@dataclass(frozen=True)
class Horizon:
    """The `train` section of a config: how long, in what pieces, and what is kept. One of the first
    three is given.
    """

    steps: int | None = setting("optimizer steps", None, low=1)
    tokens: int | None = setting(
        "training targets (of records, room for them), rounded to whole calls", None, low=1
    )
    budget_flops: float | None = setting(
        "training FLOPs by the count, rounded to whole calls", None, low=1.0
    )
    batch_size: int = setting("windows a step, B", 32, low=1, high=2**24)
    initial: str | None = setting(
        "directory of the run whose parameters this one starts with", None
    )
    microbatches: int = setting("parts in which a batch's gradient is accumulated", 1, low=1)
    steps_per_call: int = setting(
        "steps in one call of the compiled program", 10, low=1, high=2**16
    )
    log_every_steps: int = setting(
        "steps between lines of metrics.jsonl", 10, low=1, changes_result=False
    )
    eval_every_steps: int | None = setting(
        "steps between evaluations; None: at the end only", None, low=1, changes_result=False
    )
    average_decay: float | None = setting(
        "decay of a moving average of the parameters, evaluated beside them; None: no average",
        None,
        low=0.0,
        high=0.9999999,
        traced=True,
    )
    eval_batches: int = setting(
        "held-out batches of a stream in an evaluation, at most; of records all", 32, low=1
    )
    also_examine: tuple[str, ...] = setting(
        "further objectives by which held-out text is judged", ()
    )
    checkpoint_every_steps: int = setting(
        "steps between checkpoints; the last step has one too", 1000, low=1, changes_result=False
    )
    keep_checkpoints: int = setting(
        "newest checkpoints that are kept, beside the best", 2, low=1, changes_result=False
    )

    def __post_init__(self) -> None:
        given = [
            name for name in ("steps", "tokens", "budget_flops") if getattr(self, name) is not None
        ]
        if len(given) != 1:
            found = f"not {' and '.join(given)}; set the others to None" if given else "not none"
            raise UserError(f"give one of steps, tokens, budget_flops, {found}")
        if self.batch_size % self.microbatches:
            raise UserError(
                f"batch_size {self.batch_size} is not divisible by microbatches {self.microbatches}"
            )


@dataclass(frozen=True)
class Adaptation:
    """The field of a config's adapter section that is the same for all: the adapter's own stand
    beside it.
    """

    name: str = setting("what of the model is trained, and what beside it", "none")


@dataclass(frozen=True)
class Precision:
    """The fields of a config's precision section."""

    compute: Literal["float32", "bfloat16"] = setting(
        "dtype of matrix products and the residual stream", "float32"
    )
    parameters: Literal["float32", "bfloat16"] = setting(
        "dtype of parameters and optimizer state", "float32"
    )


@dataclass(frozen=True)
class Experiment:
    """A resolved config; families, objectives, sources and tokenizers bring settings classes of
    their own.
    """

    seed: int
    family: str
    model: Any
    objective_name: str
    objective: Any
    adapter_name: str
    adapter: Any
    data: loader.Config
    source: Any
    tokenizer: Any
    optimizer: optimizer.Config
    train: Horizon
    mesh: sharding.Config
    precision: Precision

    @property
    def modules(self) -> tuple[str, ...]:
        """The names of the modules that the config chooses."""
        return (
            self.family,
            self.objective_name,
            self.adapter_name,
            self.data.source,
            self.data.tokenizer,
        )

    def build_model(self) -> Any:
        """The family's Linen module, with the head that the objective asks for."""
        return self._headed(
            registry.find("models", self.family, "config.model.family").Model(self.model)
        )

    def build_reference(self) -> Any:
        """The same model as the mathematics has it: nothing computed twice, no fused kernel."""
        module = registry.find("models", self.family, "config.model.family")
        names = {field.name for field in fields(self.model)}
        return self._headed(
            module.Model(replace(self.model, **{n: REFERENCE[n] for n in REFERENCE if n in names}))
        )

    def _headed(self, model: Any) -> Any:
        module = self._objective_module()
        return Pooled(model, *module.head(self.objective)) if hasattr(module, "head") else model

    def _objective_module(self) -> ModuleType:
        return registry.find("objectives", self.objective_name, "config.objective.name")

    def check_labels(self, dataset: loader.Dataset) -> None:
        """Raises UserError for labels that the objective cannot learn."""
        check = getattr(self._objective_module(), "check_labels", None)
        for split in (dataset.train, dataset.heldout):
            if check and split.records is not None and split.records.labels is not None:
                check(self.objective, split.records.labels)

    def build_objective(self) -> Objective:
        """The objective's pair of pure functions."""
        module = self._objective_module()
        return contracts.checked(
            module, module.make(self.objective, self.data.length, self.vocabulary())
        )

    def exams(self) -> dict[str, Objective]:
        """What the held-out text is judged by: as it is trained, and as train.also_examine asks.

        Raises UserError for an objective that the model or the windows do not fit.
        """
        exams = {"heldout": self.build_objective()}
        for name in self.train.also_examine:
            module = registry.find("objectives", name, "config.train.also_examine")
            settings = complete(
                module, module.Config(), self.model, f"config.train.also_examine: {name!r}"
            )
            if (
                reads(module) != self.reads
                or _window(module, settings, self.data.length) != self.window()
            ):
                raise UserError(
                    f"config.train.also_examine: {name!r} reads other windows than the run; "
                    "leave it out"
                )
            exams[name] = contracts.checked(
                module, module.make(settings, self.data.length, self.vocabulary())
            )
        return exams

    def build_adapter(self) -> Adapter:
        """The adapter's pure functions."""
        module = registry.find("adapters", self.adapter_name, "config.adapter.name")
        return contracts.checked_adapter(module, module.make(self.adapter))

    def vocabulary(self) -> Vocabulary:
        """What objectives know of the run's tokenizer and model."""
        return vocabulary(loader.open_tokenizer(self.data, self.source, self.tokenizer), self.model)

    def window(self) -> tuple[int, int]:
        """(tokens in a window, tokens from one window to the next), as the objective asks; records
        are rows.
        """
        return _window(self._objective_module(), self.objective, self.data.length)

    @property
    def reads(self) -> Reads:
        """What the objective learns from."""
        return reads(self._objective_module())
