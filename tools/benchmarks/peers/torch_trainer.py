"""Shared by the PyTorch contenders: fused AdamW by the rule of
benchmarks/peers/shape.py, and a process that takes turns.

Each is a process of its own, so that it may live in another environment than jax's. It prints
"ready", then takes a turn for every line that it reads, and prints the seconds.
"""

# pyright: reportMissingImports=false
# torch is an extra, and may be another environment's.
import math
import os
import sys
import time
from collections.abc import Callable

import torch
import torch.nn as nn

from tools.benchmarks.peers import shape as settings


def rate(step: int) -> float:
    if step < settings.WARMUP_STEPS:
        return settings.PEAK_RATE * step / settings.WARMUP_STEPS
    done = min(1.0, (step - settings.WARMUP_STEPS) / (settings.STEPS - settings.WARMUP_STEPS))
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return settings.PEAK_RATE * (settings.FINAL_FRACTION + (1 - settings.FINAL_FRACTION) * cosine)


def count(model: nn.Module) -> int:
    """Parameters in all."""
    return sum(param.numel() for param in model.parameters())


class Trainer:
    """Takes turns of training steps on loss(), a function of the model's parameters."""

    def __init__(self, model: nn.Module, loss: Callable[[], torch.Tensor], steps: int) -> None:
        self.loss, self.steps, self.step, self.params = loss, steps, 0, list(model.parameters())
        groups = [
            {
                "params": [p for p in self.params if p.ndim > 1],
                "weight_decay": settings.WEIGHT_DECAY,
            },
            {"params": [p for p in self.params if p.ndim == 1], "weight_decay": 0.0},
        ]
        betas = (settings.BETA1, settings.BETA2)
        self.optimizer = torch.optim.AdamW(
            groups, lr=0.0, betas=betas, eps=settings.EPSILON, fused=True
        )

    def take_turn(self) -> None:
        for _ in range(self.steps):
            for group in self.optimizer.param_groups:
                group["lr"] = rate(self.step)
            self.loss().backward()
            nn.utils.clip_grad_norm_(self.params, settings.CLIP_NORM)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.step += 1


def serve(build: Callable[[str, str], Trainer]) -> None:
    """Builds the trainer from the two arguments of the command
    line, and answers as the module says.
    """
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    trainer = build(*sys.argv[1:])
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        trainer.take_turn()
        print(time.perf_counter() - start, flush=True)
