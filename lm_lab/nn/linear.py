"""Every kernel of the project: initialisation, logical axes and roles are given here and nowhere
else.

A kernel is stored in the parameters' dtype and used in the dtype of its input. If the collection
"lora" has variables for a layer (adapters/lora.py makes them), the layer applies them, so that
models need not know of adapters.
"""

from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import meta
from flax.errors import ScopeParamShapeError
from flax.linen import spmd
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name

from lm_lab.nn.dropout import is_kept
from lm_lab.nn.roles import Parameter, Part, Role
from lm_lab.nn.splits import is_split, size_of
from lm_lab.types import UserError

KernelRole = Literal["expand", "contract", "readout", "route"]

# The logical axes of a kernel by its role; engine/sharding.py maps them onto the mesh.
AXES: dict[KernelRole, tuple[str, str]] = {
    "expand": ("width", "inner"),  # residual stream -> heads or feed-forward
    "contract": ("inner", "width"),  # heads or feed-forward -> residual stream
    "readout": ("width", "vocab"),
    "route": ("width", "expert"),
}
PARTS: dict[KernelRole, Part] = {"readout": "head", "route": "feed_forward"}

WIDEST = 2**20  # features of a stream
# The name of a matrix product for remat policies, which cannot see inside a custom gradient.
PRODUCT = "product"


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def matmul(x: Array, kernel: Array, flattens: bool = True) -> Array:
    """x[... in] @ kernel[in, out], whose gradient by the kernel is `kernel_gradient`."""
    del flattens
    return x @ kernel


def kernel_gradient(x: Array, dy: Array, flattens: bool = True) -> Array:
    """x^T dy [in, out] of x [... in] and dy [... out], summed over all tokens.

    JAX writes (dy^T x)^T, for which XLA on a CPU computes dy a second time, transposed, with
    everything that is fused into dy, such as GELU's derivative; and it copies an x that has more
    than one axis of tokens (docs/speed.md), unless they are flattened to one. On a GPU cuBLAS takes
    any form as it is.
    """
    # Where the mesh splits rows or positions, tokens on one axis could not keep that split.
    if flattens and size_of("batch") == 1 and not is_split("length"):
        x, dy = (array.reshape(-1, array.shape[-1]) for array in (x, dy))
    tokens = tuple(range(x.ndim - 1))
    return lax.dot_general(x, dy, ((tokens, tokens), ((), ())))


