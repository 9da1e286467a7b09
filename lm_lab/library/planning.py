"""The plan of a run as lines of text, and the table of what fits into a device."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from lm_lab.compute.conventions import CONVENTIONS
from lm_lab.data.loader import Split
from lm_lab.engine import sharding
from lm_lab.library.pace import Pace
from lm_lab.nn.stack import POLICIES
from lm_lab.train.experiment import Experiment
from lm_lab.train.plan import Plan, TaskOf, largest_batch
from lm_lab.train.program import Accumulation
from lm_lab.types import UserError

NOTES = 42  # columns before the note of a line
SUMS = ("total", "active", "non_embedding", "matmul", "matmul_body")


class Machine(NamedTuple):
    """What is assumed of the devices."""

    pace: Callable[[], Pace]
    link_bytes_per_second: float | None  # None: sending is not timed


def describe(experiment: Experiment, plan: Plan, machine: Machine) -> list[str]:
    """The plan as lines of text."""
    program = plan.program
    lines = ["parameters"]
    lines += [
        _row(name, f"{count:,}")
        for name, count in program.params.items()
        if count and name not in SUMS
    ]
    lines += [_row(f"= {name}", f"{program.params[name]:,}") for name in SUMS]
    lines += ["FLOPs a training token"]
    for name, value in program.flops_per_token.items():
        formula = (
            CONVENTIONS[name].formula
            if name in CONVENTIONS
            else "matrix products of the step, from its jaxpr"
        )
        lines.append(_row(name, f"{value:,.0f}", formula))
    lines += ["data", *_data(plan)]
    lines += ["run", *_run(plan, machine), *_stages(experiment, plan.program.accumulation)]
    lines += [f"bytes a device ({experiment.mesh.devices} in the mesh)", *_bytes(plan)]
    lines += [f"  {line}" for line in plan.whole]
    return [*lines, "collectives in a step", *_collectives(plan, machine)]


def _row(name: str, value: str, note: str = "") -> str:
    return (f"  {name:<18}{value:>20}".ljust(NOTES) + note).rstrip()


def _run(plan: Plan, machine: Machine) -> list[str]:
    program, pace = plan.program, machine.pace()
    total = program.steps * program.flops_per_step
    tokens = program.steps * program.targets_per_step
    words = "of the reference's likelihoods, taken once, before training; in no other figure"
    compared = [_row("FLOPs before", f"{plan.reference_flops:.4g}", words)]
    return [
        _row("steps", f"{program.steps:,}"),
        *_microbatches(program.accumulation),
        _row("tokens", f"{tokens:,}", f"{program.targets_per_step:,} a step"),
        _row("FLOPs", f"{total:.4g}", f"{program.flops_per_step:.4g} a step"),
        *(compared if plan.reference_flops else []),
        _row("time", pace.time(total), pace.words),
        _row("time of a step", pace.time(program.flops_per_step), "computing, at the same pace"),
    ]


def _stages(experiment: Experiment, accumulation: Accumulation) -> list[str]:
    mesh = experiment.mesh
    if mesh.pipeline == 1:
        return []
    rows = experiment.train.batch_size // accumulation.microbatches
    words = (
        f"of a step idle, {sharding.microbatches(mesh, rows)} microbatches in {mesh.pipeline} "
        "stages; in no other figure"
    )
    return [_row("bubble", f"{sharding.bubble(mesh, rows):.3g}", words)]


def _microbatches(accumulation: Accumulation) -> list[str]:
    parts, room = accumulation
    if parts == 1 and room is None:
        return []
    fitted = f"the fewest that fit into {room / 1e9:,.4g} GB a device" if room else ""
    return [_row("microbatches", f"{parts:,}", fitted)]


def _bytes(plan: Plan) -> list[str]:
    state = {name: size for name, size in plan.state_bytes.items() if name != "gradients"}
    lines = [_row(name, f"{size:,}") for name, size in state.items()]
    lines.append(_row("= state", f"{sum(state.values()):,}", "stored between steps"))
    gradients = plan.state_bytes["gradients"]
    lines.append(_row("gradients", f"{gradients:,}", "a part of the temporaries"))
    if call := plan.call:
        lines += [
            _row("temporaries", f"{call.temporaries:,}", "activations, gradients and copies"),
            _row("= peak", f"{call.peak:,}", "as the compiler plans it here, with the examples"),
        ]
        beside = call.arguments - sum(state.values())
        lines.append(_row("examples", f"{beside:,}", "and settings: its arguments less the state"))
    return lines


def _collectives(plan: Plan, machine: Machine) -> list[str]:
    steps, found = plan.steps_per_call, plan.collectives
    if not found:
        return [_row("none", "")]
    lines = [
        _row(kind, f"{each.sent / steps:,.0f}", f"bytes, {each.times / steps:,.4g} times")
        for kind, each in found.items()
    ]
    sent = sum(each.sent for each in found.values()) / steps
    lines.append(_row("= sent", f"{sent:,.0f}", "bytes that a device sends, by rings"))
    if speed := machine.link_bytes_per_second:
        words = f"at {speed:.3g} bytes/s; it may overlap with computing"
        lines.append(_row("time of sending", f"{sent / speed:,.3g} s", words))
    return lines


def _size(split: Split, note: str = "") -> tuple[str, str]:
    if split.records is not None:
        return f"{len(split.records.offsets):,}", f"records, {len(split.tokens):,} tokens{note}"
    return f"{len(split.tokens):,}", f"tokens{note}"


def _data(plan: Plan) -> list[str]:
    """Lines on the splits of each source, and how often its rows are read."""
    lines = []
    for (label, sides), epochs in zip(plan.dataset.sources.items(), plan.epochs.values()):
        name = f"{label} " if label else ""
        held_out = ", the end of the text" if sides.tail else ", whole documents"
        lines.append(_row(f"{name}train", *_size(sides.train, f", {epochs:.3g} epochs")))
        lines.append(_row(f"{name}held out", *_size(sides.heldout, held_out)))
        if sides.test is not None:
            lines.append(_row(f"{name}test", *_size(sides.test)))
    return lines


# Without "offload": to a CPU's compiler, with which plans are made, the host's memory is its own.
REMATS = ("none", *sorted(POLICIES.keys() - {"offload"}))


def what_fits(
    task_of: TaskOf, length: int, remats: Sequence[str], memory_bytes: float
) -> Iterator[str]:
    """The lines of a table of the largest batch that fits into so many bytes a device, for half,
    once and twice the length, and every policy of `remats`; each line takes six compilations.
    """
    lengths = [max(length // 2, 1), length, 2 * length]
    yield f"largest batch in {memory_bytes / 1e9:,.4g} GB a device, in rows of L tokens"
    yield "  remat   " + "".join(f"{f'L = {each:,}':>16}" for each in lengths)
    for remat in remats:
        cells = [_cell(task_of, remat, each, memory_bytes) for each in lengths]
        yield f"  {remat:<8}" + "".join(f"{cell:>16}" for cell in cells)


def _cell(task_of: TaskOf, remat: str, length: int, memory_bytes: float) -> str:
    changes: dict[str, Any] = {"data.length": length}
    if remat in REMATS:
        changes["model.remat"] = remat
    try:
        rows = largest_batch(task_of, changes, memory_bytes)
    except UserError:  # a length that the model or the data do not allow
        return "-"
    return "?" if rows is None else f"{rows:,}" if rows else "none"
