"""transformers' T5 in PyTorch, with its own loss; fused AdamW; eager or compiled. A process of its own:

    python -m bench_peers.torch_t5 SHAPE eager|compiled

It prints "ready", then takes a turn for every line that it reads, and prints the seconds. A row of random tokens is
cut in halves, of which the second is learnt given the first, as in lm_lab's objective `continuation`.
"""

# pyright: reportMissingImports=false
# torch is an extra, and may be another environment's.
import os
import sys
import time

import torch
from bench_peers import shape as settings
from bench_peers.shape import SHAPES, Shape, t5_params
from bench_peers.torch_gpt import rate
from transformers import T5Config, T5ForConditionalGeneration


class Trainer:
    def __init__(self, shape: Shape, compiled: bool) -> None:
        torch.manual_seed(0)
        config = T5Config(
            vocab_size=settings.VOCAB,
            d_model=shape.width,
            d_kv=shape.width // shape.heads,
            d_ff=4 * shape.width,
            num_layers=shape.depth,
            num_heads=shape.heads,
            dropout_rate=0.0,
            use_cache=False,
        )
        model = T5ForConditionalGeneration(config).train()
        self.params = list(model.parameters())
        assert sum(param.numel() for param in self.params) == t5_params(shape)
        groups = [
            {"params": [p for p in self.params if p.ndim > 1], "weight_decay": settings.WEIGHT_DECAY},
            {"params": [p for p in self.params if p.ndim == 1], "weight_decay": 0.0},
        ]
        betas = (settings.BETA1, settings.BETA2)
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=settings.EPSILON, fused=True)
        self.model = torch.compile(model) if compiled else model
        self.shape, self.step = shape, 0
        tokens = torch.randint(settings.VOCAB, (shape.batch_size, 2 * shape.length))
        halves = {"input_ids": tokens[:, : shape.length], "decoder_input_ids": tokens[:, shape.length - 1 : -1]}
        self.batch = {**halves, "labels": tokens[:, shape.length :].contiguous()}

    def take_turn(self) -> None:
        for _ in range(self.shape.steps):
            for group in self.optimizer.param_groups:
                group["lr"] = rate(self.step)
            self.model(**self.batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(self.params, settings.CLIP_NORM)
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
