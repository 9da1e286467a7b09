"""Mixture of experts: many feed-forward layers, of which a router chooses a few for each token."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name

from lm_lab.nn.cache import is_decoding
from lm_lab.nn.feed_forward import ACTIVATIONS, GATED, GATES, Activation
from lm_lab.nn.fused import rows_of_members
from lm_lab.nn.linear import PRODUCT, Kernels, Linear
from lm_lab.nn.splits import by_rows, from_experts, is_split, to_experts
from lm_lab.types import PyTree, UserError

Grouping = Literal["auto", "ragged", "blocks"]


class Mixture(NamedTuple):
    """The shape of a mixture: E experts, each a feed-forward layer of F inner features without
    biases.
    """

    experts: int
    chosen: int  # k, experts of a token
    inner: int
    activation: Activation
    capacity_factor: float | None = None  # None: no expert is ever full
    balance_weight: float = 0.01
    kernel: Grouping = "auto"


class Experts(nn.Module):
    """[B L D] -> [B L D], the sum of the outputs of each token's k chosen experts, weighted by
    their gates.

    With a capacity factor c, an expert takes the first c k L / E tokens of a row that choose it
    (2006.16668); further tokens get no output from it. Documents packed into one row then compete
    for its capacity. While decoding, nothing is dropped. Padding takes no capacity. The balance
    loss f32[B] is sown in "losses".
    """

    mixture: Mixture
    scale: float  # of the initial standard deviation of the projection back into the stream

    @nn.compact
    def __call__(self, x_BLD: Array, padding_BL: Array | None = None) -> Array:
        mixture = self.mixture
        real_BL = None if padding_BL is None else ~padding_BL
        logits_BLE = Linear(mixture.experts, "route", name="router")(x_BLD)
        router_probs_BLE = jax.nn.softmax(logits_BLE.astype(jnp.float32))
        gates_BLk, chosen_BLk = choose(router_probs_BLE, mixture.chosen)
        self.sow(
            "losses",
            "balance",
            mixture.balance_weight * load_balancing_loss(router_probs_BLE, chosen_BLk, real_BL),
        )
        feed_forward = self._kernels(x_BLD)
        if mixture.capacity_factor is None and is_split("expert"):
            raise UserError(
                "config.mesh.expert splits experts that have a capacity, and "
                "config.model.feed_forward.capacity_factor is None; set it, as to 1.25, or use "
                "config.mesh.fsdp"
            )
        if mixture.capacity_factor is None or is_decoding(self):
            y = _dropless_by_rows(feed_forward, x_BLD, chosen_BLk, mixture)
        else:
            y = _within_capacity(feed_forward, x_BLD, chosen_BLk, real_BL, mixture)
        return (y * gates_BLk[..., None].astype(y.dtype)).sum(2)

    def _kernels(self, x_BLD: Array) -> "FeedForwards":
        mixture, width = self.mixture, x_BLD.shape[-1]
        expand, contract = (width, mixture.inner), (mixture.inner, width)
        up = Kernels(mixture.experts, expand, "expand", name="up")(x_BLD.dtype)
        gate = None
        if mixture.activation in GATED:
            gate = Kernels(mixture.experts, expand, "expand", name="gate")(x_BLD.dtype)
        down = Kernels(mixture.experts, contract, "contract", self.scale, name="down")(x_BLD.dtype)
        return FeedForwards(up, gate, down, mixture.activation)


class FeedForwards(NamedTuple):
    """The kernels of all experts."""

    up_EDF: Array
    gate_EDF: Array | None
    down_EFD: Array
    activation: Activation

    def __call__(self, x: Array, product: Callable[[Array, Array], Array]) -> Array:
        """Each row of x through its expert; product(rows, kernels) multiplies each row with the
        kernel of its expert.
        """
        up = checkpoint_name(product(x, self.up_EDF), PRODUCT)
        if self.gate_EDF is None:
            hidden = ACTIVATIONS[self.activation](up)
        else:
            hidden = (
                GATES[self.activation](checkpoint_name(product(x, self.gate_EDF), PRODUCT)) * up
            )
        return checkpoint_name(product(hidden, self.down_EFD), PRODUCT)


def choose(router_probs_BLE: Array, chosen: int) -> tuple[Array, Array]:
    """(gates f32[B L k], experts i32[B L k]): the likeliest experts of each token.

    The gates of several experts add up to 1 (2401.04088). The gate of a single expert is its
    probability (2101.03961): a constant 1 would give the router no gradient.
    """
    gates_BLk, chosen_BLk = lax.top_k(router_probs_BLE, chosen)
    return (gates_BLk if chosen == 1 else gates_BLk / gates_BLk.sum(-1, keepdims=True)), chosen_BLk


def load_balancing_loss(router_probs_BLE: Array, chosen_BLk: Array, real_BL: Array | None) -> Array:
    """f32[B], E sum_e (share of the row's choices that are e) (mean probability of e) (2101.03961):
    1 where all experts are chosen equally often.
    """
    real_BL1 = (
        jnp.ones_like(router_probs_BLE[..., :1])
        if real_BL is None
        else real_BL[..., None].astype(jnp.float32)
    )
    experts, count_B1 = router_probs_BLE.shape[-1], jnp.maximum(real_BL1.sum(1), 1.0)
    choices_BLE = (chosen_BLk[..., None] == jnp.arange(experts)).sum(2).astype(jnp.float32)
    share_BE = (choices_BLE * real_BL1).sum(1) / (count_B1 * chosen_BLk.shape[-1])
    return experts * (share_BE * (router_probs_BLE * real_BL1).sum(1) / count_B1).sum(-1)


def _dropless_by_rows(
    feed_forward: FeedForwards, x_BLD: Array, chosen_BLk: Array, mixture: Mixture
) -> Array:
    """`_dropless` of the rows that each device has, whose choices it sorts alone."""
    up, gate, down, activation = feed_forward

    def of_rows(rows: tuple[Array, Array], kernels: tuple[Array, Array | None, Array]) -> Array:
        return _dropless(FeedForwards(*kernels, activation), *rows, mixture)

    return by_rows(of_rows, (x_BLD, chosen_BLk), (up, gate, down))


def _dropless(
    feed_forward: FeedForwards, x_BLD: Array, chosen_BLk: Array, mixture: Mixture
) -> Array:
    """The output of each choice [B L k D], computed on all choices of the batch sorted by
    expert.
    """
    chosen_A, k = chosen_BLk.reshape(-1), mixture.chosen
    rank_A, count_E = _rank(chosen_A, None, mixture.experts)
    blocks = mixture.kernel == "blocks" or (
        mixture.kernel == "auto" and jax.default_backend() == "cpu"
    )
    if blocks:
        size = _block_size(chosen_A.size, mixture.experts)
        number = min(
            chosen_A.size, chosen_A.size // size + mixture.experts
        )  # upper bound: every expert may leave one block part full
        last_E = jnp.cumsum(-(-count_E // size))
        slots_A, slots = (last_E - -(-count_E // size))[chosen_A] * size + rank_A, number * size
        owner = jnp.searchsorted(last_E, jnp.arange(number), side="right").clip(
            max=mixture.experts - 1
        )
        product, shape = partial(_block_products, owner=owner), (number, size)
    else:
        slots_A, slots = (jnp.cumsum(count_E) - count_E)[chosen_A] + rank_A, chosen_A.size
        product, shape = lambda x, kernels: _ragged(x, kernels, count_E), (slots,)
    back_S = _inverse(slots_A, slots)
    x_AD = jnp.repeat(x_BLD.reshape(-1, x_BLD.shape[-1]), k, axis=0)
    x = _moved(x_AD, back_S, slots_A).reshape(*shape, -1)
    y_SD = feed_forward(x, product).reshape(slots, -1)
    return _moved(y_SD, slots_A, back_S).reshape(*chosen_BLk.shape, -1)


def _of_members(product: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """The product, to which all vmaps around it are one: JAX has no second one of `ragged_dot`."""

    def of_members(*arrays: Array) -> PyTree:
        if len(arrays[0]) > 1:
            return jax.vmap(product)(*arrays)
        return jax.tree.map(lambda out: out[None], product(*(array[0] for array in arrays)))

    joined = rows_of_members(of_members)

    def of_one(*arrays: Array) -> PyTree:
        return jax.tree.map(lambda out: out[0], joined(*(array[None] for array in arrays)))

    return of_one


@jax.custom_vjp
def _ragged(x_SD: Array, kernels_EDF: Array, count_E: Array) -> Array:
    """Rows sorted by expert times the kernels of their experts: [S F]."""
    return _of_members(lax.ragged_dot)(x_SD, kernels_EDF, count_E)


def _ragged_slopes(
    x_SD: Array, kernels_EDF: Array, count_E: Array, dy_SF: Array
) -> tuple[Array, Array]:
    of_rows = jax.linear_transpose(lambda x: lax.ragged_dot(x, kernels_EDF, count_E), x_SD)
    of_kernels = jax.linear_transpose(lambda k: lax.ragged_dot(x_SD, k, count_E), kernels_EDF)
    return *of_rows(dy_SF), *of_kernels(dy_SF)


_ragged.defvjp(
    lambda *arrays: (_ragged(*arrays), arrays),
    lambda arrays, dy_SF: (*_of_members(_ragged_slopes)(*arrays, dy_SF), None),
)


def _block_size(choices: int, experts: int) -> int:
    """Rows of a block. The last block of each expert is half empty on average, so blocks are small
    beside the choices of an expert.
    """
    return min(128, max(8, 2 ** math.floor(math.log2(max(choices // (4 * experts), 1)))))


def _within_capacity(
    feed_forward: FeedForwards,
    x_BLD: Array,
    chosen_BLk: Array,
    real_BL: Array | None,
    mixture: Mixture,
) -> Array:
    """The output of each choice [B L k D], 0 where its expert was full: earlier tokens of a row
    come first.
    """
    choices = chosen_BLk.shape[1] * mixture.chosen
    assert mixture.capacity_factor is not None
    capacity = min(
        chosen_BLk.shape[1], math.ceil(mixture.capacity_factor * choices / mixture.experts)
    )
    slots = mixture.experts * capacity

    def places(chosen_Lk: Array, real_L: Array | None) -> tuple[Array, Array]:
        chosen_A = chosen_Lk.reshape(-1)
        real_A = None if real_L is None else jnp.repeat(real_L, mixture.chosen)
        rank_A, _ = _rank(chosen_A, real_A, mixture.experts)
        taken_A = (rank_A >= 0) & (rank_A < capacity)
        slots_A = jnp.where(taken_A, chosen_A * capacity + rank_A, slots)
        return slots_A, _inverse(slots_A, slots)

    slots_BA, back_BS = jax.vmap(places)(chosen_BLk, real_BL)
    x_BSD = jax.vmap(_moved)(jnp.repeat(x_BLD, mixture.chosen, axis=1), back_BS, slots_BA)
    x_BECD = x_BSD.reshape(len(x_BSD), mixture.experts, capacity, -1)
    y_BECD = feed_forward(to_experts(x_BECD), partial(jnp.einsum, "becd,edf->becf"))
    y_BSD = from_experts(y_BECD).reshape(x_BSD.shape)
    return jax.vmap(_moved)(y_BSD, slots_BA, back_BS).reshape(*chosen_BLk.shape, -1)


def _rank(chosen_A: Array, real_A: Array | None, experts: int) -> tuple[Array, Array]:
    """(i32[A], the number of earlier choices of the same expert, -1 for padding; i32[E], how often
    each expert was chosen).
    """
    is_AE = chosen_A[:, None] == jnp.arange(experts)
    if real_A is not None:
        is_AE &= real_A[:, None]
    ones_AE = is_AE.astype(jnp.int32)
    return (jnp.cumsum(ones_AE, 0) * ones_AE).sum(1) - 1, ones_AE.sum(0)


def _inverse(slots_A: Array, slots: int) -> Array:
    """i32[S], the choice that is in each slot; A (beyond the last choice) for an empty slot."""
    choices = slots_A.size
    return (
        jnp.full(slots, choices, jnp.int32)
        .at[slots_A]
        .set(jnp.arange(choices, dtype=jnp.int32), mode="drop")
    )


@jax.custom_vjp
def _moved(x_ID: Array, source_J: Array, target_I: Array) -> Array:
    """[J D]: x[source], with 0 where source is beyond the last row; target is the inverse of
    source.

    Each row moves to one place at most, so the gradient is read by target in one pass; JAX's own
    gradient would scatter and add row by row.
    """
    return x_ID.at[source_J].get(mode="fill", fill_value=0)


def _moved_forward(x_ID: Array, source_J: Array, target_I: Array) -> tuple[Array, Array]:
    return _moved(x_ID, source_J, target_I), target_I


_moved.defvjp(
    _moved_forward,
    lambda target_I, dy_JD: (dy_JD.at[target_I].get(mode="fill", fill_value=0), None, None),
)


@jax.custom_vjp
def _block_products(x_NbD: Array, kernels_EDF: Array, owner: Array) -> Array:
    """Block n of x times the kernel of expert owner[n]: [N b F].

    Without a kernel for ragged groups, XLA multiplies every row with every expert's matrix, which
    takes 4 times as long on a CPU.
    """

    def product(carry: None, block: tuple[Array, Array]) -> tuple[None, Array]:
        x_bD, expert = block
        return carry, x_bD @ lax.dynamic_index_in_dim(kernels_EDF, expert, keepdims=False)

    return lax.scan(product, None, (x_NbD, owner))[1]


def _block_products_backward(
    residuals: tuple[Array, Array, Array], dy_NbF: Array
) -> tuple[Array, Array, None]:
    x_NbD, kernels_EDF, owner = residuals

    def products(total_EDF: Array, block: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        x_bD, dy_bF, expert = block
        sum_DF = lax.dot_general(
            x_bD, dy_bF, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32
        )
        sum_DF += lax.dynamic_index_in_dim(total_EDF, expert, keepdims=False)
        total_EDF = lax.dynamic_update_index_in_dim(total_EDF, sum_DF, expert, 0)
        return total_EDF, dy_bF @ lax.dynamic_index_in_dim(kernels_EDF, expert, keepdims=False).T

    dkernels_EDF, dx_NbD = lax.scan(
        products, jnp.zeros(kernels_EDF.shape, jnp.float32), (x_NbD, dy_NbF, owner)
    )
    return dx_NbD, dkernels_EDF.astype(kernels_EDF.dtype), None


_block_products.defvjp(
    lambda x, kernels, owner: (_block_products(x, kernels, owner), (x, kernels, owner)),
    _block_products_backward,
)
