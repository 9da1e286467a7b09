"""A trained run in Python: its model applied to any text, its records as tables, its curve as a
figure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from lm_lab import config as configs
from lm_lab.evaluation.bootstrap import Estimate, intervals
from lm_lab.evaluation.text_run import answers
from lm_lab.generation import padded
from lm_lab.generation.logits import Config as GenerationConfig
from lm_lab.library.drawing import training_curve
from lm_lab.library.scoring import RunScorer, chosen_tasks
from lm_lab.library.writing import Writer
from lm_lab.nn.pooling import Pooled, pool
from lm_lab.runs import records
from lm_lab.runs.trust import trusting
from lm_lab.schema import build
from lm_lab.train import restore
from lm_lab.train.experiment import Experiment
from lm_lab.train.task import Task, bind
from lm_lab.train.text_scorer import TextScorer, open_scorer
from lm_lab.types import Codec, Inputs, PyTree, UserError

if TYPE_CHECKING:
    from lm_lab.evaluation.harness import LmLab

Text = str | Sequence[int] | np.ndarray | jax.Array
"""A text, or ids of the run's tokenizer: [L] of one text, [B L] of several of one length."""


@dataclass(frozen=True)
class Run:
    """A run's directory; nothing is read or loaded before it is used.

    directory  where the run lies
    values     its config.json as plain values
    average    whether `params` are the moving average of the trained ones
    trust      packages whose code it may name

    >>> run = lm_lab.open_run("runs/tiny")
    >>> run.config.model.family, run.result["status"]
    ('decoder', 'complete')
    """

    directory: Path
    values: Mapping[str, Any]
    average: bool = False
    trust: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r})"

    @property
    def config(self) -> "configs.ConfigDict":
        """The config, complete: `load_config`, `bind` and `train_run` take it."""
        return configs.wrap(self.values)

    @cached_property
    def task(self) -> Task:
        """The config as typed settings, with all that it names loaded and opened."""
        with trusting(self.trust):
            return bind(*configs.resolve(self.config, stored=True))

    @property
    def experiment(self) -> Experiment:
        """The config as typed settings."""
        return self.task.experiment

    @property
    def model(self) -> Any:
        """The Linen module: model.apply({"params": run.params}, Inputs(tokens)) -> logits."""
        return self.task.model

    @cached_property
    def params(self) -> PyTree:
        """The parameters of the newest checkpoint that is whole, an adapter merged into them.

        Raises UserError where there is none, or it does not fit the config.
        """
        with trusting(self.trust):
            return jax.device_put(restore.load_params(self.directory, self.average)[2])

    @property
    def tokenizer(self) -> Codec:
        """encode(text) -> ids, decode(ids) -> text."""
        return self.task.tokenizer

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl so far, a dict each; pandas.DataFrame(run.metrics) is a table.

        >>> [line["step"] for line in run.metrics if "train/nll" in line]
        [10, 20]
        """
        return records.read_metrics(self.directory)

    @property
    def result(self) -> dict[str, Any]:
        """result.json: how the run ended, parameters, FLOPs, final losses; {} while it has not."""
        return records.read_result(self.directory) or {}

    def logits(self, text: Text, context: Text | None = None) -> jax.Array:
        """f32[L V] of a text or of ids [L]; f32[B L V] of ids [B L]. A head on whole texts
        (classification, regression) gives [1 C], and reads a text with its end, as in training.

        `context` is what the encoder reads, where the model has one; with a head it is the text
        itself. Logits at place i of a causal model are of the token at i + 1. Raises UserError for
        a context that is missing, or that the model does not read.

        >>> run.logits("abba").shape
        (4, 257)
        """
        task, ids = self.task, self._ids(text)
        headed, reads = task.objective_kind.head is not None, task.family.needs_context
        if headed and isinstance(text, str):
            ids = jnp.append(ids, task.tokenizer.end_of_document)[None]
        context_ids = ids if headed and reads else None
        if context is not None:
            context_ids = self._ids(context, source=True)
        if reads != (context_ids is not None):
            why = "reads a context: give context=TEXT" if reads else "reads none; leave it out"
            raise UserError(f"context: the model of {self.directory} {why}")
        logits_BLV = self._apply(self.params, Inputs(ids, context=context_ids))
        return logits_BLV if np.ndim(text) == 2 else logits_BLV[0]

    def features(
        self, texts: Sequence[str], pooling: Literal["mean", "first", "last"] = "mean"
    ) -> jax.Array:
        """[n D], a vector a text: the last layer's features, pooled over its tokens.

        >>> run.features(["abba", "dada"]).shape
        (2, 16)
        """
        if self.task.family.needs_context:
            raise UserError(
                f"features are of models without a context, and {self.experiment.model.name} reads "
                "one; apply run.model's own methods"
            )
        rows = [np.asarray(self._ids(text))[0].tolist() for text in texts]
        tokens, segments = padded(rows, left=False)
        return self._features(self.params, tokens, segments, pooling)

    def bits_per_byte(self, text: str) -> float:
        """Bits per byte of a text under the model, every token scored once, in windows as long as
        in training. Of a masked objective it is the pseudo-likelihood (1910.14659).

        Raises UserError for an objective that gives no likelihood of a whole text.

        >>> 0 < run.bits_per_byte("abba" * 20) < 9
        True
        """
        if not text:
            raise UserError("text is empty; give one of a character or more")
        return self._text_scorer.score(text).bits_per_byte

    @overload
    def generate(self, prompt: str = "", **settings: Any) -> str: ...
    @overload
    def generate(self, prompt: Sequence[str], **settings: Any) -> list[str]: ...
    def generate(self, prompt: str | Sequence[str] = "", **settings: Any) -> str | list[str]:
        """The prompt followed by what the model generates; for a list of prompts, a list of texts.

        `settings`: new_tokens, temperature, top_k, top_p, beams, seed, ... (`lm-lab keys
        generate`). For a model of pairs the prompt is a source, and only the generated target is
        returned. Raises UserError for a model that cannot generate, or settings that do not exist.

        >>> run.generate("ab", new_tokens=6, temperature=0.8, top_k=4, seed=1).startswith("ab")
        True
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        written = self.writer.texts(prompts, build(GenerationConfig, settings, "generate"))
        of_pairs = answers(self.task.objective_kind)
        texts = [text if of_pairs else f"{shown}{text}" for shown, text in written]
        return texts[0] if isinstance(prompt, str) else texts

    def evaluate(
        self, tasks: Mapping[str, Mapping[str, Any]], *, whole: bool = False
    ) -> dict[str, dict[str, Estimate]]:
        """The scores of tasks by label and metric, each with its 95 % interval over documents; with
        `whole` also the likelihood of all held-out text, as "heldout_whole".

        Raises UserError for a task that does not exist, or that the model cannot do.

        >>> from pathlib import Path
        >>> size = Path("lines.txt").write_text("abba dada\\n" * 9)
        >>> found = run.evaluate({"lines": {"name": "perplexity", "path": "lines.txt"}})
        >>> found["lines"]["bits_per_byte"].low > 0
        True
        """
        with trusting(self.trust):
            scores_by_label = self.scorer.task_scores(chosen_tasks(tasks, "tasks"), "tasks")
            if whole:
                scores_by_label |= self.scorer.heldout_scores()
        return {label: intervals(scores) for label, scores in scores_by_label.items()}

    @cached_property
    def scorer(self) -> RunScorer:
        """The run for tasks: `scorer.model` gives likelihoods of continuations and texts, and
        generates.
        """
        return RunScorer(self.directory, self.task, self.params)

    @property
    def harness(self) -> "LmLab":
        """The model for EleutherAI's lm_eval: simple_evaluate(model=run.harness, tasks=["blimp"]).
        Raises UserError where the extra `tasks` is not installed.
        """
        from lm_lab.evaluation.harness import LmLab

        return LmLab(self.scorer.model, str(self.directory))

    @cached_property
    def writer(self) -> Writer:
        """The writer behind `generate`; its `stream` yields a text piece by piece."""
        return Writer(self.directory, self.task, self.params)

    def figure(self) -> Figure:
        """Training and held-out loss over steps.

        >>> run.figure().axes[0].get_xlabel()
        'step'
        """
        return training_curve(self.metrics, str(self.directory.name))

    @cached_property
    def _apply(self) -> Any:
        return jax.jit(lambda params, inputs: self.model.apply({"params": params}, inputs))

    @cached_property
    def _features(self) -> Any:
        def pooled(params: PyTree, tokens: Any, segments: Any, pooling: Any) -> jax.Array:
            features_BLD = self.model.apply(
                {"params": params}, Inputs(tokens, segments), method=_last_features
            )
            return pool(features_BLD, segments, pooling)

        return jax.jit(pooled, static_argnums=3)

    @cached_property
    def _text_scorer(self) -> TextScorer:
        with trusting(self.trust):
            return open_scorer(self.directory, self.task, self.average)

    def _ids(self, text: Text, source: bool = False) -> jax.Array:
        """i32[B L] of a text, or of ids. Raises UserError for what are no ids."""
        if isinstance(text, str):
            encode = self.tokenizer.of_source if source else self.tokenizer.encode
            text = encode(text)
        ids = np.asarray(text)
        if not np.issubdtype(ids.dtype, np.integer) or ids.ndim not in (1, 2) or not ids.size:
            raise UserError(
                "give a text that is not empty, or ids as whole numbers [L] or [B L], not "
                f"{ids.dtype} {list(ids.shape)}"
            )
        return jnp.atleast_2d(jnp.asarray(ids, jnp.int32))


def _last_features(module: Any, inputs: Inputs) -> jax.Array:
    """[B L D], also of a model with a head on whole texts."""
    return (module.model if isinstance(module, Pooled) else module).features(inputs)


def open_run(
    directory: str | Path,
    *,
    average: bool = False,
    trust: Iterable[str] = (),
    moved: Mapping[str, str] = restore.NOT_MOVED,
) -> Run:
    """The run of a directory: ended, still training, or converted from another library.

    With `average` its parameters are the moving average that it kept (train.average_decay). A
    stored config may come from others, and runs code of packages beside lm_lab only where `trust`
    names them; what the notebook itself defines is trusted. `moved` says where its text lies now,
    if it is not where it was: {"data.source.path": "/new/books"}. Raises UserError where there is
    no run, or no average.

    >>> lm_lab.open_run("runs/tiny")
    Run('runs/tiny')
    """
    place, packages = Path(directory).expanduser(), tuple(trust)
    with trusting(packages):
        return Run(place, restore.read_run(place, moved), average, packages)
