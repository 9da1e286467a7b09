"""What one file of each kind exports: a NamedTuple, with a default for all that may be left out.

A file of a kind ends in one value, as FAMILY = Family(Config, Model, scope="causal"), and
registry.load gives that value. `Config` is a frozen dataclass of schema.setting fields: the
settings that a config may give.
"""

import dataclasses
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from jax import Array

from lm_lab.optimizer_contract import Averaging as Averaging
from lm_lab.optimizer_contract import Optimizer
from lm_lab.optimizer_contract import OptimizerConfig as OptimizerConfig
from lm_lab.types import (
    AdapterFunctions,
    Batch,
    Codec,
    DataForm,
    Document,
    Examples,
    Inputs,
    ObjectiveFunctions,
    Pooling,
    PyTree,
    Scope,
    Vocabulary,
)


class Settings(Protocol):
    """A frozen dataclass of settings."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field]]


ConfigT = TypeVar("ConfigT", bound=Settings)


class Model(Protocol):
    """A Linen module: inputs to features [B L D] to logits f32[B L V]."""

    @property
    def init(self) -> Callable[..., PyTree]:
        """(key, inputs) -> variables."""
        ...

    @property
    def apply(self) -> Callable[..., PyTree]:
        """(variables, inputs) -> logits; method="features" for features; rngs, mutable."""
        ...


class AttentionGeometry(NamedTuple):
    """What the FLOP conventions and tensor parallelism need to know of attention."""

    layers: int = 0
    heads: int = 0
    head_dim: int = 0


class Family(NamedTuple, Generic[ConfigT]):
    """An architecture: a file of lm_lab/models.

    Config has a field `vocab`, and a field `length` if the longest sequence decides shapes of
    parameters. Where they are None, `resolve` and `bind` fill in what tokenizer, objective and data
    need.
    """

    Config: type[ConfigT]
    Model: Callable[[ConfigT], Model]
    # which tokens a feature may depend on; a function of the settings where these decide it
    scope: Scope | Callable[[ConfigT], Scope]
    needs_context: bool = False  # whether an encoder reads inputs.context
    attention: Callable[[ConfigT], AttentionGeometry] = lambda config: AttentionGeometry()
    # the longest sequence that parameters allow, as learned positions; None: any
    max_length: Callable[[ConfigT], int | None] = lambda config: None
    # the id with which a decoder begins
    start_id: Callable[[ConfigT], int | None] = lambda config: None
    experts_per_token: Callable[[ConfigT], int] = lambda config: 1
    # whether its "cache" is a state of constant size, which may go on from window to window
    is_recurrent: Callable[[ConfigT], bool] = lambda config: False
    # tokens that fill the cache of its attention, where that is of constant size
    memory: Callable[[ConfigT], int] = lambda config: 1
    # the same state, whose numbers stay small however much text went before it
    bounded: Callable[[ConfigT, PyTree], PyTree] = lambda config, cache: cache
    # the width over that from which rates carry over (nn/transfer.py)
    width_ratio: Callable[[ConfigT], float] = lambda config: 1.0

    def scope_of(self, config: ConfigT) -> Scope:
        """What the features of a model with these settings see."""
        return self.scope(config) if callable(self.scope) else self.scope


class ModelInfo(NamedTuple):
    """What an objective may know of the model when it completes its own settings."""

    scope: Scope
    needs_context: bool


class PooledHead(NamedTuple):
    """A head that gives a few numbers for a whole text, in place of the model's readout."""

    outputs: int  # how many numbers it gives for a text
    pooling: Pooling  # how the text's features become the one vector that it reads


class TextLikelihood(NamedTuple, Generic[ConfigT]):
    """How an objective computes the likelihood of a text that is cut into overlapping windows."""

    # (settings, length) -> tokens at the beginning of a window that are context and not scored
    given: Callable[[ConfigT, int], int]
    # (settings, windows, context tokens) -> the batch whose targets are the tokens after the
    # context
    batch: Callable[[ConfigT, Examples, int], Batch]


class MetricChoice(NamedTuple):
    """A metric that an objective asks for: its name, or dotted path, with its settings."""

    name: str
    settings: Mapping[str, object] = {}
    always: bool = False  # at every evaluation; otherwise once, at the end of training


def disjoint_windows(config: Settings, length: int) -> tuple[int, int]:
    """Windows of `length` tokens, each token in one of them."""
    del config
    return length, length


