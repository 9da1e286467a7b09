"""
A model of transformers, adapted and written back
=================================================

A GPT-2 of random weights stands for a published one (``openai-community/gpt2`` is read in the same
way): read it, train low-rank adapters beside its frozen weights, merge, write it for transformers.
"""

# %%
# transformers makes and saves the model, and a tokenizer of single bytes. This notebook needs the
# extra: ``pip install "lm_lab[interop]"``.

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from transformers.utils import logging

import lm_lab
from lm_lab.cli import convert, merge

STEPS = 40  # in the tests: 4

logging.disable_progress_bar()
torch.manual_seed(0)
sizes = {"vocab_size": 257, "n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 2}
ends = {"bos_token_id": 256, "eos_token_id": 256}
dropout = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
original = GPT2LMHeadModel(GPT2Config(**sizes, **ends, **dropout)).eval()
original.save_pretrained("models/original")

letters = sorted(pre_tokenizers.ByteLevel.alphabet())
vocabulary = {letter: number for number, letter in enumerate([*letters, "<|endoftext|>"])}
tokenizer = Tokenizer(models.BPE(vocabulary, []))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
fast.save_pretrained("models/original")

# %%
# ``lm-lab convert`` reads the folder into a run's directory; in Python it is the same command:

convert.run(["--from=models/original", "--to=runs/original"])
run = lm_lab.open_run("runs/original")

# %%
# The logits are those of transformers to rounding:

ids = np.arange(16)[None]
theirs = original(torch.tensor(ids)).logits.detach().numpy()
print(f"largest difference {np.abs(run.logits(ids) - theirs).max():.1e}")

# %%
# Adapters (LoRA, 2106.09685) are a section of the config; ``train.initial`` names the run whose
# parameters they begin with. Settings of the model and its tokenizer are taken from there.

config = {
    "model": {"family": "decoder"},
    "objective": {"name": "causal"},
    "data": {"source": {"name": "synthetic", "documents": 64}, "length": 16},
    "optimizer": {"peak_rate": 0.02},
    "schedule": {"name": "cosine", "warmup_steps": 2},
    "adapter": {"name": "lora", "rank": 4},
    "train": {"steps": STEPS, "batch_size": 8, "eval_batches": 4, "initial": "runs/original"},
}
adapted = lm_lab.train_run(config, "runs/adapted")
print(f"{adapted.result['final']['eval/heldout/bits_per_byte']:.3f} bits per byte")

# %%

adapted.figure()

# %%
# Merged, it is one model again, and transformers loads it with no key missing:

merge.run(["--workdir=runs/adapted", "--to=runs/merged"])
convert.run(["--from=runs/merged", "--to=models/adapted"])
returned = GPT2LMHeadModel.from_pretrained("models/adapted").eval()
theirs = returned(torch.tensor(ids)).logits.detach().numpy()
print(f"largest difference {np.abs(adapted.logits(ids) - theirs).max():.1e}")
