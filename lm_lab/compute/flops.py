"""Counts the FLOPs of a function from its jaxpr, on any backend, without allocating an array.

The total counts two FLOPs for each multiply-add of a matrix product or a convolution
(matmul_flops.py), times the trip counts of the loops around it. Arithmetic on single elements is
counted apart, as `elementwise`: it is all that the recurrence of a linear RNN or state-space model
does (an `associative_scan` is unrolled into it). A `shard_map` counts the work of all its shards,
repeated work included; a `cond` counts its most expensive branch.

A function that would be counted wrongly is refused. (XLA's own cost analysis is no help: it counts
the body of a loop once.)
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, JaxprEqn, Var, jaxprs_in_params

from lm_lab.compute import matmul_flops
from lm_lab.compute.loops import trip_count
from lm_lab.nn.roles import part_of
from lm_lab.types import UserError


class Uncountable(UserError):
    """The FLOPs cannot be read from the jaxpr; the message names the operation and the remedy."""


class Flops(NamedTuple):
    """The cost of one call of a function."""

    total: int  # of matrix products and convolutions
    by_group: dict[str, int]  # the total by the groups of parameters.py, read from the name stack
    elementwise: int  # arithmetic on single floating-point elements, one each, not in the total


def count(function: Callable[..., Any], *abstract_args: Any) -> Flops:
    """Counts the FLOPs of one call of `function`; nothing is allocated.

    Arguments are trees of ShapeDtypeStructs or arrays. Backward passes are counted as written, less
    what no result needs. Build the step without remat: recomputation is no part of a model's cost.
    Raises Uncountable for a function that recomputes, for a `while` of unknown length around a
    matrix product, and for kernels and solvers that hide their operations from the jaxpr.
    """
    tally = _tally(jax.make_jaxpr(function)(*abstract_args).jaxpr, "")
    elementwise = tally.pop(_ELEMENTWISE, 0)
    return Flops(tally.total(), dict(tally), elementwise)


Tally = Counter[str]
_ELEMENTWISE = "elementwise"

_ELEMENTS = {
    "add", "add_any", "sub", "mul", "div", "rem", "max", "min", "neg", "abs", "sign", "square",
    "sqrt", "rsqrt", "cbrt", "pow", "integer_pow", "clamp", "select_n", "exp", "exp2", "log",
    "log1p", "expm1", "sin", "cos", "tan", "tanh", "logistic", "erf", "erfc", "erf_inv",
    "cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp",
}  # fmt: skip
_REDUCTIONS = {"reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin"}
_CALLS = {
    "jit", "pjit", "closed_call", "core_call", "call", "custom_jvp_call", "custom_vjp_call",
    "custom_vjp_call_jaxpr", "custom_vmap_call", "custom_partitioning", "xla_metadata_call",
}  # fmt: skip
_KERNELS = re.compile(
    "pallas_call|ffi_call|custom_call|cudnn|dot_product_attention|scaled_(dot|matmul)|mosaic|triton|rnn_(fwd|bwd)|call_tf|call_exported|pure_callback|custom_fusion"
)
_SOLVERS = re.compile(
    r"cholesky|eigh?|lu|qr|geqrf|householder_product|svd|schur|hessenberg|tridiagonal|fft|\w*_solve"
)


def _tally(jaxpr: Jaxpr, stack: str) -> Tally:
    """Counts the equations that the results depend on.

    Others are skipped, because a custom_vjp also writes down gradients that nobody uses.
    """
    tally, needed = Tally(), _variables(jaxpr.outvars)
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or not needed.isdisjoint(eqn.outvars):
            needed |= _variables(eqn.invars)
            tally.update(_equation(eqn, f"{stack}/{eqn.source_info.name_stack}"))
    return tally


def _variables(atoms: Iterable[Any]) -> set[Var]:
    return {atom for atom in atoms if isinstance(atom, Var)}


def _equation(eqn: JaxprEqn, stack: str) -> Tally:
    name = eqn.primitive.name
    if name in matmul_flops.RULES:
        return Tally({part_of(re.findall(r"\w+", stack)): matmul_flops.RULES[name](eqn)})
    if name in _ELEMENTS:
        return _elements(eqn.outvars[0].aval)
    if name in _REDUCTIONS:
        return _elements(eqn.invars[0].aval)
    if name in _RULES:
        return _RULES[name](eqn, stack)
    return _refuse_products(eqn, stack)


def _elements(aval: Any) -> Tally:
    return (
        Tally({_ELEMENTWISE: prod(aval.shape)})
        if jnp.issubdtype(aval.dtype, jnp.inexact)
        else Tally()
    )


def _times(times: int, tally: Tally) -> Tally:
    return Tally({name: times * number for name, number in tally.items()})


def _has_products(tally: Tally) -> bool:
    return any(tally[name] for name in tally if name != _ELEMENTWISE)


def _call(eqn: JaxprEqn, stack: str) -> Tally:
    (body,) = jaxprs_in_params(eqn.params)
    return _tally(body, stack)


def _scan(eqn: JaxprEqn, stack: str) -> Tally:
    return _times(eqn.params["length"], _call(eqn, stack))


def _while(eqn: JaxprEqn, stack: str) -> Tally:
    test, body = (_tally(eqn.params[name].jaxpr, stack) for name in ("cond_jaxpr", "body_jaxpr"))
    trips = trip_count(eqn)
    if trips is not None:
        return _times(trips, body) + _times(trips + 1, test)
    if _has_products(test + body):
        raise Uncountable(
            f"a while loop of unknown length multiplies matrices (at {_where(stack)}), so its "
            "FLOPs are unknown; write it as lax.scan or as lax.fori_loop with constant bounds"
        )
    return (
        test + body
    )  # one pass of its elementwise arithmetic: such loops draw random numbers, and are short


def _cond(eqn: JaxprEqn, stack: str) -> Tally:
    tallies = [_tally(branch.jaxpr, stack) for branch in eqn.params["branches"]]
    return max(
        tallies, key=lambda tally: (tally.total() - tally[_ELEMENTWISE], tally[_ELEMENTWISE])
    )


def _remat(eqn: JaxprEqn, stack: str) -> Tally:
    tally = _call(eqn, stack)
    if eqn.params["differentiated"] and _has_products(tally):
        raise Uncountable(
            "the function computes products again in its backward pass (remat, at "
            f"{_where(stack)}); count it with remat off: recomputation is no part of a model's cost"
        )
    return tally


def _shard_map(eqn: JaxprEqn, stack: str) -> Tally:
    shards = prod(eqn.params["mesh"].shape[axis] for axis in eqn.params["newly_manual_axes"])
    return _times(shards, _call(eqn, stack))


_RULES: dict[str, Callable[[JaxprEqn, str], Tally]] = {
    "scan": _scan,
    "while": _while,
    "cond": _cond,
    "remat2": _remat,
    "checkpoint": _remat,
    "shard_map": _shard_map,
    **dict.fromkeys(_CALLS, _call),
}


def _refuse_products(eqn: JaxprEqn, stack: str) -> Tally:
    """An empty tally for an equation that moves data; raises Uncountable if it hides products."""
    name = eqn.primitive.name
    if _KERNELS.search(name):
        raise Uncountable(
            f"{name} (at {_where(stack)}) hides its FLOPs; count with the plain reference kernel "
            "instead"
        )
    if _SOLVERS.fullmatch(name) or any(
        _has_products(_tally(body, stack)) for body in jaxprs_in_params(eqn.params)
    ):
        raise Uncountable(
            f"{name} (at {_where(stack)}) has no counting rule; add one to lm_lab/compute/flops.py"
        )
    return Tally()


def _where(stack: str) -> str:
    return stack.strip("/") or "the top level"
