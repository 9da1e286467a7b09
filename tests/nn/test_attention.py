from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from lm_lab.nn.attention import attend
from lm_lab.nn.attention_info import make_mask
from lm_lab.nn.fused import splash
from lm_lab.types import UserError
from tests import tiny
from tests.tiny import ROUNDING, distance


def causal_mask(length, segments):
    places = jnp.arange(length)
    return make_mask(places[:, None] - places, segments, segments)


def drawn(seed=0, dtype=jnp.float32, scale=1.0):
    """q, k, v [2 7 3 4]."""
    rng = np.random.default_rng(seed)
    return [jnp.asarray(scale * rng.normal(size=(2, 7, 3, 4)), dtype) for _ in range(3)]


def reference(q, k, v, mask):
    """1706.03762, equation 1, in float64."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1])
    scores = np.where(np.asarray(mask), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhqk,bkhd->bqhd", weights / weights.sum(-1, keepdims=True), v)


SEGMENTS = jnp.array([[1, 1, 1, 2, 2, 2, 2], [1, 2, 2, 2, 3, 0, 0]])


@pytest.mark.gpu
@pytest.mark.parametrize("segments", [None, SEGMENTS], ids=["whole", "packed"])
def test_plain_attention_is_the_papers(segments):
    mask = causal_mask(7, segments)
    assert distance(attend(*drawn(), mask, "plain"), reference(*drawn(), mask)) < ROUNDING


def test_scores_of_any_size_stay_finite():
    mask = causal_mask(7, None)
    large = drawn(scale=100.0)  # scores of 1e4, whose exponentials overflow
    # The scores themselves are rounded: 1e4 * 6e-8 = 6e-4 in the exponent.
    assert distance(attend(*large, mask, "plain"), reference(*large, mask)) < 2e-3


@pytest.mark.gpu
def test_half_precision_rounds_once_each_way():
    half = drawn(dtype=jnp.bfloat16)
    out = attend(*half, causal_mask(7, None), "plain")
    assert out.dtype == jnp.bfloat16
    # Scores and sums are float32; the weights, the products' result and the output are rounded to 8
    # bits (2^-9 each).
    assert distance(out, reference(*half, causal_mask(7, None))) < 4 * 2**-9


def test_a_mask_is_the_past_of_the_own_segment():
    mask = np.asarray(causal_mask(7, SEGMENTS))[:, 0]
    for row, query, key in np.ndindex(2, 7, 7):
        assert mask[row, query, key] == (
            key <= query and SEGMENTS[row, query] == SEGMENTS[row, key]
        )


def test_the_future_has_no_gradient_at_all():
    q, k, v = drawn()

    def first_queries(k, v):
        return attend(q, k, v, causal_mask(7, None), "plain")[:, :4].sum()

    for gradient in jax.grad(first_queries, (0, 1))(k, v):
        assert (gradient[:, 4:] == 0).all()
        assert (gradient[:, :4] != 0).any()


def grouped(seed=0, length=256, dtype=jnp.float32):
    """q [2 L 4 32], k and v [2 L 2 32]."""
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=(2, length, heads, 32)), dtype) for heads in (4, 2, 2)]


PACKED = jnp.where(jnp.arange(256) < jnp.asarray([[100], [200]]), 1, 2)


@pytest.mark.parametrize(
    "segments, softcap, window, scope",
    [(None, None, None, "bidirectional"), (PACKED, 5.0, 40, "causal")],
    ids=["all", "packed"],
)
def test_splash_attention_is_the_plain_one(segments, softcap, window, scope):
    places = jnp.arange(256)
    mask = make_mask(places[:, None] - places, segments, segments, window=window, scope=scope)
    weights = tiny.normal(2, 256, 4, 32)

    def fused_loss(q, k, v):
        return (
            splash(q, k, v, segments, None, softcap, window, scope, interpret=True) * weights
        ).sum()

    def plain_loss(q, k, v):
        return (attend(q, k, v, mask, "plain", softcap=softcap) * weights).sum()

    ours, wanted = (
        jax.jit(jax.value_and_grad(f, (0, 1, 2)))(*grouped()) for f in (fused_loss, plain_loss)
    )
    assert distance(ours, wanted) < ROUNDING


@pytest.mark.gpu
@pytest.mark.parametrize(
    "segments, window, biased", [(None, None, False), (PACKED, 40, True)], ids=["past", "packed"]
)
def test_attention_by_rows_is_the_plain_one(segments, window, biased):
    places, length = jnp.arange(256), 250  # no multiple of a block's rows
    mask = make_mask(places[:, None] - places, segments, segments, window=window)[
        ..., :length, :length
    ]
    added = tiny.normal(1, 4, length, length, seed=1) if biased else None
    weights = tiny.normal(2, length, 4, 32)
    q_k_v = [x[:, :length] for x in grouped()]

    def loss(kernel, given):
        own = None if segments is None else segments[:, :length]
        return lambda q, k, v: (
            attend(q, k, v, given, kernel, bias=added, softcap=5.0, window=window, segments_BL=own)
            * weights
        ).sum()

    ours, wanted = (
        jax.jit(jax.value_and_grad(loss(kernel, given), (0, 1, 2)))(*q_k_v)
        for kernel, given in (("rows", None if segments is None else mask), ("plain", mask))
    )
    assert distance(ours, wanted) < ROUNDING
    with pytest.raises(
        UserError,
        match="attention_kernel rows needs a model that sees the past alone, and no prefix",
    ):
        attend(*q_k_v, mask, "rows")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_splash_attention_compiles_for_a_tpu_with_its_gradient(dtype):
    def loss(q, k, v):
        return splash(q, k, v, PACKED, None, None, None, "causal").astype(jnp.float32).sum()

    lowered = export.export(jax.jit(jax.grad(loss, (0, 1, 2))), platforms=["tpu"])(
        *grouped(dtype=dtype)
    )
    assert (
        lowered.mlir_module().count("stablehlo.custom_call @tpu_custom_call") == 3
    )  # forward, of q, of k and v


@pytest.mark.parametrize("window", [None, 1, 3, 7, 20])
def test_no_mask_is_the_past_of_the_window(window):
    places = jnp.arange(7)
    mask = make_mask(places[:, None] - places, None, None, window=window)
    assert tiny.same_bits(
        attend(*drawn(), None, "plain", window=window), attend(*drawn(), mask, "plain")
    )


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs an NVIDIA GPU")
@pytest.mark.parametrize(
    "segments, window", [(None, None), (None, 40), (PACKED, None)], ids=["all", "window", "packed"]
)
def test_cudnn_attention_is_the_plain_one(segments, window):
    """Of the same bfloat16 queries, keys and values; the plain one computes in float32."""
    places, half = jnp.arange(256), grouped(dtype=jnp.bfloat16)
    mask = None
    if segments is not None:
        mask = make_mask(places[:, None] - places, segments, segments, window=window)
    weights = tiny.normal(2, 256, 4, 32)

    def loss(kernel, q, k, v):
        out = attend(q, k, v, mask, kernel, window=window)
        return (out.astype(jnp.float32) * weights).sum(), out

    def values(kernel, args, around=lambda function: function):
        of_one = jax.value_and_grad(partial(loss, kernel), (0, 1, 2), has_aux=True)
        (_, out), gradients = jax.jit(around(of_one))(*args)
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (out, gradients))

    whole = [leaf.astype(jnp.float32) for leaf in half]
    # Weights, output, its gradient, the scores' gradients and the result are rounded to 8 bits
    # (2^-9 each), and a sum over keys may add some of these errors up.
    alone = values("cudnn", half)
    assert distance(alone, values("plain", whole)) < 8 * 2**-9
    members = values("cudnn", [jnp.stack([leaf, leaf[::-1]]) for leaf in half], jax.vmap)
    first = jax.tree.map(lambda leaf: leaf[0], members)
    assert distance(first, alone) < 8 * 2**-9


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="is about machines without one")
def test_the_fused_kernel_is_refused_where_it_cannot_run():
    with pytest.raises(
        UserError, match=r"config\.model\.attention_kernel cudnn needs an NVIDIA GPU"
    ):
        attend(*drawn(dtype=jnp.bfloat16), causal_mask(7, None), "cudnn")
    with pytest.raises(
        UserError, match=r"config\.model\.attention_kernel tpu needs one TPU, lengths that are mult"
    ):
        attend(*drawn(), None, "tpu")
