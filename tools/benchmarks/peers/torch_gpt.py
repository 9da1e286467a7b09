"""A GPT-2 in PyTorch, in the structure of karpathy/nanoGPT (MIT): one product for q, k and v, fused
attention; eager or compiled; trained by benchmarks/peers/torch_trainer.py, in a process of its own:

    python -m tools.benchmarks.peers.torch_gpt SHAPE eager|compiled
"""

# pyright: reportMissingImports=false
# torch is an extra, and may be another environment's.
import torch
import torch.nn as nn
import torch.nn.functional as F

from tools.benchmarks.peers.shape import SHAPES, Shape, gpt_params
from tools.benchmarks.peers.torch_trainer import Trainer, count, serve


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, self.heads = shape.width, shape.heads
        self.attention_norm, self.feed_forward_norm = (
            nn.LayerNorm(width, bias=False),
            nn.LayerNorm(width, bias=False),
        )
        self.qkv, self.out = (
            nn.Linear(width, 3 * width, bias=False),
            nn.Linear(width, width, bias=False),
        )
        self.up, self.down = (
            nn.Linear(width, 4 * width, bias=False),
            nn.Linear(4 * width, width, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, length, width = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(
            rows, length, 3, self.heads, width // self.heads
        )
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, length, width))
        return x + self.down(F.gelu(self.up(self.feed_forward_norm(x)), approximate="tanh"))


class Decoder(nn.Module):
    """Windows i64[B L+1] to the mean loss."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed = nn.Embedding(shape.vocab, shape.width)
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
        return F.cross_entropy(logits.flatten(0, 1), targets.reshape(-1))


def build(size: str, mode: str) -> Trainer:
    shape = SHAPES[size]
    model = Decoder(shape)
    assert count(model) == gpt_params(shape)
    windows = torch.randint(shape.vocab, (shape.batch_size, shape.length + 1))
    forward = torch.compile(model) if mode == "compiled" else model
    return Trainer(model, lambda: forward(windows), shape.steps)


if __name__ == "__main__":
    serve(build)
