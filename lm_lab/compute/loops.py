"""Trip counts of `while` loops, read from the jaxpr."""

import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var


def trip_count(eqn: JaxprEqn) -> int | None:
    """Trip count of a `while` equation that counts up to a constant bound; None for any other.

    `lax.fori_loop` makes such a loop if its bounds are arrays (with Python integers it makes a
    `scan`).
    """
    test, body = eqn.params["cond_jaxpr"].jaxpr, eqn.params["body_jaxpr"].jaxpr
    test_consts, body_consts = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    initial = eqn.invars[test_consts + body_consts :]
    carried, body_carried = test.invars[test_consts:], body.invars[body_consts:]
    if len(test.eqns) != 1 or test.eqns[0].primitive.name != "lt":
        return None
    counter, bound = (_place(atom, carried) for atom in test.eqns[0].invars)
    if counter is None:
        return None
    start, step = (
        _integer(initial[counter]),
        _increment(body, body_carried[counter], body.outvars[counter]),
    )
    if bound is None:
        stop = _integer(test.eqns[0].invars[1])
    else:
        stop = _integer(initial[bound]) if body.outvars[bound] is body_carried[bound] else None
    if start is None or stop is None or step is None:
        return None
    return max(0, -((start - stop) // step))


def _place(atom: Var | Literal, among: list[Var]) -> int | None:
    return next((place for place, var in enumerate(among) if var is atom), None)


def _integer(atom: Var | Literal) -> int | None:
    if isinstance(atom, Literal) and np.issubdtype(np.asarray(atom.val).dtype, np.integer):
        return int(atom.val)
    return None


def _increment(body: Jaxpr, before: Var, after: Var | Literal) -> int | None:
    """The positive integer that one pass adds to a carried value; None if it does anything else."""
    for eqn in body.eqns:
        if eqn.outvars[0] is after and eqn.primitive.name == "add":
            steps = [_integer(atom) for atom in eqn.invars if atom is not before]
            return steps[0] if len(steps) == 1 and steps[0] is not None and steps[0] > 0 else None
    return None
