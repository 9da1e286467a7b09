"""Figures without a study: the training curve of one run."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from lm_lab.report import style

LABELS = {"train/nll": "training", "eval/heldout/nll": "held out"}


def training_curve(metrics: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Loss in nats a token over steps, from the records of metrics.jsonl; without losses, empty
    axes.
    """
    with style.applied():
        figure, (axes,) = style.panels(5.2, 3.2)
        for (key, label), colour in zip(LABELS.items(), (style.INK, style.HELD_OUT)):
            points = [(line["step"], line[key]) for line in metrics if key in line]
            mark = "o" if key.startswith("eval") else None
            axes.plot(*zip(*points) if points else ([], []), color=colour, label=label, marker=mark)
        axes.set_title(style.literal(title))
        axes.set_xlabel("step")
        axes.set_ylabel("loss (nats per target)")
        axes.legend(loc="upper right")
    return figure
