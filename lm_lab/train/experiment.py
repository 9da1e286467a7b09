"""A run as a value: the typed form of a config."""

from dataclasses import dataclass
from typing import Any, Literal

from lm_lab import registry
from lm_lab.contracts import Family, ModelInfo, Objective
from lm_lab.data import loader
from lm_lab.engine import sharding
from lm_lab.engine.nonfinite import POLICIES, Policy, Stop
from lm_lab.schema import Chosen, Condition, choice, module, modules_by_label, section, setting
from lm_lab.types import UserError


def complete(objective: Objective, settings: Any, family: Family, model: Any, where: str) -> Any:
    """The objective's settings with None replaced by what the model asks for. Raises UserError
    where the model cannot learn it.
    """
    scope, reads = family.scope_of(model), family.needs_context
    if objective.scope not in (None, scope):
        shown = {
            "causal": "only the past",
            "bidirectional": "the whole text",
            "unordered": "words without order",
        }
        raise UserError(
            f"{where} is for models that see {shown[objective.scope]}, and this config.model "
            f"sees {shown[scope]}; choose another of the two"
        )
    if objective.needs_context not in (None, reads):
        clash = ("gives no", "reads one") if reads else ("gives a", "reads none")
        raise UserError(
            f"{where} {clash[0]} context, and this config.model {clash[1]}; choose another of "
            "the two"
        )
    return objective.complete(settings, ModelInfo(scope, reads))


@dataclass(frozen=True)
class TrainConfig:
    """The `train` section of a config: how long, in calls and batches of which size, and what is
    recorded. Exactly one of the first three is given.
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
    branch_from: str | None = setting(
        "directory of the run, the trunk, at whose checkpoint of branch_step this one begins: with "
        "its state, records and place in the data, as if it had made these steps itself",
        None,
        changes_result=False,
    )
    branch_step: int | None = setting(
        "the step of that checkpoint", None, low=1, changes_result=False
    )
    carry_state: bool = setting(
        "whether a recurrent state, or the keys that attention with a window sees, goes on from "
        "one window of text to the next, and gradients end with each: a row of the batches reads a "
        "part of the text of its own, in every epoch from its beginning",
        False,
    )
    microbatches: int | None = setting(
        "parts in which a batch's gradient is accumulated; None: as few as fit into memory_bytes, "
        "chosen when the run begins and kept",
        1,
        low=1,
    )
    memory_bytes: float | None = setting(
        "of a device, that a step may take; None: nine tenths of its memory",
        None,
        low=1.0,
        changes_result=False,
        read_with=Condition("microbatches None", lambda config: config.microbatches is None),
    )
    loss_chunk: int | None = setting(
        "positions of each row whose logits are held at once (chunked cross-entropy), for large "
        "vocabularies; the backward pass computes them again; None: all",
        None,
        low=1,
        reference=None,
    )
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
    nonfinite: Policy = choice(
        "what a step does whose loss or gradient is not finite", POLICIES, Stop()
    )
    norms: Literal["none", "parts", "groups", "layers"] = setting(
        "norms of gradients, updates and parameters that are recorded: by part of the model, by "
        "optimizer.groups, or of each parameter in each layer",
        "none",
        changes_result=False,
    )
    eval_batches: int = setting(
        "held-out batches of a stream in an evaluation, at most; of records all", 32, low=1
    )
    selection_batches: int = setting(
        "further held-out batches, evaluated apart (NAME_selection), to choose settings by; of "
        "records the first",
        0,
        low=0,
    )
    also_evaluate: tuple[str, ...] = setting(
        "further objectives by which held-out text is evaluated", ()
    )
    checkpoint_every_steps: int = setting(
        "steps between checkpoints; the last step has one too", 1000, low=1, changes_result=False
    )
    keep_checkpoints: int = setting(
        "newest checkpoints that are kept, beside the best", 2, low=1, changes_result=False
    )
    keep_steps: tuple[int, ...] = setting(
        "steps whose checkpoints are saved and kept too, for other runs to branch from",
        (),
        low=1,
        changes_result=False,
    )

    def __post_init__(self) -> None:
        given = [
            name for name in ("steps", "tokens", "budget_flops") if getattr(self, name) is not None
        ]
        if len(given) != 1:
            found = f"not {' and '.join(given)}; set the others to None" if given else "not none"
            raise UserError(f"give one of steps, tokens, budget_flops, {found}")
        if (self.branch_from is None) != (self.branch_step is None):
            raise UserError("branch_from and branch_step go together; give both, or neither")
        if self.batch_size % (self.microbatches or 1):
            raise UserError(
                f"batch_size {self.batch_size} is not divisible by microbatches {self.microbatches}"
            )

    @property
    def microbatch_rows(self) -> int:
        """Rows whose gradient is taken at once; None microbatches are one until they are chosen."""
        return self.batch_size // (self.microbatches or 1)


@dataclass(frozen=True)
class Precision:
    """The fields of a config's precision section."""

    compute: Literal["float32", "bfloat16"] = setting(
        "dtype of matrix products and the residual stream", "float32"
    )
    parameters: Literal["float32", "bfloat16"] = setting(
        "dtype of parameters and optimizer state", "float32"
    )
    rounding: Literal["nearest", "stochastic"] = setting(
        "of parameters and optimizer state to bfloat16 after a step: to the nearest value, or "
        "stochastic, to one of the two neighbours so that small updates add up",
        "nearest",
        read_with=Condition(
            "parameters bfloat16", lambda precision: precision.parameters == "bfloat16"
        ),
    )
    deterministic: bool = setting(
        "on a GPU only kernels that give the same bits in every process, without autotuning: "
        "slower",
        False,
        changes_result=False,
    )


