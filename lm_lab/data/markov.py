"""Markov chains over symbols: a language with a known entropy rate.

A chain of order o over k symbols is its table of transitions, f64[k ** o, k]: row c holds the
probabilities of the next symbol after the context c, which is the last o symbols read as a number
in base k, the newest last. After the symbol s the context c becomes (c * k + s) mod k ** o.
"""

import numpy as np

FLOOR = 1e-3
"""The uniform part of every row.

It makes any symbol possible after any context, so that the chain forgets its beginning.
"""


def transitions(symbols: int, order: int, concentration: float, seed: int) -> np.ndarray:
    """A random table f64[symbols ** order, symbols]: Dirichlet rows, mixed with FLOOR.

    The smaller the concentration, the more certain the next symbol.
    """
    rng = np.random.default_rng([seed, 0])
    rows = rng.dirichlet(np.full(symbols, concentration), size=symbols**order)
    return (1 - FLOOR) * rows + FLOOR / symbols


def stationary(table: np.ndarray) -> np.ndarray:
    """The stationary distribution over contexts, f64[contexts], exact, by one linear solve."""
    contexts, symbols = table.shape
    flow = np.zeros((contexts, contexts))
    after = (np.arange(contexts)[:, None] * symbols + np.arange(symbols)) % contexts
    np.add.at(flow, (after, np.arange(contexts)[:, None]), table)
    # The rows of (flow - I) sum to zero, so one of them can be replaced by "the probabilities sum
    # to one".
    system = flow - np.eye(contexts)
    system[-1] = 1.0
    return np.linalg.solve(system, np.eye(contexts)[-1])


def entropy_rate(table: np.ndarray) -> float:
    """Bits per symbol, float64: sum over contexts c of stationary(c) * H(next symbol | c)."""
    logs = np.log2(table, out=np.zeros_like(table), where=table > 0)
    return float(-stationary(table) @ (table * logs).sum(axis=1))


def sample(table: np.ndarray, sequences: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Independent sequences of symbols u8[sequences, length] from the stationary distribution."""
    contexts, symbols = table.shape
    ends = table.cumsum(axis=1)[:, :-1]
    context = rng.choice(contexts, size=sequences, p=stationary(table))
    drawn = np.empty((length, sequences), np.uint8)
    for step in range(length):
        symbol = (rng.random(sequences)[:, None] >= ends[context]).sum(axis=1)
        context = (context * symbols + symbol) % contexts
        drawn[step] = symbol
    return drawn.T
