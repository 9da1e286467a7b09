"""Linear recurrences over a sequence: every step multiplies the state and adds to it. Each has a
custom derivative.

A kernel goes token by token ("sequential"), or combines neighbours in a tree ("associative"): log L
rounds, far more arithmetic, for devices with arithmetic to spare (docs/speed.md). The two differ by
rounding. All is float32.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

Kernel = Literal["auto", "sequential", "associative"]
CHUNK = {"sequential": 16, "associative": 64}  # tokens whose states [S D] are in memory at once


def resolve(kernel: Kernel) -> Kernel:
    """What "auto" stands for on this machine."""
    return (
        ("sequential" if jax.default_backend() == "cpu" else "associative")
        if kernel == "auto"
        else kernel
    )


def _associative(a: Array, u: Array, *, reverse: bool = False) -> Array:
    """h of h[t] = a[t] h[t - 1] + u[t] along the first axis, from 0; in reverse, from the end."""

    def join(left: tuple[Array, Array], right: tuple[Array, Array]) -> tuple[Array, Array]:
        return left[0] * right[0], right[0] * left[1] + right[1]

    return lax.associative_scan(join, (a, u), reverse=reverse)[1]


def _linear(
    kernel: Kernel, a_LBD: Array, u_LBD: Array, start_BD: Array, *, reverse: bool = False
) -> Array:
    if resolve(kernel) == "associative":
        first = -1 if reverse else 0
        return _associative(a_LBD, u_LBD.at[first].add(a_LBD[first] * start_BD), reverse=reverse)

    def step(h_BD: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        h_BD = inputs[0] * h_BD + inputs[1]
        return h_BD, h_BD

    return lax.scan(step, start_BD, (a_LBD, u_LBD), reverse=reverse)[1]


def linear_scan(kernel: Kernel, a_BLD: Array, u_BLD: Array, start_BD: Array) -> Array:
    """States f32[B L D] of h[t] = a[t] h[t - 1] + u[t], where h[-1] is the start."""
    states: Any = _linear_scan(kernel, a_BLD, u_BLD, start_BD)
    return states


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _linear_scan(kernel: Kernel, a_BLD: Array, u_BLD: Array, start_BD: Array) -> Array:
    return _linear(kernel, a_BLD.swapaxes(0, 1), u_BLD.swapaxes(0, 1), start_BD).swapaxes(0, 1)


def _linear_forward(
    kernel: Kernel, a_BLD: Array, u_BLD: Array, start_BD: Array
) -> tuple[Array, tuple[Array, ...]]:
    h_BLD = linear_scan(kernel, a_BLD, u_BLD, start_BD)
    return h_BLD, (a_BLD, h_BLD, start_BD)


def _linear_backward(
    kernel: Kernel, residuals: tuple[Array, ...], dh_BLD: Array
) -> tuple[Array, Array, Array]:
    a_BLD, h_BLD, start_BD = residuals
    next_BLD = jnp.concatenate([a_BLD[:, 1:], jnp.zeros_like(a_BLD[:, :1])], axis=1)
    g_LBD = _linear(
        kernel,
        next_BLD.swapaxes(0, 1),
        dh_BLD.swapaxes(0, 1),
        jnp.zeros_like(start_BD),
        reverse=True,
    )
    g_BLD = g_LBD.swapaxes(0, 1)
    before_BLD = jnp.concatenate([start_BD[:, None], h_BLD[:, :-1]], axis=1)
    return g_BLD * before_BLD, g_BLD, a_BLD[:, 0] * g_BLD[:, 0]


_linear_scan.defvjp(_linear_forward, _linear_backward)


class Tokens(NamedTuple):
    """The inputs of a selective scan for every token; inside the scan with axes [chunks, tokens, B,
    ...].
    """

    x: Array  # f32[B L D]
    step: Array  # f32[B L D], Mamba's delta: 0 leaves the state as it is
    write: Array  # f32[B L S], Mamba's B
    read: Array  # f32[B L S], Mamba's C
    keep: Array  # f32[B L], 0 where the state begins anew, else 1


def _decay(rates_SD: Array, tokens: Tokens) -> Array:
    return tokens.keep[..., None, None] * jnp.exp(tokens.step[..., None, :] * rates_SD)


def _written(tokens: Tokens) -> Array:
    return (tokens.step * tokens.x)[..., None, :] * tokens.write[..., None]


def _chunked(kernel: Kernel, tokens: Tokens) -> Tokens:
    """[B L ...] as [chunks, tokens, B, ...], padded with tokens that leave the state unchanged."""
    length = tokens.x.shape[1]
    size = min(CHUNK[resolve(kernel)], length)
    fill = -length % size

    def split(x: Array, value: float) -> Array:
        x = jnp.pad(
            x, [(0, 0), (0, fill), *[(0, 0)] * (x.ndim - 2)], constant_values=value
        ).swapaxes(0, 1)
        return x.reshape(-1, size, *x.shape[1:])

    return Tokens._make(
        split(x, 1.0 if name == "keep" else 0.0) for name, x in tokens._asdict().items()
    )


def _unchunked(x: Array, length: int) -> Array:
    """[chunks, tokens, B, ...] as [B L ...], without the padding."""
    return x.reshape(-1, *x.shape[2:])[:length].swapaxes(0, 1)


def _forward(
    kernel: Kernel, rates_SD: Array, start_BSD: Array, tokens: Tokens
) -> tuple[Array, Array, Array]:
    """(y [B L D], the last state, the state before each chunk)."""

    def step(h_BSD: Array, token: Tokens) -> tuple[Array, Array]:
        h_BSD = _decay(rates_SD, token) * h_BSD + _written(token)
        return h_BSD, (h_BSD * token.read[..., None]).sum(-2)

    def chunk(h_BSD: Array, chunk_tokens: Tokens) -> tuple[Array, tuple[Array, Array]]:
        if resolve(kernel) == "associative":
            h_QBSD = _tree_states(rates_SD, h_BSD, chunk_tokens)
            return h_QBSD[-1], (h_BSD, (h_QBSD * chunk_tokens.read[..., None]).sum(-2))
        end_BSD, y = lax.scan(step, h_BSD, chunk_tokens)
        return end_BSD, (h_BSD, y)

    end_BSD, (starts, y) = lax.scan(chunk, start_BSD, _chunked(kernel, tokens))
    return _unchunked(y, tokens.x.shape[1]), end_BSD, starts


def _tree_states(rates_SD: Array, start_BSD: Array, tokens: Tokens) -> Array:
    """The states [Q B S D] after each token of a chunk."""
    a, u = _decay(rates_SD, tokens), _written(tokens)
    return _associative(a, u.at[0].add(a[0] * start_BSD))


def _derivatives(
    rates_SD: Array, tokens: Tokens, before: Array, g: Array
) -> tuple[Array, Array, tuple[Array, ...]]:
    """(derivatives by the states before tokens [... B], by the rates, by the tokens), of the
    derivatives `g` by the states after them.
    """
    dbefore = _decay(rates_SD, tokens) * g
    by_exponent = dbefore * before
    by_written = (g * tokens.write[..., None]).sum(-2)
    dstep = (by_exponent * rates_SD).sum(-2) + by_written * tokens.x
    dwrite = (g * (tokens.step * tokens.x)[..., None, :]).sum(-1)
    return (
        dbefore,
        by_exponent * tokens.step[..., None, :],
        (by_written * tokens.step, dstep, dwrite),
    )


Carry = tuple[Array, Array]  # derivatives by the state, and by the rates so far: [B S D] both
Chunk = tuple[
    Tokens, Array, Array
]  # (the tokens of a chunk, the derivatives by y, the state before the chunk)


def _tree_backward(rates_SD: Array, carry: Carry, chunk: Chunk) -> tuple[Carry, tuple[Array, ...]]:
    """(the carry at the start of a chunk, the derivatives by its tokens), by a tree."""
    (g_BSD, drates_BSD), (tokens, dy, start_BSD) = carry, chunk
    after, a = _tree_states(rates_SD, start_BSD, tokens), _decay(rates_SD, tokens)
    dafter = (dy[..., None, :] * tokens.read[..., None]).at[-1].add(g_BSD)
    g = _associative(jnp.concatenate([a[1:], jnp.ones_like(a[:1])]), dafter, reverse=True)
    before = jnp.concatenate([start_BSD[None], after[:-1]])
    dbefore, drates, dtokens = _derivatives(rates_SD, tokens, before, g)
    return (dbefore[0], drates_BSD + drates.sum(0)), (*dtokens, (after * dy[..., None, :]).sum(-1))


def _loop_backward(rates_SD: Array, carry: Carry, chunk: Chunk) -> tuple[Carry, tuple[Array, ...]]:
    """As `_tree_backward`, token by token."""
    tokens, dy, start_BSD = chunk

    def replay(h_BSD: Array, token: tuple[Tokens, Array]) -> tuple[Array, tuple[Array, Array]]:
        inputs, dy_token = token
        after = _decay(rates_SD, inputs) * h_BSD + _written(inputs)
        return after, (h_BSD, (after * dy_token[:, None]).sum(-1))

    def step(carry: Carry, token: Chunk) -> tuple[Carry, tuple[Array, ...]]:
        inputs, dy_token, before = token
        g_BSD = carry[0] + dy_token[:, None] * inputs.read[..., None]
        dbefore, drates, dtokens = _derivatives(rates_SD, inputs, before, g_BSD)
        return (dbefore, carry[1] + drates), dtokens

    _, (before, dread) = lax.scan(replay, start_BSD, (tokens, dy))
    carry, dtokens = lax.scan(step, carry, (tokens, dy, before), reverse=True)
    return carry, (*dtokens, dread)


def selective_scan(
    kernel: Kernel, rates_SD: Array, start_BSD: Array, tokens: Tokens
) -> tuple[Array, Array]:
    """Mamba's recurrence (2312.00752): (y f32[B L D], the state f32[B S D] after the last token).

    h[t] = keep exp(step rates) h[t - 1] + step x write, y[t] = read . h[t]. Only the states between
    chunks are kept; the backward pass computes those of one chunk at a time again. `keep` has no
    derivative.
    """
    results: Any = _selective_scan(kernel, rates_SD, start_BSD, tokens)
    return results


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _selective_scan(
    kernel: Kernel, rates_SD: Array, start_BSD: Array, tokens: Tokens
) -> tuple[Array, Array]:
    return _forward(kernel, rates_SD, start_BSD, tokens)[:2]


def _selective_forward(kernel: Kernel, rates_SD: Array, start_BSD: Array, tokens: Tokens):
    y_BLD, end_BSD, starts = _forward(kernel, rates_SD, start_BSD, tokens)
    return (y_BLD, end_BSD), (rates_SD, tokens, starts)


def _selective_backward(
    kernel: Kernel, residuals: tuple[Array, Tokens, Array], dout: tuple[Array, Array]
):
    (rates_SD, tokens, starts), (dy_BLD, dend_BSD) = residuals, dout
    length = tokens.x.shape[1]
    chunks = _chunked(kernel, tokens)
    dy = _chunked(kernel, tokens._replace(x=dy_BLD)).x
    (dstart, drates), dtokens = lax.scan(
        partial(_tree_backward if resolve(kernel) == "associative" else _loop_backward, rates_SD),
        (dend_BSD, jnp.zeros_like(dend_BSD)),
        (chunks, dy, starts),
        reverse=True,
    )
    return (
        drates.sum(0),
        dstart,
        Tokens._make([*(_unchunked(d, length) for d in dtokens), jnp.zeros_like(tokens.keep)]),
    )


_selective_scan.defvjp(_selective_forward, _selective_backward)
