"""Collectives of a compiled program, with their bytes, read from the text that XLA gives of it."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from math import prod
from typing import NamedTuple

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_COLLECTIVE = re.compile(rf" = (.+?) ({'|'.join(KINDS)})(-start)?\((.*)")
_CALLED = re.compile(r"(?:body|calls|to_apply|condition|\w+_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_SHAPE = re.compile(r"(pred|[a-z]+\d+)\w*\[([\d,]*)\]")
_LISTED = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_COUNTED = re.compile(r"replica_groups=\[([\d,]+)\]<=")
_NAMED = re.compile(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}")


class Collective(NamedTuple):
    """One kind of collective in a call of a program."""

    times: int  # that it is executed, with the trips of loops
    sent: int  # bytes that a device sends: a ring's, for a group of n (n - 1) / n of the array


def collectives(text: str) -> dict[str, Collective]:
    """The collectives of one call by kind, from `jax.stages.Compiled.as_text()`.

    Loops count with their trips where XLA knows them, else once; of a conditional all branches.
    A ring sends (n - 1) / n of an array of an all-gather, reduce-scatter or all-to-all in a group
    of n devices, twice that for an all-reduce, all of it for a collective-permute.
    """
    own, called, entry = _read(text)
    found: dict[str, Collective] = {}
    for name, times in _times(entry, called).items():
        for kind, sent in own[name]:
            past = found.get(kind, Collective(0, 0))
            found[kind] = Collective(past.times + times, past.sent + times * sent)
    return {kind: found[kind] for kind in KINDS if kind in found}


def _read(
    text: str,
) -> tuple[dict[str, list[tuple[str, int]]], dict[str, list[tuple[str, int]]], str]:
    """(kind and bytes of each collective, by computation; what each calls and how often; the name
    of the computation that is called first).
    """
    own, called = defaultdict(list), defaultdict(list)
    name = entry = ""
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            name = header[2]
            entry = name if header[1] else entry
            continue
        if match := _COLLECTIVE.search(line):
            own[name].append((match[2], _sent(match[2], match[1], bool(match[3]), match[4])))
        trips = _TRIPS.search(line)
        called[name] += [(each, int(trips[1]) if trips else 1) for each in _callees(line)]
    return own, called, entry


def _callees(line: str) -> Iterator[str]:
    yield from _CALLED.findall(line)
    for branches in _BRANCHES.findall(line):
        yield from (each.strip().lstrip("%") for each in branches.split(","))


def _times(entry: str, called: Mapping[str, list[tuple[str, int]]]) -> dict[str, int]:
    """How often each computation is executed in a call of the program."""
    times: dict[str, int] = defaultdict(int)

    def visit(name: str, factor: int) -> None:
        times[name] += factor
        for each, trips in called.get(name, ()):
            visit(each, factor * trips)

    visit(entry, 1)
    return dict(times)


def _sent(kind: str, result: str, is_start: bool, rest: str) -> int:
    arrays = [_bytes(*shape) for shape in _SHAPE.findall(result)]
    if is_start and kind in ("all-gather", "collective-permute"):
        arrays = arrays[len(arrays) // 2 :]  # a pair of operands and results
    size, group = sum(arrays), _group(rest)
    if kind == "collective-permute" or group is None:
        return size
    if kind == "reduce-scatter":
        return size * (group - 1)  # the result is a part of what is summed
    return (2 if kind == "all-reduce" else 1) * size * (group - 1) // group


def _bytes(dtype: str, shape: str) -> int:
    bits = 8 if dtype == "pred" else int(re.sub(r"\D", "", dtype))
    return prod(int(size) for size in shape.split(",") if size) * max(bits, 8) // 8


def _group(rest: str) -> int | None:
    """Devices in a group of a collective; None where the text does not say."""
    if match := _LISTED.search(rest):
        return len(match[1].split(","))
    if match := _COUNTED.search(rest):
        sizes = [int(size) for size in match[1].split(",")]
        return sizes[-1]
    if match := _NAMED.search(rest):
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", match[1])}
        return prod(sizes.get(name, 1) for name in re.findall(r"'(\w+)'", match[2]))
    return None