def _matmul_backward(
    flattens: bool, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    return dy @ kernel.T, kernel_gradient(x, dy, flattens)


# The product itself, not `matmul`: remat policies see no product inside a function with a custom
# derivative.
matmul.defvjp(lambda x, kernel, _: (x @ kernel, (x, kernel)), _matmul_backward)


def uniform(limit: float) -> Any:
    """An initializer that draws from U(-limit, limit)."""
    return partial(jax.random.uniform, minval=-limit, maxval=limit)


def _axes(role: KernelRole) -> tuple[str, str]:
    """The logical axes of a kernel."""
    if role not in AXES:
        raise UserError(f"{role!r} is no role of a kernel; give one of {', '.join(AXES)}")
    return AXES[role]


def _kernel_init(scale: float, limit: float | None) -> Any:
    if limit is not None:
        return uniform(limit)
    return nn.initializers.variance_scaling(scale**2, "fan_in", "normal")


def _bias_init(limit: float | None) -> Any:
    return nn.initializers.zeros if limit is None else uniform(limit)


class Linear(nn.Module):
    """x @ kernel (+ bias): [... in] -> [... features]; kernel f32[in, features] drawn from N(0,
    scale^2 / in), or with `limit` from U(-limit, limit), and the bias as well.
    """

    features: int
    role: KernelRole
    scale: float = 1.0
    bias: bool = False
    part: Part = (
        "other"  # the part of the model; unused for a readout and a router, whose role says it
    )
    limit: float | None = None
    rows: int = 0  # the axis of x that rows of a batch lie along

    @nn.compact
    def __call__(self, x: Array) -> Array:
        init = _kernel_init(self.scale, self.limit)
        part = PARTS.get(self.role, self.part)
        shape = (x.shape[-1], self.features)
        kernel = _param(self, "kernel", Role("kernel", part), init, _axes(self.role), shape)
        y = self._adapted(x, kernel, checkpoint_name(self._times(x, kernel), PRODUCT))
        if self.bias:
            first, axis = _bias_init(self.limit), _axes(self.role)[1]
            y += bias_param(self, self.features, axis, part, init=first).astype(x.dtype)
        return y

    def _times(self, x: Array, kernel: Array) -> Array:
        # An x whose rows are not its first axis is a transpose, which XLA 0.10 on a CPU, by its
        # FAST_COMPILE preset, leaves out before a reshape.
        return matmul(x, kernel.astype(x.dtype), self.rows == 0)

    def _adapted(self, x: Array, kernel: Array, y: Array) -> Array:
        """y, which is x @ kernel, plus the term drop(x) @ down @ up of each low-rank adapter
        (2106.09685).

        An adapter's `keep` is 1 - the dropout rate, used if there is a dropout key.
        """
        adapters = self.variables.get("lora", {})
        if not adapters:
            return y
        total = y
        for _, adapter in sorted(adapters.items()):
            dropped = _dropped(self, x, adapter.get("keep"), self.rows)
            low = self._times(dropped, adapter["down_kernel"])
            delta = low @ adapter["up_kernel"].astype(x.dtype)
            if "magnitude" in adapter:
                gain = _gain(kernel, adapter).astype(x.dtype)
                delta = (gain - 1) * y + gain * delta
            total += adapter["weight"].astype(x.dtype) * delta if "weight" in adapter else delta
        return checkpoint_name(total, PRODUCT)


class Kernel(nn.Module):
    """A kernel [in, features] without its product, for a scan that multiplies with it at every
    step. Drawn as a Linear's.
    """

    features: int
    role: KernelRole
    scale: float = 1.0
    part: Part = "other"
    limit: float | None = None

    @nn.compact
    def __call__(self, inputs: int, dtype: Any) -> Array:
        init = _kernel_init(self.scale, self.limit)
        role, shape = Role("kernel", self.part), (inputs, self.features)
        kernel = _param(self, "kernel", role, init, _axes(self.role), shape)
        return _adapted_kernel(self, kernel).astype(dtype)


class BlockLinear(nn.Module):
    """A product with a block-diagonal matrix, plus a bias: [... D] -> [... D], with a kernel
    f32[blocks, D/blocks, D/blocks].

    Drawn as a Linear's; D is a feature axis of its own, not the stream.
    """

    blocks: int
    part: Part = "other"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        init = nn.initializers.variance_scaling(1.0, "fan_in", "normal", batch_axis=0)
        inner = x.shape[-1] // self.blocks
        role, shape = Role("kernel", self.part), (self.blocks, inner, inner)
        kernel = _param(self, "kernel", role, init, ("inner", None, None), shape)
        kernel = _adapted_kernel(self, kernel).astype(x.dtype)
        y = jnp.einsum("...hk,hkj->...hj", x.reshape(*x.shape[:-1], self.blocks, inner), kernel)
        y = checkpoint_name(y, PRODUCT).reshape(x.shape)
        return y + bias_param(self, x.shape[-1], "inner", self.part).astype(x.dtype)


class Kernels(nn.Module):
    """The kernels f32[count, in, out] of `count` experts, each drawn as that of a Linear."""

    count: int
    shape: tuple[int, int]
    role: KernelRole
    scale: float = 1.0

    @nn.compact
    def __call__(self, dtype: Any) -> Array:
        init = nn.initializers.variance_scaling(self.scale**2, "fan_in", "normal", batch_axis=0)
        role, axes = Role("expert_kernels", "feed_forward"), ("expert", *_axes(self.role))
        kernel = _param(self, "kernel", role, init, axes, (self.count, *self.shape))
        return _adapted_kernel(self, kernel).astype(dtype)


def _adapted_kernel(module: nn.Module, kernel: Array) -> Array:
    """The adapted kernel itself, without dropout, for a kernel [... in, out] that is in several
    products.
    """
    total = kernel
    for _, adapter in sorted(module.variables.get("lora", {}).items()):
        delta = (adapter["down_kernel"] @ adapter["up_kernel"]).astype(kernel.dtype)
        if "magnitude" in adapter:
            delta = (
                _gain(kernel, adapter)[..., None, :].astype(kernel.dtype) * (kernel + delta)
                - kernel
            )
        weight = adapter.get("weight")
        total += delta if weight is None else weight[..., None, None].astype(kernel.dtype) * delta
    return total


def _gain(kernel: Array, adapter: Any) -> Array:
    """The factors f32[... out] by which DoRA (2402.09353) scales the columns of the adapted kernel
    to the lengths `magnitude`.

    The gradient treats the lengths of the columns as constants, as in the paper.
    """
    down, up = (adapter[name].astype(jnp.float32) for name in ("down_kernel", "up_kernel"))
    adapted = kernel.astype(jnp.float32) + lax.stop_gradient(down @ up)
    return adapter["magnitude"] / lax.stop_gradient(jnp.sqrt((adapted * adapted).sum(-2)))


def _dropped(module: nn.Module, x: Array, keep: Array | None, rows: int) -> Array:
    if keep is None or not module.has_rng("dropout"):
        return x
    kept = is_kept(module.make_rng("dropout"), keep.astype(jnp.float32), x.shape, rows)
    return jnp.where(kept, x / keep.astype(x.dtype), 0)


@jax.custom_vjp
def _lookup(table: Array, ids: Array) -> Array:
    """table[ids], whose gradient is summed in float32 whatever the dtype: a frequent token has
    thousands of terms, and a bfloat16 sum stops growing after some hundreds.
    """
    return table[ids]


def _lookup_backward(residuals: tuple[Array, Array], dy: Array) -> tuple[Array, None]:
    table, ids = residuals
    return jnp.zeros(table.shape, jnp.float32).at[ids].add(dy.astype(jnp.float32)).astype(
        table.dtype
    ), None


_lookup.defvjp(lambda table, ids: (table[ids], (table, ids)), _lookup_backward)


class Embedding(nn.Module):
    """A table f32[rows, features] drawn from N(0, scale^2 / features), or with `limit` from
    U(-limit, limit), read by row or, tied, as the head.
    """

    rows: int
    features: int
    scale: float = 1.0
    part: Part = "embedding"
    limit: float | None = None

    def setup(self) -> None:
        init = nn.initializers.normal(self.scale * self.features**-0.5)
        init = init if self.limit is None else uniform(self.limit)
        role, shape = Role("embedding", self.part), (self.rows, self.features)
        self.embedding = _param(self, "embedding", role, init, ("vocab", "width"), shape)

    def __call__(self, ids: Array) -> Array:
        """Rows [... D] of ids i32[...]."""
        # The width of the table is gathered before rows are read: parts of their features would
        # have to be moved between all devices, and XLA copies the whole array to each for that.
        table = spmd.with_logical_constraint(self.embedding, ("vocab", None))
        return _lookup(table, ids)

    def attend(self, x: Array) -> Array:
        """Logits [... rows] of features [... D]."""
        return x @ self.embedding.T.astype(x.dtype)


class OutputBias(nn.Module):
    """The bias of a head that is the embedding's transpose: [... V] -> [... V]."""

    features: int
    limit: float | None = None  # as a Linear's

    @nn.compact
    def __call__(self, logits: Array) -> Array:
        bias = bias_param(self, self.features, "vocab", "head", init=_bias_init(self.limit))
        return logits + bias.astype(logits.dtype)


def scale_param(module: nn.Module, features: int) -> Array:
    """The learned scale f32[features] of a norm."""
    role = Role("vector", "norm")
    return _param(module, "scale", role, nn.initializers.ones, ("width",), (features,))


def bias_param(
    module: nn.Module,
    features: int,
    axis: str,
    part: Part,
    name: str = "bias",
    init: Any = nn.initializers.zeros,
) -> Array:
    """The learned bias f32[features] of a product, a norm or a head, 0 at first."""
    return _param(module, name, Role("vector", part), init, (axis,), (features,))


def inner_param(module: nn.Module, name: str, init: Any, features: int, *rest: int) -> Array:
    """A parameter f32[features, ...] of a recurrent layer that acts feature by feature, between the
    products.
    """
    role = Role("vector", "recurrent")
    return _param(module, name, role, init, ("inner", *(None,) * len(rest)), (features, *rest))


def constrain(x_BLD: Array) -> Array:
    """Pins the residual stream to the batch's shards, so that XLA gathers sharded parameters rather
    than activations.
    """
    return spmd.with_logical_constraint(x_BLD, ("batch", "length", None))


def gather(kernel: Array) -> Array:
    """The kernel, gathered whole on every device once, before a scan that uses it at every step."""
    return spmd.with_logical_constraint(kernel, (None,) * kernel.ndim)


def _param(
    module: nn.Module,
    name: str,
    role: Role,
    init: Any,
    axes: tuple[str | None, ...],
    shape: tuple[int, ...],
) -> Array:
    def boxed(*args: Any) -> Parameter:
        return Parameter(init(*args), axes, role=role)

    if not module.has_variable("params", name):
        param: Any = module.param(name, boxed, shape, jnp.float32)
        return param
    # `module.param` would trace the initialisation at every use, for nothing but its shape.
    stored = meta.unbox(module.get_variable("params", name))
    if stored.shape != shape:
        raise ScopeParamShapeError(name, "/".join(module.path), stored.shape, shape)
    return stored
