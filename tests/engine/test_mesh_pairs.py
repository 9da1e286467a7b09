"""Every pair of axes of the mesh, and the useful triples, train as one device does.

Each is a program of its own, so that they run where LM_LAB_ALL_MESHES=1 asks for them; those of
test_mesh_axes.py always run.
"""

import os
from functools import cache
from itertools import combinations

import jax
import pytest

from lm_lab.train.compiled import compile_program
from tests.engine.test_mesh_axes import CHANGES, EXPERTS, STEPS, documents, task_of
from tests.tiny import ROUNDING, distance

pytestmark = pytest.mark.skipif(
    jax.device_count() < 8 or os.environ.get("LM_LAB_ALL_MESHES") != "1",
    reason="LM_LAB_ALL_MESHES=1 runs it, on 8 virtual devices",
)

AXES = ("population", "replica", "pipeline", "data", "fsdp", "expert", "sequence", "tensor")
TRIPLES = (
    "population data tensor",
    "population fsdp sequence",
    "population pipeline tensor",
    "population expert sequence",
    "replica fsdp tensor",
    "replica pipeline fsdp",
    "pipeline data tensor",
    "pipeline fsdp tensor",
    "pipeline sequence tensor",
    "pipeline expert tensor",
    "fsdp sequence tensor",
    "fsdp expert tensor",
    "data expert sequence",
)
STAGED = [
    {**dict.fromkeys(axes, 2), "data": 2, "zero": zero}
    for zero in (1, 2, 3)
    for axes in ((), *[(axis,) for axis in AXES if axis != "data"])
]
MESHES = [
    *[dict.fromkeys(pair, 2) for pair in combinations(AXES, 2)],
    *STAGED,
    *[dict.fromkeys(triple.split(), 2) for triple in TRIPLES],
]
# a model that every axis splits, with random numbers and losses of layers
MODEL = CHANGES | EXPERTS | {"data.isolate_documents": True}


def tasks_of(mesh, members, model=None):
    changes = model or MODEL
    return [task_of(mesh, changes | {"seed": seed}) for seed in range(members)]


def stepped(built, begin):
    state = jax.device_put(begin, built.placed)
    return built.engine.step(state, built.engine.batch(0, STEPS, state))


def alone(members, model=None):
    """(the states before the first step, what follows two), member after member on a device."""
    built = compile_program(tasks_of({}, members, model), how="map")
    begin = jax.device_get(built.start())
    return begin, jax.device_get(stepped(built, begin))


unsplit = cache(alone)


@pytest.mark.parametrize("mesh", MESHES, ids=str)
def test_axes_together_train_as_one_device(mesh):
    members = mesh.get("population", 1)
    begin, end = unsplit(members)
    assert distance(stepped(compile_program(tasks_of(mesh, members)), begin), end) < ROUNDING


def test_the_states_of_a_population_are_passed_on_along_split_rows():
    mesh, changes = {"population": 2, "sequence": 2, "pipeline": 2}, documents("mamba")
    begin, end = alone(2, changes)
    assert distance(stepped(compile_program(tasks_of(mesh, 2, changes)), begin), end) < ROUNDING
