import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.nn import scans
from lm_lab.nn.scans import Tokens, linear_scan, selective_scan
from tests.tiny import ROUNDING, distance

ROWS, FEATURES, STATE = 2, 6, 3
KERNELS = ("sequential", "associative")
LENGTHS = (
    1,
    16,
    37,
)  # one token; a chunk of the sequential kernel; chunks, the last of them filled up


def drawn(*shape, seed):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def linear_case(length):
    a = jax.nn.sigmoid(drawn(ROWS, length, FEATURES, seed=0))
    return (
        a.at[:, length // 2].set(0),
        drawn(ROWS, length, FEATURES, seed=1),
        drawn(ROWS, FEATURES, seed=2),
    )


def linear_numpy(a, u, start):
    a, u, h = (np.asarray(x, np.float64) for x in (a, u, start))
    states = []
    for t in range(a.shape[1]):
        h = a[:, t] * h + u[:, t]
        states.append(h)
    return np.stack(states, 1)


def selective_case(length):
    keep = jnp.ones((ROWS, length)).at[0, length // 2].set(0)
    tokens = Tokens(
        drawn(ROWS, length, FEATURES, seed=0),
        jax.nn.softplus(drawn(ROWS, length, FEATURES, seed=1)),
        drawn(ROWS, length, STATE, seed=2),
        drawn(ROWS, length, STATE, seed=3),
        keep,
    )
    return -jnp.exp(drawn(STATE, FEATURES, seed=4)), drawn(ROWS, STATE, FEATURES, seed=5), tokens


def selective_numpy(rates, start, tokens):
    """The formulas of 2312.00752, (2a) and (2b) with the step sizes of section 3.3, in float64."""
    rates, h = np.asarray(rates, np.float64), np.asarray(start, np.float64)
    x, step, write, read, keep = (np.asarray(part, np.float64) for part in tokens)
    outputs = []
    for t in range(x.shape[1]):
        decay = np.exp(np.einsum("bd,sd->bsd", step[:, t], rates)) * keep[:, t, None, None]
        h = decay * h + np.einsum("bd,bd,bs->bsd", step[:, t], x[:, t], write[:, t])
        outputs.append(np.einsum("bs,bsd->bd", read[:, t], h))
    return np.stack(outputs, 1), h


def loop(rates, start, tokens):
    """The same formulas in plain JAX, differentiated by JAX."""
    h, outputs = start, []
    for t in range(tokens.x.shape[1]):
        x, step, write, read, keep = (part[:, t] for part in tokens)
        decay = keep[:, None, None] * jnp.exp(step[:, None] * rates)
        h = decay * h + (step * x)[:, None] * write[..., None]
        outputs.append((h * read[..., None]).sum(1))
    return jnp.stack(outputs, 1), h


def weighted(function):
    """A number that depends on all that the function returns, each entry in its own way."""
    return lambda *args: sum(
        jnp.sin(part + jnp.arange(part.size).reshape(part.shape)).sum() for part in function(*args)
    )


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("length", LENGTHS)
def test_a_linear_scan_is_its_formula(kernel, length):
    case = linear_case(length)
    assert (
        distance(jax.jit(linear_scan, static_argnums=0)(kernel, *case), linear_numpy(*case))
        < ROUNDING
    )


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("length", LENGTHS)
def test_a_selective_scan_is_its_formula(kernel, length, monkeypatch):
    monkeypatch.setitem(scans.CHUNK, "associative", 16)
    case = selective_case(length)
    assert (
        distance(jax.jit(selective_scan, static_argnums=0)(kernel, *case), selective_numpy(*case))
        < ROUNDING
    )


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_derivatives_are_those_that_jax_derives(kernel, monkeypatch):
    monkeypatch.setitem(scans.CHUNK, "sequential", 4)
    monkeypatch.setitem(scans.CHUNK, "associative", 4)
    rates, start, tokens = selective_case(10)

    def of(function):
        def scalar(rates, start, told):
            return weighted(function)(rates, start, Tokens._make([*told, tokens.keep]))

        return jax.jit(jax.grad(scalar, (0, 1, 2)))(rates, start, tokens[:4])

    assert distance(of(lambda *case: selective_scan(kernel, *case)), of(loop)) < ROUNDING

    def scanned(a, u, start):
        return (linear_scan(kernel, a, u, start),)

    def unrolled(a, u, start):
        states = [start]
        for t in range(a.shape[1]):
            states.append(a[:, t] * states[-1] + u[:, t])
        return (jnp.stack(states[1:], 1),)

    case = linear_case(10)
    one, other = (jax.jit(jax.grad(weighted(f), (0, 1, 2)))(*case) for f in (scanned, unrolled))
    assert distance(one, other) < ROUNDING


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_scan_goes_on_from_the_state_it_ended_in(kernel):
    rates, start, tokens = selective_case(20)
    whole, end = selective_scan(kernel, rates, start, tokens)
    first, middle = selective_scan(
        kernel, rates, start, Tokens._make(part[:, :7] for part in tokens)
    )
    rest, last = selective_scan(kernel, rates, middle, Tokens._make(part[:, 7:] for part in tokens))
    assert distance((jnp.concatenate([first, rest], 1), last), (whole, end)) < ROUNDING


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_states_of_a_long_sequence_are_never_all_held(kernel):
    length, width, state = 4096, 32, 32
    shapes = [
        jax.ShapeDtypeStruct((1, length, n), jnp.float32) for n in (width, width, state, state)
    ]
    tokens = Tokens._make([*shapes, jnp.ones((1, length))])
    rates, start = jnp.ones((state, width)), jnp.ones((1, state, width))

    def loss(tokens):
        return selective_scan(kernel, rates, start, tokens)[0].sum()

    planned = jax.jit(jax.grad(loss)).lower(tokens).compile().memory_analysis()
    assert planned is not None
    assert planned.temp_size_in_bytes < 4 * length * state * width / 2
