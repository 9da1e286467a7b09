"""A language model of torch's nn.LSTM or nn.GRU with fused AdamW, in a process of its own, as torch_gpt.py is:

python -m bench_peers.torch_rnn SHAPE lstm|gru
"""

# pyright: reportMissingImports=false
# torch is an extra, and may be another environment's.
import os
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
from bench_peers import shape as settings
from bench_peers.shape import RECURRENT_SHAPES, VOCAB, Shape
from bench_peers.torch_gpt import rate


class Network(nn.Module):
    """Windows i64[B L+1] to the mean loss."""

    def __init__(self, shape: Shape, cell: str) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCAB, shape.width)
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.layers = kind(shape.width, shape.width, shape.depth, batch_first=True)
        self.head = nn.Linear(shape.width, VOCAB, bias=False)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        features, _ = self.layers(self.embed(windows[:, :-1]))
        return F.cross_entropy(self.head(features).view(-1, VOCAB), windows[:, 1:].reshape(-1))


class Trainer:
    def __init__(self, shape: Shape, cell: str) -> None:
        torch.manual_seed(0)
        self.shape, self.step, self.model = shape, 0, Network(shape, cell)
        betas = (settings.BETA1, settings.BETA2)
        groups = [
            {"params": [p for p in self.model.parameters() if p.ndim > 1], "weight_decay": settings.WEIGHT_DECAY},
            {"params": [p for p in self.model.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=settings.EPSILON, fused=True)
        self.windows = torch.randint(VOCAB, (shape.batch_size, shape.length + 1))

    def take_turn(self) -> None:
        for _ in range(self.shape.steps):
            for group in self.optimizer.param_groups:
                group["lr"] = rate(self.step)
            self.model(self.windows).backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), settings.CLIP_NORM)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.step += 1


def main() -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    trainer = Trainer(RECURRENT_SHAPES[sys.argv[1]], sys.argv[2])
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        trainer.take_turn()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
