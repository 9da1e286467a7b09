"""Rules: reading and writing are inverse, and a tensor that does not fit is named."""

import numpy as np
import pytest

from lm_lab.interop import mapping
from lm_lab.interop.mapping import fused, same, scale_minus_one, transposed
from lm_lab.nn.trees import flatten
from lm_lab.types import UserError
from tests import tiny

RULES = [
    same("embed/embedding", "embed"),
    transposed("layers/out/kernel", "h.{layer}.out", range(2)),
    scale_minus_one("layers/norm/scale", "h.{layer}.norm", (1, 0)),
    fused(
        ("layers/query/kernel", "layers/key/kernel"),
        "h.{layer}.qk",
        axis=0,
        transposed=True,
        layers=range(2),
        sizes=(4, 2),
    ),
    fused(("head/kernel", "pooler/kernel"), "both", axis=-1, transposed=False),
]
SHAPES = {
    "embed/embedding": (5, 3),
    "layers/out/kernel": (2, 4, 3),
    "layers/norm/scale": (2, 3),
    "layers/query/kernel": (2, 3, 4),
    "layers/key/kernel": (2, 3, 2),
    "head/kernel": (3, 2),
    "pooler/kernel": (3, 2),
}
FOREIGN = {
    "embed": (5, 3),
    "h.0.out": (3, 4),
    "h.1.out": (3, 4),
    "h.0.norm": (3,),
    "h.1.norm": (3,),
    "h.0.qk": (6, 3),
    "h.1.qk": (6, 3),
    "both": (3, 4),
}


@pytest.fixture
def foreign():
    """Whole numbers, which no rule rounds."""
    draw = np.random.default_rng(0)
    return {name: draw.integers(-9, 9, shape).astype(np.float32) for name, shape in FOREIGN.items()}


def test_there_and_back_is_the_same(foreign):
    params = mapping.to_ours(RULES, foreign, shapes=SHAPES)
    assert {path: leaf.shape for path, leaf in flatten(params).items()} == SHAPES
    back = mapping.to_theirs(RULES, params)
    assert back.keys() == foreign.keys()
    assert all((back[name] == foreign[name]).all() for name in foreign)
    assert tiny.same_bits(mapping.to_ours(RULES, back, shapes=SHAPES), params)


def test_what_each_rule_does(foreign):
    params = mapping.to_ours(RULES, foreign, shapes=SHAPES)
    assert (params["layers"]["out"]["kernel"][1] == foreign["h.1.out"].T).all()
    assert (
        params["layers"]["norm"]["scale"][0] == 1 + foreign["h.1.norm"]
    ).all()  # row 0 is their layer 1
    assert (params["layers"]["key"]["kernel"][0] == foreign["h.0.qk"][4:].T).all()
    assert (params["pooler"]["kernel"] == foreign["both"][:, 2:]).all()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"h.1.out": None}, "tensor h.1.out is missing$"),
        ({"h.1.out": None, "both": None}, r"tensor both is missing \(and 1 more\)"),
        (
            {"h.2.out": np.zeros(3)},
            "tensor h.2.out has no place in the model that config.json describes",
        ),
        (
            {"h.0.out": np.zeros((4, 3))},
            r"tensor h.0.out has shape \[4, 3\]; the config asks for \[3, 4\]",
        ),
        (
            {"h.0.qk": np.zeros((6,))},
            r"tensor h.0.qk has shape \[6\]; the config asks for \[6, 3\]",
        ),
        (
            {"both": np.zeros((3, 3))},
            r"tensor both has shape \[3, 3\]; the config asks for \[3, 4\]",
        ),
        ({"embed": np.zeros((5, 3), int)}, "tensor embed is int64, not a floating-point number"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(foreign, change, message):
    changed = {name: tensor for name, tensor in (foreign | change).items() if tensor is not None}
    with pytest.raises(UserError, match=message):
        mapping.to_ours(RULES, changed, shapes=SHAPES)


def test_what_carries_nothing_is_passed_over(foreign):
    mask = {"h.0.mask": np.zeros(1, bool)}
    assert mapping.to_ours(RULES, foreign | mask, shapes=SHAPES, ignored=("h.*.mask",))


def test_a_parameter_that_no_rule_knows_is_named(foreign):
    params = mapping.to_ours(RULES, foreign, shapes=SHAPES)
    with pytest.raises(UserError, match="parameter head/bias has no place in that architecture"):
        mapping.to_theirs(RULES, params | {"head": params["head"] | {"bias": np.zeros(2)}})
    with pytest.raises(UserError, match="parameter embed/embedding is missing"):
        mapping.to_theirs(RULES, {name: leaf for name, leaf in params.items() if name != "embed"})