class Objective(NamedTuple, Generic[ConfigT]):
    """What is learnt: a file of lm_lab/objectives."""

    Config: type[ConfigT]
    # (settings, length L, vocabulary) -> prepare and loss
    make: Callable[[ConfigT, int, Vocabulary], ObjectiveFunctions]
    scope: Scope | None  # what a model may see without seeing its targets; None: anything
    consumes: DataForm = "stream"
    # whether it gives inputs.context; None: if the model reads one
    needs_context: bool | None = False
    # the names of the metrics that are taken of a trained model, by the settings
    metrics: Callable[[ConfigT], tuple[MetricChoice, ...]] = lambda config: ()
    # (settings, length) -> (tokens in a window of a stream, tokens from one window to the next)
    window: Callable[[ConfigT, int], tuple[int, int]] = disjoint_windows
    # (settings, model) -> settings with each None replaced by what the model asks for; raises
    # UserError where the two do not fit
    complete: Callable[[ConfigT, ModelInfo], ConfigT] = lambda config, model: config
    # (settings, length, vocabulary) -> how many ids it adds to the tokenizer's
    special_ids: Callable[[ConfigT, int, Vocabulary], int] = lambda config, length, vocabulary: 0
    # (settings, length, context length) -> the longest sequence that the model reads
    model_length: Callable[[ConfigT, int, int], int] = lambda config, length, context_length: length
    head: Callable[[ConfigT], PooledHead] | None = None  # None: the model's own readout
    # (settings, labels f32[n]); raises UserError for labels that cannot be learnt
    check_labels: Callable[[ConfigT, np.ndarray], None] = lambda config, labels: None
    # (settings, vocabulary, examples) -> what a model is given before it writes the first token of
    # its answer to examples.context
    prompt: Callable[[ConfigT, Vocabulary, Examples], Inputs] | None = None
    text_likelihood: TextLikelihood[ConfigT] | None = None
    # (logits, batch) -> f32[B P], a number of each answer to a prompt: given to `prepare` as
    # examples.reference, of the model that training starts from (train.initial); None: none is
    reference: Callable[[Array, Batch], Array] | None = None
    # whether the inputs of a window end where those of the next in the text begin
    reads_on: bool = False
    # whether a text is scored by hiding each of its tokens in turn (1910.14659)
    pseudo_likelihood: bool = False


class Adapter(NamedTuple, Generic[ConfigT]):
    """Which parameters of a model are trained, and which are added to it: a file of
    lm_lab/adapters.
    """

    Config: type[ConfigT]
    make: Callable[[ConfigT], AdapterFunctions]
    # whether training continues the adapter of the run that train.initial names
    continues: Callable[[ConfigT], bool] = lambda config: False


class Source(NamedTuple, Generic[ConfigT]):
    """Where text comes from: a file of lm_lab/data/sources."""

    Config: type[ConfigT]
    # the documents, the same ones in the same order at every call
    documents: Callable[[ConfigT], Iterator[Document]]
    # hex digest that changes when a document or their order changes; must cost much less than
    # reading them all
    fingerprint: Callable[[ConfigT], str]
    # what it provides; a function of the settings where these decide it
    provides: DataForm | Callable[[ConfigT], DataForm] = "stream"
    # (settings, text) -> the text in the form that the sources of pairs had in training
    as_source: Callable[[ConfigT, str], str] = lambda config, text: text
    # the commit that a branch of `config.revision` stands for now, which runs record
    revision: Callable[[ConfigT], str | None] = lambda config: None

    def form(self, config: ConfigT) -> DataForm:
        """What a source with these settings provides."""
        return self.provides(config) if callable(self.provides) else self.provides


class Tokenizer(NamedTuple, Generic[ConfigT]):
    """How text becomes ids: a file of lm_lab/data/tokenizers.

    A setting of Config that names a file (`names_file`) has a name that ends in `_file`; runs keep
    a copy of what it names.
    """

    Config: type[ConfigT]
    make: Callable[[ConfigT, bytes], Codec]  # (settings, what was learnt: b"" without `learn`)
    learn: Callable[[ConfigT, Iterable[str]], bytes] | None = None  # from the training texts
    # (settings, what was learnt, texts) -> (words of the texts without an id, all words)
    unknown: Callable[[ConfigT, bytes, Iterable[str]], tuple[int, int]] | None = None
    version: int = 1  # raised when `learn` gives something else from the same text
    # (settings, what was learnt) -> the tokenizer.json, as of the Hugging Face library, of the same
    # ids; None: it has none, and a model that is converted goes without
    exported: Callable[[ConfigT, bytes], Mapping[str, object]] | None = None


class Schedule(NamedTuple, Generic[ConfigT]):
    """The learning rate over a run: a file of lm_lab/schedules.

    factor(config, step i32[...], steps) -> f32[...], the share of the peak rate at each step of
    `steps` in all. check_steps(config, steps) raises UserError where the settings do not fit the
    run.
    """

    Config: type[ConfigT]
    factor: Callable[[ConfigT, Array, int], Array]
    check_steps: Callable[[ConfigT, int], None] = lambda config, steps: None


