"""lm-lab plan: what a run or a study would cost and tell, before anything runs.

  lm-lab plan --config=configs/decoder_tiny.py
  lm-lab plan --config=configs/decoder_tiny.py --config.mesh.fsdp=8 --device="NVIDIA H100"
  lm-lab plan --config=configs/shapes.py:llama --config.model.scan=True --devices=256 \\
      --config.mesh.fsdp=64 --config.mesh.tensor=4 --device="NVIDIA H100" --memory_bytes=80e9
  lm-lab plan experiments/isoflop_demo --budget_flops=1e13

  --config=FILE               a config file; set its keys with --config.section.key=value
  --device=KIND               estimate the time on this kind of device; default: the local one,
                              whose rate is measured if no data sheet states it (one second)
  --utilisation=SHARE         of the device's peak, for that estimate; default 0.4
  --devices=N                 for N virtual devices: data is what the other axes of the mesh leave
  --memory_bytes=BYTES        of a device: the largest batch that fits, over length and remat; and
                              microbatches for it, if config.train.microbatches is None
  --link_bytes_per_second=B   that a device sends: time the collectives, too

Of a run it prints parameters by group, FLOPs by the count and by named conventions, text, steps,
tokens, bytes a device by category, and collectives with the bytes that a device sends. The text
is read and tokenized as in training, and what training would refuse before its first step is
refused here. The program is compiled for the config's mesh, if need be on virtual devices; none of
its arrays is allocated. Virtual devices are a CPU's, whose compiler stores in float32 much of what
an accelerator's has in bfloat16: their temporaries and sums are upper bounds.

  STUDY                       a file of experiments/, with or without .py
  --budget_flops=FLOPS        propose the runs that would tell most for so many FLOPs more
  --law=E,A,alpha,B,beta      judge by L = E + A N^-alpha + B D^-beta, nats a token; default:
                              Chinchilla's exponents, the valley in the middle of the design
  --noise=SHARE               s.d. of the loss of a run, as a share of it; default 0.01

Of a study it prints the runs of each budget, the condition number of the design, how wide an
interval to expect of the exponent and of the held-out prediction, and what is weak in the design.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict

from lm_lab import config as configs
from lm_lab.cli import arguments
from lm_lab.cli.wrapping import wrapped
from lm_lab.data.text import Texts
from lm_lab.library import designs, devices
from lm_lab.library.pace import Pace, check, pace
from lm_lab.library.planning import NOTES, REMATS, Machine, describe, what_fits
from lm_lab.report.contract import Assumptions
from lm_lab.sweeps import study as studies
from lm_lab.train.experiment import Experiment
from lm_lab.train.plan import plan
from lm_lab.train.task import Task, bind
from lm_lab.types import UserError

FLAGS = flags.FlagValues()
DEVICE = flags.DEFINE_string("device", None, "kind of device", flag_values=FLAGS)
SHARE = flags.DEFINE_float(
    "utilisation", 0.4, "of the peak", lower_bound=0.001, upper_bound=1.0, flag_values=FLAGS
)
DEVICES = flags.DEFINE_integer("devices", None, "virtual", lower_bound=1, flag_values=FLAGS)
MEMORY = flags.DEFINE_float("memory_bytes", None, "a device", lower_bound=1.0, flag_values=FLAGS)
LINK = flags.DEFINE_float(
    "link_bytes_per_second", None, "of a device", lower_bound=1.0, flag_values=FLAGS
)
STUDY_FLAGS = flags.FlagValues()
NOISE = flags.DEFINE_float(
    "noise", 0.01, "of a run", lower_bound=1e-6, upper_bound=1.0, flag_values=STUDY_FLAGS
)
ADDED = flags.DEFINE_float("budget_flops", None, "more", lower_bound=1.0, flag_values=STUDY_FLAGS)
LAW = flags.DEFINE_list("law", None, "E,A,alpha,B,beta", flag_values=STUDY_FLAGS)


def run(argv: list[str]) -> int:
    """Prints the plan. Raises UserError."""
    if any(not word.startswith("-") for word in argv[:1]):
        return _plan_study(argv)
    config, others = arguments.take_config(argv)
    if extra := arguments.parse(FLAGS, others, "plan"):
        raise UserError(f"unexpected argument {extra[0]!r}; see lm-lab plan --help")
    check(DEVICE.value, SHARE.value)
    if DEVICES.value:
        config = _for_devices(config, DEVICES.value)
    config = _with_memory(config)
    task = bind(*configs.resolve(config))
    experiment = task.experiment
    devices.start(experiment.mesh)
    print(wrapped(describe(experiment, plan(task), _machine(experiment)), NOTES), flush=True)
    if MEMORY.value:
        for line in _what_fits(config, experiment, MEMORY.value):
            print(line, flush=True)
    return 0


def _plan_study(argv: list[str]) -> int:
    paths = arguments.parse(STUDY_FLAGS, argv, "plan")
    if len(paths) != 1:
        raise UserError(f"name one study, not {len(paths)}; see lm-lab plan --help")
    assumed = Assumptions(_law(LAW.value), NOISE.value, ADDED.value)
    print(wrapped(designs.describe_design(studies.load(paths[0]), assumed)))
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


def _for_devices(config: ConfigDict, devices: int) -> ConfigDict:
    """The config for so many devices: `data` is what the other axes of its mesh leave.

    They are virtual ones of the CPU, wherever the command runs.
    """
    mesh = configs.resolve(config)[0].mesh
    if mesh.devices != devices:
        others = mesh.devices // mesh.data
        if mesh.data > 1 or devices % others:
            raise UserError(
                f"--devices={devices}: the axes of config.mesh take {mesh.devices}; leave out "
                "config.mesh.data, and choose others that divide it"
            )
        config = configs.override(config, {"mesh.data": devices // others})
    jax.config.update("jax_platforms", "cpu")
    return config


def _with_memory(config: ConfigDict) -> ConfigDict:
    """The config with --memory_bytes as the memory for which microbatches are chosen."""
    train = configs.resolve(config)[0].train
    if train.microbatches is not None or train.memory_bytes is not None:
        return config
    if MEMORY.value:
        return configs.override(config, {"train.memory_bytes": MEMORY.value})
    if DEVICES.value:
        raise UserError(
            "config.train.microbatches None is chosen for the memory of a device; name it for "
            f"these {DEVICES.value} virtual ones by --memory_bytes"
        )
    return config


def _what_fits(config: ConfigDict, experiment: Experiment, memory_bytes: float) -> Iterator[str]:
    texts = Texts()

    def task_of(changes: dict[str, Any]) -> Task:
        return bind(*configs.resolve(configs.override(config, changes)), texts)

    settings = {field.name for field in dataclasses.fields(experiment.model.settings)}
    remats = REMATS if "remat" in settings else ("as it is",)
    return what_fits(task_of, experiment.data.length, remats, memory_bytes)


def _machine(experiment: Experiment) -> Machine:
    def of_devices() -> Pace:
        if DEVICES.value and not DEVICE.value:
            return Pace(None, "name the kind of device, as in --device='NVIDIA H100'")
        devices, dtype = experiment.mesh.devices, experiment.precision.compute
        return pace(DEVICE.value, dtype, SHARE.value, devices)

    return Machine(of_devices, LINK.value)
