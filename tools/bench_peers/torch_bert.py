"""transformers' BERT in PyTorch, with its own loss; fused AdamW; eager or compiled. A process of its own:

    python -m bench_peers.torch_bert SHAPE eager|compiled

It prints "ready", then takes a turn for every line that it reads, and prints the seconds. Its masks are drawn once, and
not at every step as lm_lab's are.
"""

# pyright: reportMissingImports=false
# torch is an extra, and may be another environment's.
import os
import sys
import time

import torch
from bench_peers import shape as settings
from bench_peers.shape import SHAPES, Shape, bert_params
from bench_peers.torch_gpt import rate
from transformers import BertConfig, BertForMaskedLM

TARGETS = 0.15


class Trainer:
    def __init__(self, shape: Shape, compiled: bool) -> None:
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=settings.VOCAB,
            hidden_size=shape.width,
            num_hidden_layers=shape.depth,
            num_attention_heads=shape.heads,
            intermediate_size=4 * shape.width,
            max_position_embeddings=shape.length,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        model = BertForMaskedLM(config).train()
        self.params = list(model.parameters())
        assert sum(param.numel() for param in self.params) == bert_params(shape)
        groups = [
            {"params": [p for p in self.params if p.ndim > 1], "weight_decay": settings.WEIGHT_DECAY},
            {"params": [p for p in self.params if p.ndim == 1], "weight_decay": 0.0},
        ]
        betas = (settings.BETA1, settings.BETA2)
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=settings.EPSILON, fused=True)
        self.model = torch.compile(model) if compiled else model
        self.shape, self.step = shape, 0
        self.tokens = torch.randint(settings.VOCAB, (shape.batch_size, shape.length))
        ignored = torch.rand(self.tokens.shape) >= TARGETS
        self.labels = self.tokens.masked_fill(ignored, -100)

    def take_turn(self) -> None:
        for _ in range(self.shape.steps):
            for group in self.optimizer.param_groups:
                group["lr"] = rate(self.step)
            self.model(input_ids=self.tokens, labels=self.labels).loss.backward()
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