class EvaluationData(NamedTuple):
    """What a metric is given to measure: a model, and the held-out data of its run."""

    model: Model
    codec: Codec
    vocabulary: Vocabulary
    length: int  # tokens of a window; of records, of the longest text or target with its end token
    compute: str  # dtype of matrix products
    # (rows of a batch, batches at most; 0: all) -> held-out batches [n B ...], each record once
    heldout: Callable[[int, int], Examples]
    targets: Callable[[], list[str]]  # the texts of held-out pairs, in the order of `heldout`
    batch_size: int  # of training
    # examples -> what the model is given before the first token of an answer
    prompt: Callable[[Examples], Inputs] | None = None
    max_length: int | None = None  # tokens for which the model has positions; None: any


MetricFunction = Callable[[PyTree], Mapping[str, float]]
"""Parameters -> values by name, as in {"bleu": 31.2}."""


class Metric(NamedTuple, Generic[ConfigT]):
    """A measure of a trained model that is not its likelihood: a file of
    lm_lab/evaluation/metrics.
    """

    Config: type[ConfigT]
    # opens what it reads and checks it before training; raises UserError
    prepare: Callable[[ConfigT, EvaluationData], MetricFunction]


class Likelihood(NamedTuple):
    """The likelihood that a model gives to a text, or to a continuation."""

    nats: float  # log likelihood, at most 0
    tokens: int  # tokens that were scored
    greedy: bool  # whether each scored token was the model's most likely one


class WholeText(Protocol):
    """Log likelihoods of whole texts, each token scored once behind a sliding window.

    Of `joined` texts each follows the one before, as the lines of a file do, and sees it.
    """

    def __call__(self, texts: Sequence[str], joined: bool = False) -> list[Likelihood]: ...


class TextModel(NamedTuple):
    """What a task may ask of a trained model, as functions of texts. Each raises UserError where
    the model cannot do it, as an encoder cannot generate.
    """

    # (context, continuation) pairs -> the likelihood of each continuation given its context
    continuations: Callable[[Sequence[tuple[str, str]]], list[Likelihood]]
    texts: WholeText
    # (prompts, tokens at most, texts before which it ends) -> what follows each prompt, greedily
    write: Callable[[Sequence[str], int, Sequence[str]], list[str]]
    outputs: Callable[
        [Sequence[str]], np.ndarray
    ]  # texts -> f32[n C], the outputs of a head on whole texts
    pseudo: bool = False  # whether likelihoods are pseudo-likelihoods (1910.14659)


Ability = Literal["continuations", "texts", "write", "outputs"]


class Scores(NamedTuple):
    """What a task measured: statistics of each document, and how the metrics follow from the
    statistics of any set of documents. Intervals come from resampling documents (the bootstrap).
    """

    statistics: Mapping[str, np.ndarray]  # by name, [documents ...]
    metrics: Callable[[Mapping[str, np.ndarray]], dict[str, float]]
    of: str = "documents"  # what is resampled, where it is less than a document

    @property
    def values(self) -> dict[str, float]:
        """The metrics of all documents."""
        return self.metrics(self.statistics)


class EvalTask(NamedTuple, Generic[ConfigT]):
    """A task by which trained models are evaluated: a file of lm_lab/evaluation/tasks."""

    Config: type[ConfigT]
    # opens what it reads and checks it before training; raises UserError
    prepare: Callable[[ConfigT], Callable[[TextModel], Scores]]
    needs: tuple[Ability, ...]  # the functions of TextModel that it calls


@dataclasses.dataclass(frozen=True)
class Unit:
    """A command that finishes some runs of one program, by their names; its output is appended to
    the log. It begins when the files of `after` are there (sweeps/executors: next_ready).
    """

    names: tuple[str, ...]
    command: tuple[str, ...]
    log: Path
    after: tuple[Path, ...] = ()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a unit ended: its exit code (negative: the signal that killed it), and the reason to
    report for a run that has no result.
    """

    unit: Unit
    code: int
    message: str


class UnitRunner(Protocol):
    """Runs every unit once and yields outcomes as they end; closing the iterator ends what is still
    running.
    """

    @property
    def workers(self) -> int:
        """How many units run at once; a sweep is divided into units accordingly."""
        ...

    def run(self, units: Sequence[Unit]) -> Generator[Outcome, None, None]: ...


UnitCosts = Callable[[int], Sequence[Sequence[float]]]
"""Number of workers -> the costs of the units into which a sweep is divided for them, in the order
in which they start; by phase, where one begins when the one before has ended.
"""


class Executor(NamedTuple, Generic[ConfigT]):
    """Where the runs of a sweep are computed: a file of lm_lab/sweeps/executors."""

    Config: type[ConfigT]
    # (settings, platform of the launcher's own devices: cpu, gpu or tpu)
    make: Callable[[ConfigT, str], UnitRunner]
    # sets what the runs of the sweep decide where the user does not
    resolve: Callable[[ConfigT, str, UnitCosts], ConfigT] = lambda config, platform, costs: config


Contract = (
    Family
    | Objective
    | Adapter
    | Source
    | Tokenizer
    | Optimizer
    | Schedule
    | Metric
    | EvalTask
    | Executor
)
