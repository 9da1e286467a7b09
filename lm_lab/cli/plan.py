"""lm-lab plan: what a run or a study would cost and tell, before anything runs.

  lm-lab plan --config=configs/decoder_tiny.py
  lm-lab plan --config=configs/decoder_tiny.py --config.mesh.fsdp=8 --device="NVIDIA H100"
  lm-lab plan experiments/isoflop_demo --budget_flops=1e13

  --config=FILE               a config file; set its keys with --config.section.key=value
  --device=KIND               estimate the time on this kind of device; default: the local one,
                              whose rate is measured if no data sheet states it (one second)
  --utilisation=SHARE         of the device's peak, for that estimate; default 0.4

Of a run it prints parameters by group, FLOPs by the count and by named conventions, text, steps,
tokens, bytes a device, and collectives. The text is read and tokenized as in training, and what
training would refuse before its first step is refused here. The program is compiled for the
config's mesh, if need be on virtual devices; none of its arrays is allocated.

  STUDY                       a file of experiments/, with or without .py
  --budget_flops=FLOPS        propose the runs that would tell most for so many FLOPs more
  --law=E,A,alpha,B,beta      judge by L = E + A N^-alpha + B D^-beta, nats a token; default:
                              Chinchilla's exponents, the valley in the middle of the design
  --noise=SHARE               s.d. of the loss of a run, as a share of it; default 0.01

Of a study it prints the runs of each budget, the condition number of the design, how wide an
interval to expect of the exponent and of the held-out prediction, and what is weak in the design.
"""

import math

from absl import flags

from lm_lab import config as configs
from lm_lab.cli import arguments
from lm_lab.compute.conventions import CONVENTIONS
from lm_lab.data.loader import Split
from lm_lab.library import designs, devices
from lm_lab.library.pace import check, pace
from lm_lab.report.contract import Assumptions
from lm_lab.sweeps import study as studies
from lm_lab.train.experiment import Experiment
from lm_lab.train.plan import Plan, plan
from lm_lab.train.task import bind
from lm_lab.types import UserError

FLAGS = flags.FlagValues()
DEVICE = flags.DEFINE_string("device", None, "kind of device", flag_values=FLAGS)
SHARE = flags.DEFINE_float(
    "utilisation", 0.4, "of the peak", lower_bound=0.001, upper_bound=1.0, flag_values=FLAGS
)
STUDY_FLAGS = flags.FlagValues()
NOISE = flags.DEFINE_float(
    "noise", 0.01, "of a run", lower_bound=1e-6, upper_bound=1.0, flag_values=STUDY_FLAGS
)
ADDED = flags.DEFINE_float("budget_flops", None, "more", lower_bound=1.0, flag_values=STUDY_FLAGS)
LAW = flags.DEFINE_list("law", None, "E,A,alpha,B,beta", flag_values=STUDY_FLAGS)

SUMS = ("total", "active", "non_embedding", "matmul", "matmul_body")


def run(argv: list[str]) -> int:
    """Prints the plan. Raises UserError."""
    if any(not word.startswith("-") for word in argv[:1]):
        return _plan_study(argv)
    config, others = arguments.take_config(argv)
    if extra := arguments.parse(FLAGS, others, "plan"):
        raise UserError(f"unexpected argument {extra[0]!r}; see lm-lab plan --help")
    check(DEVICE.value, SHARE.value)
    task = bind(*configs.resolve(config))
    experiment = task.experiment
    devices.start(experiment.mesh)
    print("\n".join(describe(experiment, plan(task))))
    return 0


def _plan_study(argv: list[str]) -> int:
    paths = arguments.parse(STUDY_FLAGS, argv, "plan")
    if len(paths) != 1:
        raise UserError(f"name one study, not {len(paths)}; see lm-lab plan --help")
    assumed = Assumptions(_law(LAW.value), NOISE.value, ADDED.value)
    print("\n".join(designs.describe_design(studies.load(paths[0]), assumed)))
    return 0


def _law(words: list[str] | None) -> tuple[float, float, float, float, float] | None:
    if words is None:
        return None
    try:
        E, A, alpha, B, beta = map(float, words)
    except ValueError:
        E = A = alpha = B = beta = math.nan
    law = (E, A, alpha, B, beta)
    if not all(math.isfinite(number) and number > 0 for number in law):
        raise UserError(
            f"--law={','.join(words)}: give five positive numbers, E,A,alpha,B,beta, as in "
            "--law=1.82,482,0.348,2085,0.366"
        )
    return law


def describe(experiment: Experiment, plan: Plan) -> list[str]:
    """The plan as lines of text."""
    program = plan.program
    total = program.steps * program.flops_per_step
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
    lines += ["data"]
    lines += describe_data(plan)
    lines += ["run"]
    lines.append(_row("steps", f"{program.steps:,}"))
    lines.append(
        _row(
            "tokens",
            f"{program.steps * program.targets_per_step:,}",
            f"{program.targets_per_step:,} a step",
        )
    )
    lines.append(_row("FLOPs", f"{total:.4g}", f"{program.flops_per_step:.4g} a step"))
    lines.append(_row("time", *_time(experiment, total)))
    lines += [f"bytes a device ({experiment.mesh.devices} in the mesh)"]
    lines += [_row(name, f"{size:,}") for name, size in plan.state_bytes.items()]
    if plan.call is not None:
        lines.append(
            _row(
                "temporaries",
                f"{plan.call.temporaries:,}",
                "activations, gradients and copies in a call",
            )
        )
        lines.append(_row("= peak", f"{plan.call.peak:,}", "as the compiler plans it here"))
    lines += [f"  {line}" for line in plan.whole]
    lines += ["collectives in a call"]
    lines += [_row(kind, f"{count:,}") for kind, count in plan.collectives.items()] or [
        _row("none", "")
    ]
    return lines


def _row(name: str, value: str, note: str = "") -> str:
    return f"  {name:<16}{value:>20}  {note}".rstrip()


def _size(split: Split, note: str = "") -> tuple[str, str]:
    if split.records is not None:
        return f"{len(split.records.offsets):,}", f"records, {len(split.tokens):,} tokens{note}"
    return f"{len(split.tokens):,}", f"tokens{note}"


def describe_data(plan: Plan) -> list[str]:
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


def _time(experiment: Experiment, flops: float) -> tuple[str, str]:
    devices = experiment.mesh.devices
    speed = pace(DEVICE.value, experiment.precision.compute, SHARE.value, devices)
    return speed.time(flops), speed.words
