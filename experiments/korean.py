"""How many labels does a model of Korean film reviews need, and what does reading on its own save?

Is a review kind (NSMC)? Four families classify it from 1,000, 10,000 and all labels: from scratch,
and from a model that has read reviews without labels, all with the same FLOPs (an encoder masked
tokens, the others each next one). Judged on 5 % of the training file; a hash of the text decides,
so that what is held out has been read by no model either. The published test file is not at hand.

Command:  for family in encoder decoder lstm mamba; do lm-lab train --workdir=runs/nsmc/$family \
              --config=experiments/korean.py:$family; done
          lm-lab sweep experiments/korean --workdir=runs/korean
          with ratings_train.txt.gz of github.com/e9t/nsmc in data/nsmc (LM_LAB_DATA for data), and
          raw_reviews_without_test.tsv.xz: the reviews of its raw/*.json but those of
          ratings_test.txt, in lines of review_id, movie_id, rating, date and review, with tabs
          between and a header
"""

from typing import Any

from ml_collections import ConfigDict

from lm_lab.data import published
from lm_lab.sweeps.algebra import Sweep, chain, param, product
from lm_lab.sweeps.study import Study

WIDTH, DEPTH, HEADS = 96, 4, 4
LENGTH = 176  # tokens; the longest review has 167
PIECES = 4000
HELD_OUT = 0.05  # of the reviews, about 7,100 of those with labels
READ = "runs/nsmc"  # where the models are that have read
LABELS = {1000: (60, 3), 10_000: (160, 2), 142_000: (900, 1)}  # labels: steps, seeds
WAYS = {"from scratch": 1.0, "pre-trained": 0.3}  # peak rates, as shares of the family's

# Settings of each family, with as many layers as multiply about as many parameters; its peak rate
# times the width.
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
    """A family reads reviews without labels."""
    config = ConfigDict()
    config.model = ConfigDict(model(name))
    config.objective = ConfigDict({"name": "masked" if name == "encoder" else "causal"})
    reviews = published.file("nsmc", "raw_reviews_without_test.tsv.xz")
    source = {"name": "files", "path": reviews, "format": "tsv", "text": "review"}
    config.data = ConfigDict({"source": source, "length": LENGTH, "holdout_fraction": HELD_OUT})
    config.data.tokenizer = {"name": "sentencepiece", "kind": "bpe", "pieces": PIECES}
    config.data.isolate_documents = True
    config.optimizer = ConfigDict({"peak_rate": FAMILIES[name][1] / WIDTH})
    config.schedule = ConfigDict({"warmup_fraction": 0.05})
    config.train = ConfigDict({"budget_flops": 4e13, "batch_size": 16, "log_every_steps": 50})
    config.train.update({"eval_batches": 32, "eval_every_steps": 1000})
    return config


def study() -> Study:
    arms = {f"{name}, {way}": told_apart(name, way) for name in FAMILIES for way in WAYS}
    return Study(
        name="korean",
        question="How many labels does a small model of Korean film reviews need, and what does "
        "reading on its own save?",
        base=base(),
        sweep=chain(*(runs(name, way, n) for n in LABELS for name in FAMILIES for way in WAYS)),
        analysis={
            "kind": "curves",
            "metric": "eval/heldout/accuracy",
            "against": "data.train_documents",
            "arms": arms,
            "items": 7100,
            "known": {"character n-gram SVM, .877": 0.877},
        },
    )


def base() -> ConfigDict:
    config = ConfigDict()
    config.objective = ConfigDict({"name": "classification", "classes": 2, "pooling": "mean"})
    reviews = published.file("nsmc", "ratings_train.txt.gz")
    source = {"name": "labelled", "path": reviews, "header": True}
    source |= {"text": ["document"], "label": "label"}
    config.data = ConfigDict({"source": source, "length": LENGTH, "holdout_fraction": HELD_OUT})
    config.data.tokenizer = {"name": "sentencepiece", "kind": "bpe", "pieces": PIECES}
    config.data.update({"pack": True, "vocabulary_file": f"{READ}/encoder/tokenizer/learnt"})
    config.schedule = ConfigDict({"warmup_fraction": 0.1})
    config.train = ConfigDict({"batch_size": 32, "log_every_steps": 20})
    return config


def told_apart(name: str, way: str) -> dict[str, Any]:
    """The overrides that the runs of a family share that begin in one way."""
    own = {f"model.{key}": value for key, value in model(name).items()}
    return own | {"train.initial": f"{READ}/{name}" if way == "pre-trained" else None}


def runs(name: str, way: str, labels: int) -> Sweep:
    """The runs of a family from so many labels, a seed each."""
    steps, seeds = LABELS[labels]
    same = told_apart(name, way) | {"model.dropout": 0.1, "data.train_documents": labels}
    same |= {"train.steps": steps}
    same |= {"optimizer.peak_rate": WAYS[way] * FAMILIES[name][1] / WIDTH}
    return product([same], param("seed", list(range(seeds))))
