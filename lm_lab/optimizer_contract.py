"""The contract of optimizers: their settings, groups of parameters, and what a file exports."""

import dataclasses
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import optax
from jax import Array

from lm_lab.schema import by_label, setting
from lm_lab.types import Hyper, PyTree, UserError


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


OptimizerT = TypeVar("OptimizerT", bound=OptimizerConfig)


class Averaging(NamedTuple, Generic[OptimizerT]):
    """How the parameters of an optimizer follow as an average of what it moves, with gradients that
    are taken elsewhere.

    wrap(config, hyper, rate, inner) -> the transformation of the parameters, where `inner` is what
    `make` gives, clipped and in groups. point(config, hyper, opt_state, params) -> the parameters
    at which the next gradient is taken.
    """

    wrap: Callable[
        [OptimizerT, Hyper, Array | float, optax.GradientTransformation],
        optax.GradientTransformation,
    ]
    point: Callable[[OptimizerT, Hyper, PyTree, PyTree], PyTree]


class Optimizer(NamedTuple, Generic[OptimizerT]):
    """How parameters follow from gradients: a file of lm_lab/optimizers.

    make(config, hyper, rate, decay_mask) -> optax.GradientTransformation of gradients that are
    clipped already. `hyper` holds the settings marked traced=True, f32[] each, by field name; read
    them there, not in `config`. `rate` f32[] is the rate of this step. `decay_mask` has a bool for
    each parameter: whether it decays. With `reads_roles` the role of each parameter (nn/roles.py)
    is given in its place, for optimizers that treat kernels and tables differently.
    """

    Config: type[OptimizerT]
    make: Callable[[OptimizerT, Hyper, Array | float, PyTree], optax.GradientTransformation]
    reads_roles: bool = False
    # whether each entry moves by about the rate, however large gradients are: what rates by width
    # (nn/transfer.py) are derived for
    moves_by_rate: bool = False
    averaging: Averaging[OptimizerT] | None = None  # None: parameters are moved by `make` itself
