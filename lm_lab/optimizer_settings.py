"""The settings that every optimizer has, and groups of parameters."""

import dataclasses

from lm_lab.schema import by_label, setting
from lm_lab.types import UserError


@dataclasses.dataclass(frozen=True)
class ParameterGroup:
    """Parameters with a rate and a weight decay of their own: those that all of `paths`, `parts`
    and `kinds` allow, where () allows any.
    """

    paths: tuple[str, ...] = setting("patterns of their paths, as ['*norm', 'layers']; (): any", ())
    parts: tuple[str, ...] = setting("parts of the model, as ['embedding', 'head']; (): any", ())
    kinds: tuple[str, ...] = setting("kinds of parameters, as ['vector']; (): any", ())
    rate: float = setting("multiplies the learning rate; 0 freezes", 1.0, low=0.0, traced=True)
    decay: float = setting("multiplies the weight decay", 1.0, low=0.0, traced=True)

    def __post_init__(self) -> None:
        if not (self.paths or self.parts or self.kinds):
            raise UserError("it names no parameters; give paths, parts or kinds")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The settings of every optimizer; each optimizer's Config adds its own."""

    peak_rate: float = setting("learning rate after warm-up", 1e-3, above=0.0, traced=True)
    clip_norm: float | None = setting(
        "largest global norm of the gradient; None: no clipping", 1.0, above=0.0
    )
    groups: tuple[tuple[str, ParameterGroup], ...] = by_label(
        "parameters with a rate and a decay of their own, by labels of your own", ParameterGroup
    )
