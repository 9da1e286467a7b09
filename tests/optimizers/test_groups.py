"""The laws of parameter groups."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
import pytest

from lm_lab import registry
from lm_lab.engine.sharding import unbox
from lm_lab.engine.step import chunk, populate
from lm_lab.nn.roles import Role
from lm_lab.optimizer_contract import ParameterGroup
from lm_lab.optimizers._groups import group_settings, labels_of
from lm_lab.schema import Chosen
from lm_lab.sweeps import groups as sweep_groups
from lm_lab.train import optimizer, program
from lm_lab.types import UserError
from tests import tiny
from tests.tiny import member, same_bits

PARAMS = {
    "layers": {"query": jnp.float32([[3.0, -4.0, 1.0]]), "norm": jnp.float32([2.0])},
    "head": jnp.float32([[1.0, 0.5]]),
}
ROLES = {
    "layers": {"query": Role("kernel", "attention"), "norm": Role("vector", "norm")},
    "head": Role("kernel", "head"),
}


def moved(name, steps=3, **groups):
    """The parameters after some steps of an optimizer with these groups."""
    config = registry.load("optimizers", name, "").Config(
        clip_norm=None, groups=tuple(groups.items())
    )
    update = optimizer.load(Chosen(name, config), Chosen("constant", None))
    fields = [field.name for field in dataclasses.fields(config) if field.metadata.get("traced")]
    values = {field: getattr(config, field) for field in fields} | group_settings(config.groups)
    hyper = {name: jnp.float32(value) for name, value in values.items() if value is not None}

    @jax.jit
    def run(hyper):
        transform = update.make(ROLES, hyper, hyper["peak_rate"])
        params, state = PARAMS, transform.init(PARAMS)
        for step in range(steps):
            gradient = jax.tree.map(lambda leaf, step=step: jnp.cos(leaf + step), params)
            updates, state = transform.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        return params

    return run(hyper)


@pytest.mark.parametrize("name", registry.names("optimizers"))
def test_a_group_at_one_is_no_group_and_one_at_zero_is_frozen(name):
    plain = moved(name)
    assert same_bits(moved(name, attention=ParameterGroup(parts=("attention",))), plain)
    still = moved(name, still=ParameterGroup(paths=("layers",), rate=0.0))
    assert same_bits(still["layers"], PARAMS["layers"])
    assert same_bits(still["head"], plain["head"])


def test_a_group_has_its_share_of_the_rate_and_of_the_decay():
    half = moved("sgd", steps=1, head=ParameterGroup(parts=("head",), rate=0.5))
    whole = moved("sgd", steps=1)
    for params in (half, whole):
        params["head"] = params["head"] - PARAMS["head"]
    assert tiny.distance(half["head"] * 2, whole["head"]) < tiny.ROUNDING
    assert same_bits(half["layers"], whole["layers"])
    kernels = moved("adamw", steps=1, all=ParameterGroup(kinds=("kernel",), decay=0.0))
    decayed = moved("adamw", steps=1)
    # Decoupled: what lacks is rate * weight_decay * parameter.
    assert tiny.distance(kernels["head"] - decayed["head"], 1e-3 * 0.1 * PARAMS["head"]) < 1e-3
    assert same_bits(kernels["layers"]["norm"], decayed["layers"]["norm"])


def test_each_parameter_is_in_one_group_and_each_group_has_some():
    groups = {"a": ParameterGroup(paths=("query",)), "b": ParameterGroup(kinds=("vector",))}
    labels = labels_of(list(groups.items()), ROLES)
    assert labels == {"layers": {"query": "a", "norm": "b"}, "head": ""}
    groups["c"] = ParameterGroup(paths=("layers",), kinds=("kernel",))
    with pytest.raises(UserError, match=r"groups\.a and .*groups\.c both hold layers/query; narro"):
        labels_of(list(groups.items()), ROLES)
    with pytest.raises(UserError, match=r"groups\.d holds no parameters; the .* are head, layers/"):
        labels_of([("d", ParameterGroup(parts=("recurrent",)))], ROLES)
    with pytest.raises(UserError, match=r"config\.optimizer\.groups\.e: it names no parameters"):
        tiny.resolve({"optimizer.groups": {"e": {"rate": 0.5}}})
    with pytest.raises(UserError, match=r"groups\.e\.rates does not exist; did you mean 'rate'"):
        tiny.resolve({"optimizer.groups": {"e": {"rates": 0.5}}})


@pytest.mark.parametrize(
    "key, word, says",
    [
        ("parts", "embeding", r"groups\.a\.parts: no 'embeding'; did you mean 'embedding'"),
        ("kinds", "vectr", r"groups\.a\.kinds: no 'vectr'; did you mean 'vector'"),
        ("paths", "hed", r"groups\.a\.paths: no parameters match 'hed'; choose among head"),
    ],
)
def test_a_misspelt_word_beside_others_is_an_error(key, word, says):
    right = {"parts": "head", "kinds": "kernel", "paths": "head"}[key]
    with pytest.raises(UserError, match=says):
        labels_of([("a", ParameterGroup(**{key: (right, word)}))], ROLES)


def test_members_with_other_multipliers_are_one_program():
    def config(rate):
        return {"optimizer.groups": {"rest": {"parts": ["norm", "embedding"], "rate": rate}}}

    plain, *configs = (tiny.resolve(changes) for changes in ({}, config(1.0), config(0.0)))
    keys = [sweep_groups.program(values) for _, values in (plain, *configs)]
    assert keys[0] != keys[1] == keys[2]
    made = program.assemble(tiny.bound(configs[0][0]))
    hypers = [program.hyper_of(experiment) for experiment, _ in configs]
    start = jax.jit(lambda hyper: unbox(made.init(hyper, {})))
    starts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(start, hypers))
    examples = jax.tree.map(lambda leaf: jnp.stack([leaf[None]] * 2), tiny.examples())
    after, _ = jax.jit(populate(chunk(made.step), "map", made.slots))(starts, examples)
    alone = program.assemble(tiny.bound(plain[0]))
    before = jax.jit(lambda: unbox(alone.init(program.hyper_of(plain[0]), {})))()
    of_plain, _ = jax.jit(chunk(alone.step))(before, member(examples, 0))
    assert same_bits(member(after.params, 0), of_plain.params)
    frozen = member(after.params, 1)
    assert same_bits(frozen["embed"], before.params["embed"])
    assert not same_bits(frozen["layers"]["attention"], before.params["layers"]["attention"])
