"""The facts of a run that tasks need, and what its model can do."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lm_lab.contracts import Ability, Model, Objective
from lm_lab.data.progress import Progress
from lm_lab.engine.carry import NOTHING, Carry
from lm_lab.types import Codec, ObjectiveFunctions, Scope, UserError, Vocabulary

LONGEST = 2**20  # tokens of a target, where nothing limits them


class TextRun(NamedTuple):
    """The facts of a run that tasks need."""

    model: Model
    kind: Objective
    settings: Any  # of the objective
    objective: ObjectiveFunctions
    vocabulary: Vocabulary
    codec: Codec
    scope: Scope
    needs_context: bool
    compute: str  # dtype of matrix products
    window: int  # tokens of a window of a stream, scored and given ones together
    length: int  # of the run's data
    context_length: int  # of sources of pairs
    rows: int  # of a batch
    max_length: int | None  # tokens for which the model has positions; None: any
    stops: tuple[int, ...]  # ids that end a written text, end_of_document first
    as_source: Callable[
        [str], str
    ]  # text -> the text in the form that sources of pairs had in training
    stride: int | None = None  # tokens from one window to the next; None: the objective's
    carry: Carry = NOTHING  # the form of the state that is carried through a whole text
    loss_chunk: int | None = None  # positions of a row whose logits are held at once; None: all
    shows: bool = False  # whether long work shows its progress on stderr

    def progress(self, label: str, total: int, unit: str) -> Progress:
        """A bar for long work, if this run shows any."""
        return Progress(label, total, f" {unit}", shown=self.shows)

    @property
    def reads_on(self) -> bool:
        """Whether whole texts are read in one pass, from window to window."""
        return bool(self.carry.one)

    @property
    def of_pairs(self) -> bool:
        """Whether contexts are sources and continuations targets."""
        return answers(self.kind)

    @property
    def given(self) -> int:
        """Tokens of a window that are context and not scored, where whole texts are scored. Raises
        UserError for a stride that leaves none, or for one with an encoder's context, which has no
        stride.
        """
        scoring = self.kind.text_likelihood
        assert scoring is not None
        if self.stride is None:
            return scoring.given(self.settings, self.length)
        if self.needs_context or self.stride >= self.window:
            why = f"is not below a window of {self.window} tokens; lower it"
            if self.needs_context:
                why = "is not for models whose encoder reads what is given; leave it out"
            raise UserError(f"config.evaluation.stride {self.stride} {why}")
        return self.window - self.stride

    @property
    def scored(self) -> int:
        """Tokens from one window of a whole text to the next."""
        return self.window - self.given

    @property
    def limits(self) -> tuple[int, int]:
        """(the most given tokens of a row, the most scored ones)."""
        if self.kind.pseudo_likelihood:
            return self.window, 1
        if self.of_pairs:
            return self.context_length, self.max_length or LONGEST
        if self.needs_context:
            return self.given, self.scored
        return self.window - 1, self.window - 1


def answers(kind: Objective) -> bool:
    """Whether a model learns to write an answer and its end, given a prompt and its end."""
    return kind.consumes in ("pairs", "preferences") and kind.prompt is not None


def lacks(run: TextRun, ability: Ability) -> str | None:
    """Why a run lacks an ability; None if it has it."""
    kind = run.kind
    if ability == "outputs":
        return None if kind.head else "has no head on whole texts; name a run of classification"
    if kind.head is not None:
        return "learnt labels of texts, and gives no likelihood of them; name the task labelled"
    if ability == "write":
        if run.scope != "causal":
            return "sees more than the past, and writes nothing; name a causal one"
        if run.needs_context and kind.prompt is None:
            return "learnt nothing to go on from; name a run of continuation or seq2seq"
        return None
    if kind.text_likelihood is not None or kind.pseudo_likelihood:
        return None
    if run.of_pairs:
        if ability == "continuations":
            return None
        return "learnt targets given their sources, and gives no likelihood of a whole text"
    return (
        "restores or relates parts of a text, and gives no likelihood; name a run of causal, "
        "prefix, continuation, seq2seq or masked"
    )


def require(run: TextRun, abilities: Sequence[Ability], where: str) -> None:
    """Raises UserError where a run lacks one of the abilities."""
    for ability in abilities:
        if reason := lacks(run, ability):
            raise UserError(f"{where}: the run's model {reason}")
