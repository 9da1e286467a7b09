"""Korean film reviews, read without their labels, for experiments/korean.py to fine-tune.

nsmc_pretrain.py:lstm is another family: encoder (masked tokens), decoder, lstm, mamba (each next
token). All train with the same FLOPs. Reviews of which the label is held out in
experiments/korean.py are held out here too: a hash of the text alone decides.

Command:  lm-lab train --config=configs/nsmc_pretrain.py:encoder --workdir=runs/nsmc/encoder
          with raw_reviews_without_test.tsv.xz in data/nsmc (LM_LAB_DATA for data): the reviews of
          raw/*.json of github.com/e9t/nsmc but those of ratings_test.txt, in lines of review_id,
          movie_id, rating, date and review, with tabs between and a header
"""

from typing import Any

from ml_collections import ConfigDict

from lm_lab.data import published

WIDTH, DEPTH, HEADS, LENGTH = 96, 4, 4, 128

# Settings of each family; layers that multiply about as many parameters; its peak rate times width.
FAMILIES: dict[str, tuple[dict[str, Any], float]] = {
    "encoder": ({"family": "encoder", "heads": HEADS, "norm_position": "pre"}, 0.4),
    "decoder": ({"family": "decoder", "heads": HEADS}, 0.4),
    "lstm": ({"family": "rnn", "cell": "lstm", "depth": 6}, 0.6),
    "mamba": ({"family": "state_space", "block": "mamba", "depth": 6}, 1.0),
}


def model(name: str) -> dict[str, Any]:
    """The `model` section of a family."""
    return {"width": WIDTH, "depth": DEPTH, **FAMILIES[name][0]}


def get_config(name: str = "encoder") -> ConfigDict:
    """The config of a family."""
    reviews = published.file("nsmc", "raw_reviews_without_test.tsv.xz")
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict(model(name))
    config.objective = ConfigDict({"name": "masked" if name == "encoder" else "causal"})
    source = {"name": "files", "path": reviews, "format": "tsv", "text": "review"}
    config.data = ConfigDict({"source": source, "length": LENGTH, "holdout_fraction": 0.05})
    config.data.tokenizer = {"name": "sentencepiece", "kind": "bpe", "pieces": 4000}
    config.data.isolate_documents = True
    config.optimizer = ConfigDict({"peak_rate": FAMILIES[name][1] / WIDTH})
    config.schedule = ConfigDict({"warmup_fraction": 0.05})
    config.train = ConfigDict({"budget_flops": 2e13, "batch_size": 32, "log_every_steps": 50})
    config.train.update({"eval_batches": 32, "eval_every_steps": 1000})
    return config
