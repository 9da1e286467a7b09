"""transformers' T5 in PyTorch, with its own loss; eager or compiled; trained by
benchmarks/peers/torch_trainer.py:

    python -m tools.benchmarks.peers.torch_t5 SHAPE eager|compiled

A row of random tokens is cut in halves, of which the second is learnt given the first, as in
lm_lab's objective `continuation`.
"""

# pyright: reportMissingImports=false
# torch is an extra, and may be another environment's.
import torch
from transformers import T5Config, T5ForConditionalGeneration

from tools.benchmarks.peers.shape import SHAPES, t5_params
from tools.benchmarks.peers.torch_trainer import Trainer, count, serve


def build(size: str, mode: str) -> Trainer:
    shape = SHAPES[size]
    config = T5Config(
        vocab_size=shape.vocab,
        d_model=shape.width,
        d_kv=shape.width // shape.heads,
        d_ff=4 * shape.width,
        num_layers=shape.depth,
        num_heads=shape.heads,
        dropout_rate=0.0,
        use_cache=False,
    )
    model = T5ForConditionalGeneration(config).train()
    assert count(model) == t5_params(shape)
    tokens = torch.randint(shape.vocab, (shape.batch_size, 2 * shape.length))
    halves = {
        "input_ids": tokens[:, : shape.length],
        "decoder_input_ids": tokens[:, shape.length - 1 : -1],
    }
    labels = tokens[:, shape.length :].contiguous()
    forward = torch.compile(model) if mode == "compiled" else model
    return Trainer(model, lambda: forward(**halves, labels=labels).loss, shape.steps)


if __name__ == "__main__":
    serve(build)