@dataclass(frozen=True)
class Evaluation:
    """The `evaluation` section of a config: tasks that evaluate the model beside its held-out text.
    Nothing here changes what is trained.
    """

    tasks: tuple[tuple[str, Chosen], ...] = modules_by_label(
        "tasks by labels of your own: LABEL brings eval/LABEL/METRIC",
        registry.modules("evaluation.tasks"),
    )
    every_steps: int | None = setting(
        "steps between evaluations by the tasks; None: at the end only", None, low=1
    )
    whole: bool = setting(
        "at the end the likelihood of all held-out text, each token once: eval/heldout_whole/nll",
        False,
    )
    stride: int | None = setting(
        "tokens from one window to the next where whole texts are scored; None: half a window",
        None,
        low=1,
    )


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A config as typed settings, by section. A section that chooses a module holds its name and
    settings.
    """

    seed: int = setting("of all that is random", 0, low=0, high=2**32 - 1, traced=True)
    model: Chosen = module("the architecture", registry.modules("models"), tag="family")
    objective: Chosen = module("what is learnt", registry.modules("objectives"))
    data: loader.Config = section("the text, and how it is cut", loader.Config)
    optimizer: Chosen = module(
        "how parameters follow from gradients", registry.modules("optimizers"), "adamw"
    )
    schedule: Chosen = module(
        "of the rate, as a share of the peak rate", registry.modules("schedules"), "cosine"
    )
    train: TrainConfig = section("how long, in what pieces, and what is kept", TrainConfig)
    adapter: Chosen = module(
        "what of the model is trained, and what beside it", registry.modules("adapters"), "none"
    )
    mesh: sharding.Config = section("the devices", sharding.Config)
    precision: Precision = section("the dtypes, and exact repetition", Precision)
    evaluation: Evaluation = section(
        "by what the model is evaluated beside its held-out text", Evaluation, changes_result=False
    )

    @property
    def modules(self) -> tuple[str, ...]:
        """The names of the modules that the config chooses."""
        return (
            self.model.name,
            self.objective.name,
            self.adapter.name,
            *(member.source.name for member in self.data.members.values()),
            self.data.tokenizer.name,
            self.optimizer.name,
            self.schedule.name,
            *(task.name for _, task in self.evaluation.tasks),
        )
