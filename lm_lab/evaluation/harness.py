"""A run's model for EleutherAI's lm_eval, the harness that the field reports by.

Needs the extra `tasks` (pip install "lm_lab[tasks]"), and is imported by nothing else. Likelihoods,
their rows and the cut of long contexts are those of lm_lab's own tasks; whole texts are scored
behind a sliding window of half a row (lm_eval's own models score disjoint blocks, whose first
tokens have little context).

    from lm_eval import simple_evaluate
    simple_evaluate(model=lm_lab.open_run("runs/a").harness, tasks=["blimp"])
"""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lm_lab.contracts import TextModel
from lm_lab.evaluation.bootstrap import RESAMPLES
from lm_lab.types import UserError

try:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM
except ImportError as error:
    raise UserError(
        f"lm_eval is not installed ({error}); install it by pip install 'lm_lab[tasks]'"
    ) from None

NEW_TOKENS = 256  # of a written text, where a task does not say, as in lm_eval


class LmLab(LM):
    """A model with lm_eval's interface. All requests of a task come at once, and are batched by
    length.
    """

    def __init__(self, model: TextModel, name: str) -> None:
        """`name` names the run in lm_eval's records."""
        super().__init__()
        self._model, self._name = model, name

    @property
    def tokenizer_name(self) -> str:
        """The name by which lm_eval tells cached requests of different tokenizers apart."""
        return self._name

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """For each (context, continuation): (log likelihood in nats, whether greedy decoding gives
        the continuation).
        """
        likelihoods = self._model.continuations([_pair(request) for request in requests])
        return [(likelihood.nats, likelihood.greedy) for likelihood in likelihoods]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Nats of each whole text, every token scored once."""
        return [
            likelihood.nats
            for likelihood in self._model.texts([str(request.args[0]) for request in requests])
        ]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """What follows each context, greedily, up to a text of "until". Raises UserError for a
        task that asks for samples.
        """
        prompts_and_settings = [_generation(*request.args) for request in requests]
        texts = [""] * len(prompts_and_settings)
        for settings in dict.fromkeys(settings for _, settings in prompts_and_settings):
            indices = [
                index
                for index, (_, other_settings) in enumerate(prompts_and_settings)
                if other_settings == settings
            ]
            written = self._model.write(
                [prompts_and_settings[index][0] for index in indices], *settings
            )
            for index, text in zip(indices, written):
                texts[index] = text
        return texts


def evaluate(model: LmLab, names: Sequence[str], include_path: str | None) -> str:
    """The results as a table, a line for each metric. Raises UserError as `results`."""
    return table(results(model, names, include_path))


def table(report: Mapping[str, Any]) -> str:
    """lm_eval's results as aligned text; a standard error that it does not give is empty."""
    rows = [("task", "shots", "filter", "metric", "value", "stderr")]
    for task, found in report["results"].items():
        shots = str(report.get("n-shot", {}).get(task, ""))
        for key, value in found.items():
            metric, comma, kind = key.partition(",")
            if comma and not metric.endswith("_stderr"):
                error = _number(found.get(f"{metric}_stderr,{kind}"))
                rows.append((found.get("alias", task), shots, kind, metric, _number(value), error))
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, (int, float)) else ""


def results(
    model: LmLab, names: Sequence[str], include_path: str | None, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """lm_eval's results of its own tasks, or of tasks in YAML files below include_path; `resamples`
    is the number of bootstrap samples for its standard errors, drawn in this process: JAX's threads
    may hang in the ones that lm_eval would fork.

    Raises UserError for a task that does not exist, or whose data are not on this machine and
    cannot be fetched.
    """
    from lm_eval.evaluator import simple_evaluate

    manager = _manager(tuple(names), include_path)
    unknown = [name for name in names if not manager.match_tasks([name])]
    if unknown:
        raise UserError(
            f"--harness={unknown[0]}: lm_eval has no task of this name; name one of `lm_eval ls "
            "tasks`, or the folder of its YAML file by --include_path"
        )
    os.environ.setdefault("DISABLE_MULTIPROC", "1")
    tasks: list[Any] = manager.match_tasks(list(names))
    try:
        report = simple_evaluate(
            model=model,
            tasks=tasks,
            task_manager=manager,
            log_samples=False,
            bootstrap_iters=resamples,
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(
            f"--harness={','.join(names)}: lm_eval cannot run it ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}); its data must be here, or fetched"
        ) from None
    assert report is not None
    return dict(report)


def _manager(names: tuple[str, ...], include_path: str | None) -> Any:
    """lm_eval's index of tasks. Its own thousands of task files are read only if one of them is
    asked for.
    """
    from lm_eval.tasks import TaskManager

    if include_path is not None:
        if not Path(include_path).is_dir():
            raise UserError(f"--include_path={include_path}: no such folder; give another")
        local_tasks = TaskManager(include_path=include_path, include_defaults=False)
        if all(local_tasks.match_tasks([name]) for name in names):
            return local_tasks
    return _every_task(include_path)


@cache
def _every_task(include_path: str | None) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=include_path)


def _pair(request: Instance) -> tuple[str, str]:
    return str(request.args[0]), str(request.args[1])  # type: ignore[misc]


def _generation(context: str, settings: Mapping[str, Any]) -> tuple[str, tuple[int, tuple]]:
    """(context, (tokens at most, texts before which it ends))."""
    if settings.get("do_sample") and settings.get("temperature", 1.0) != 0:
        raise UserError(
            "the harness asks for samples, and only greedy texts are written; set do_sample: false "
            "in the task's generation_kwargs"
        )
    until = settings.get("until") or ()
    ends = (until,) if isinstance(until, str) else tuple(until)
    tokens = settings.get("max_gen_toks", settings.get("max_new_tokens", NEW_TOKENS))
    return str(context), (int(tokens), tuple(end for end in ends if end))
