"""The laws of an optimizer, tried on a matrix and a vector."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lm_lab.contracts import Optimizer, OptimizerConfig
from lm_lab.laws import distance, expect, tiny
from lm_lab.laws.settings import program_text, settings
from lm_lab.nn.roles import Role
from lm_lab.optimizers import Updates, composed
from lm_lab.types import PyTree

PARAMS = {
    "kernel": jnp.asarray([[3.0, -4.0, 0.5], [1.0, 2.0, -1.0]]),
    "scale": jnp.asarray([2.0, 1.0]),
}
ROLES = {"kernel": Role("kernel", "feed_forward"), "scale": Role("vector", "norm")}
STEPS = 3


@dataclasses.dataclass(frozen=True)
class Subject:
    """An optimizer with its settings."""

    optimizer: Optimizer
    config: OptimizerConfig

    @property
    def traced(self) -> dict[str, float]:
        """The settings marked traced=True, as arrays by name."""
        return _traced(self.config)

    def _make(self, config: Any, hyper: Any, rate: Any) -> Updates:
        unclipped = dataclasses.replace(config, clip_norm=None)
        return composed(self.optimizer, unclipped, hyper, rate, ROLES)

    def effect(self, config: Any) -> object:
        """Everything that such settings decide: the program of a step, its rate and its
        clipping.
        """

        def step(params: PyTree) -> PyTree:
            hyper = {name: jnp.float32(value) for name, value in _traced(config).items()}
            transform = self._make(config, hyper, 1e-3)
            state = transform.init(params)
            return transform.update(transform.point(state, params), state, params)

        return *program_text(step, PARAMS), _traced(config), config.clip_norm

    def run(
        self, hyper: Mapping[str, float], rate: float, size: float
    ) -> tuple[PyTree, PyTree, PyTree]:
        """(parameters, state, state before) of some steps, with gradients of this size."""
        values = {name: np.float32(value) for name, value in hyper.items()}
        return self._steps(values, np.float32(rate), np.float32(size))

    @functools.cached_property
    def _steps(self) -> Callable[..., tuple[PyTree, PyTree, PyTree]]:
        @jax.jit
        def steps(hyper: PyTree, rate: Any, size: Any) -> tuple[PyTree, PyTree, PyTree]:
            transform = self._make(self.config, hyper, rate)
            params, initial_state = PARAMS, transform.init(PARAMS)
            state = initial_state
            for step in range(STEPS):
                point = transform.point(state, params)
                gradient = jax.tree.map(lambda leaf, step=step: size * jnp.cos(leaf + step), point)
                updates, state = transform.update(gradient, state, params)
                params = optax.apply_updates(params, updates)
            return params, state, initial_state

        return steps


def subject(optimizer: Optimizer, given: Mapping[str, object]) -> Subject:
    """The optimizer with these settings. Raises UserError for wrong ones."""
    return Subject(optimizer, tiny(optimizer.Config, {}, given))


def laws(subject: Subject) -> list[Callable[[Subject], None]]:
    """All of them."""
    del subject
    return [updates, state, still_rate, decay, traced, settings]


def updates(subject: Subject) -> None:
    """Parameters move, and stay finite for gradients that are 0, usual or large."""
    for size in (0.0, 1.0, 1e6):
        params, _, _ = subject.run(subject.traced, 1e-3, size)
        for name, leaf in params.items():
            expect(bool(jnp.isfinite(leaf).all()), f"{name} is not finite, gradients being {size}")
        moved = distance(params, PARAMS) > 0
        expect(moved or size == 0, f"nothing moves, though gradients are {size}")


def state(subject: Subject) -> None:
    """The state has the same shapes before and after a step."""
    _, after, before = subject.run(subject.traced, 1e-3, 1.0)
    expect(
        jax.tree.structure(after) == jax.tree.structure(before),
        "the tree of the state changes with a step",
    )
    for one, other in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        expect(one.shape == other.shape, f"a state of shape {one.shape} becomes {other.shape}")


def still_rate(subject: Subject) -> None:
    """At rate 0 no parameter changes."""
    params, _, _ = subject.run(subject.traced, 0.0, 1.0)
    size = distance(params, PARAMS)
    expect(size == 0, f"parameters move at rate 0 ({size:.2g}); multiply every update by `rate`")


def decay(subject: Subject) -> None:
    """With gradients of 0, parameters outside of decay_mask do not change."""
    params, _, _ = subject.run(subject.traced, 1e-3, 0.0)
    size = distance(params["scale"], PARAMS["scale"])
    expect(size == 0, f"a parameter that does not decay shrinks ({size:.2g}); use decay_mask")


def traced(subject: Subject) -> None:
    """Settings that are marked traced=True are read from `hyper`, not from the config."""
    for name, value in subject.traced.items():
        changed = value / 2 or 0.01
        hyper = subject.traced | {name: changed}
        config = dataclasses.replace(subject.config, **{name: changed})
        other = dataclasses.replace(subject, config=config)
        of_config, of_hyper = (each.run(hyper, 1e-3, 1.0)[0] for each in (subject, other))
        expect(
            distance(of_config, of_hyper) == 0,
            f"{name} is read in the config; read hyper[{name!r}]",
        )


def _traced(config: Any) -> dict[str, float]:
    """The traced settings that are not None, by name."""
    fields = (field for field in dataclasses.fields(config) if field.metadata.get("traced"))
    values = {field.name: vars(config)[field.name] for field in fields}
    return {name: value for name, value in values.items() if value is not None}
