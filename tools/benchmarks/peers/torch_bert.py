"""transformers' BERT in PyTorch, with its own loss; eager or compiled; trained by
benchmarks/peers/torch_trainer.py:

    python -m tools.benchmarks.peers.torch_bert SHAPE eager|compiled

Its masks are drawn once; lm_lab draws new ones at every step.
"""

# pyright: reportMissingImports=false
# torch is an extra, and may be another environment's.
import torch
from transformers import BertConfig, BertForMaskedLM

from tools.benchmarks.peers.shape import SHAPES, bert_params
from tools.benchmarks.peers.torch_trainer import Trainer, count, serve

TARGETS = 0.15


def build(size: str, mode: str) -> Trainer:
    shape = SHAPES[size]
    config = BertConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.width,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.width,
        max_position_embeddings=shape.length,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertForMaskedLM(config).train()
    assert count(model) == bert_params(shape)
    tokens = torch.randint(shape.vocab, (shape.batch_size, shape.length))
    labels = tokens.masked_fill(torch.rand(tokens.shape) >= TARGETS, -100)  # which its loss ignores
    forward = torch.compile(model) if mode == "compiled" else model
    return Trainer(model, lambda: forward(input_ids=tokens, labels=labels).loss, shape.steps)


if __name__ == "__main__":
    serve(build)
