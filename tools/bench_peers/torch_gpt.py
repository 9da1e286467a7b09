"""A GPT-2 in PyTorch, in the structure of karpathy/nanoGPT (MIT): one product for q, k and v, fused attention,
fused AdamW; eager or compiled. A process of its own, so that it may live in another environment than jax's:

    python -m bench_peers.torch_gpt SHAPE eager|compiled

It prints "ready", then takes a turn for every line that it reads, and prints the seconds.
"""

# pyright: reportMissingImports=false
# torch is an extra, and may be another environment's.
import math
import os
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
from bench_peers import shape as settings
from bench_peers.shape import SHAPES, Shape, gpt_params


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, self.heads = shape.width, shape.heads
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, length, width = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(rows, length, 3, self.heads, width // self.heads)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, length, width))
        return x + self.down(F.gelu(self.up(self.feed_forward_norm(x)), approximate="tanh"))


class Decoder(nn.Module):
    """Windows i64[B L+1] to the mean loss."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed = nn.Embedding(settings.VOCAB, shape.width)
        self.positions = nn.Embedding(shape.length, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, bias=False)
        for param in self.parameters():
            if param.ndim > 1:
                nn.init.normal_(param, std=0.02)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        inputs, targets = windows[:, :-1], windows[:, 1:]
        x = self.embed(inputs) + self.positions(torch.arange(inputs.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.embed.weight)
        return F.cross_entropy(logits.view(-1, settings.VOCAB), targets.reshape(-1))


def rate(step: int) -> float:
    if step < settings.WARMUP_STEPS:
        return settings.PEAK_RATE * step / settings.WARMUP_STEPS
    done = min(1.0, (step - settings.WARMUP_STEPS) / (settings.STEPS - settings.WARMUP_STEPS))
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return settings.PEAK_RATE * (settings.FINAL_FRACTION + (1 - settings.FINAL_FRACTION) * cosine)


class Trainer:
    def __init__(self, shape: Shape, compiled: bool) -> None:
        torch.manual_seed(0)
        model = Decoder(shape)
        assert sum(param.numel() for param in model.parameters()) == gpt_params(shape)
        self.shape, self.step, self.params = shape, 0, list(model.parameters())
        groups = [
            {"params": [p for p in self.params if p.ndim > 1], "weight_decay": settings.WEIGHT_DECAY},
            {"params": [p for p in self.params if p.ndim == 1], "weight_decay": 0.0},
        ]
        betas = (settings.BETA1, settings.BETA2)
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=settings.EPSILON, fused=True)
        self.model = torch.compile(model) if compiled else model
        self.windows = torch.randint(settings.VOCAB, (shape.batch_size, shape.length + 1))

    def take_turn(self) -> None:
        for _ in range(self.shape.steps):
            for group in self.optimizer.param_groups:
                group["lr"] = rate(self.step)
            loss = self.model(self.windows)
            loss.backward()
            nn.utils.clip_grad_norm_(self.params, settings.CLIP_NORM)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.step += 1


def main() -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    trainer = Trainer(SHAPES[sys.argv[1]], compiled=sys.argv[2] == "compiled")
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        trainer.take_turn()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
