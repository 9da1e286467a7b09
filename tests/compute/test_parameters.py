import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax import ShapeDtypeStruct as Shape

from lm_lab.compute.parameters import by_group
from lm_lab.nn.roles import Parameter, Role, part_of

D, V, L, N, F = 8, 50, 16, 3, 20


def decoder(tied):
    def kernel(*shape):
        return {"kernel": Shape(shape, jnp.float32)}

    params = {
        "embed": {"embedding": Shape((V, D), jnp.float32)},
        "positions": {"embedding": Shape((L, D), jnp.float32)},
        "layers": {
            "attention": {name: kernel(N, D, D) for name in ("query", "key", "value", "out")},
            "attention_norm": {"scale": Shape((N, D), jnp.float32)},
            "feed_forward": {
                "up": kernel(N, D, F),
                "gate": kernel(N, D, F),
                "down": kernel(N, F, D),
            },
            "feed_forward_norm": {
                "scale": Shape((N, D), jnp.float32),
                "bias": Shape((N, D), jnp.float32),
            },
        },
        "norm": {"scale": Shape((D,), jnp.float32)},
    }
    return params if tied else params | {"head": kernel(D, V)}


@pytest.mark.parametrize("tied", [False, True])
def test_decoder(tied):
    counted, body = by_group({"params": decoder(tied)}), N * (4 * D * D + 3 * D * F)
    groups = {
        "norm": 3 * N * D + D,
        "positions": L * D,
        "head": 0 if tied else D * V,
        "embedding": V * D,
        "attention": N * 4 * D * D,
        "recurrent": 0,
        "feed_forward": N * 3 * D * F,
        "other": 0,
    }
    sums = {
        "total": sum(groups.values()),
        "active": sum(groups.values()),
        "non_embedding": sum(groups.values()) - V * D - L * D,
        "matmul": body + D * V,  # tied or not, the head is one product
        "matmul_body": body,
    }
    assert counted == sums | groups


def test_biases_take_no_part_in_products_and_unknown_names_are_other():
    lstm = {
        "lstm_0": {"hi": {"kernel": jnp.ones((4, 4)), "bias": jnp.ones(4)}},
        "mystery": jnp.ones(5),
    }
    counted = by_group(lstm)
    assert (counted["recurrent"], counted["other"], counted["matmul"], counted["total"]) == (
        20,
        5,
        16,
        25,
    )


def test_boxes_of_flax_count_as_their_arrays():
    plain = decoder(tied=False)
    boxed = jax.tree.map(lambda leaf: nn.Partitioned(leaf, (None,) * leaf.ndim), plain)
    assert by_group(boxed) == by_group(plain)


def test_a_role_that_is_told_counts_and_a_name_does_not():
    role = Role("expert_kernels", "feed_forward")
    params = {"attention": {"odd": Parameter(Shape((N, 4, D, F), jnp.float32), (), role=role)}}
    counted = by_group(params, experts_per_token=1)
    assert counted["feed_forward"] == N * 4 * D * F
    assert counted["matmul"] == counted["active"] == N * D * F


@pytest.mark.parametrize(
    "path, group",
    [
        ("layers_0/attention_norm/scale", "norm"),
        ("LayerNorm_0/scale", "norm"),
        ("positions/embedding", "positions"),
        ("decoder/layers_11/cross_attention/query/kernel", "attention"),
        ("token_embedding/embedding", "embedding"),
        ("lm_head/kernel", "head"),
        ("embed/attend", "head"),
        ("GRUCell_0/in/kernel", "recurrent"),
        ("layers/mlp/kernel", "other"),
        ("", "other"),
    ],
)
def test_groups_by_name(path, group):
    assert part_of(path.split("/")) == group
