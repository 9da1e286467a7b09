"""How many labels does a model of Korean film reviews need, and what does reading on its own save?

Is a review kind (NSMC)? Four families classify it, from 1,000, 10,000 and all labels, from scratch
and from a model that has read reviews without labels (configs/nsmc_pretrain.py). Validated on 5 %
of the training file, which neither the labels nor the reading have; the published test file is not
at hand.

Command:  for family in encoder decoder lstm mamba; do lm-lab train --workdir=runs/nsmc/$family \
              --config=configs/nsmc_pretrain.py:$family; done
          lm-lab sweep experiments/korean --workdir=runs/korean
          with data/nsmc as configs/nsmc_pretrain.py says
"""

from typing import Any

from ml_collections import ConfigDict

from configs.nsmc_pretrain import FAMILIES, LENGTH, WIDTH, model
from lm_lab.data import published
from lm_lab.sweeps.algebra import Sweep, chain, param, product
from lm_lab.sweeps.study import Study

READ = "runs/nsmc"  # where the models are that have read
LABELS = {1000: (60, 3), 10_000: (240, 2), 142_000: (1400, 1)}  # labels: steps, seeds
WAYS = ("from scratch", "pre-trained")
HELD_OUT = 7_500  # reviews, about


def study() -> Study:
    return Study(
        name="korean",
        question="How many labels does a small model of Korean film reviews need, and what does "
        "pre-training save?",
        base=base(),
        sweep=chain(
            *(runs(name, way, count) for count in LABELS for name in FAMILIES for way in WAYS)
        ),
        analysis={
            "kind": "curves",
            "metric": "accuracy",
            "against": "data.train_documents",
            "arms": {f"{name}, {way}": told_apart(name, way) for name in FAMILIES for way in WAYS},
            "items": HELD_OUT,
            "known": {"n-gram SVM .877": 0.877},
        },
    )


def base() -> ConfigDict:
    reviews = published.file("nsmc", "ratings_train.txt.gz")
    config = ConfigDict()
    config.objective = ConfigDict({"name": "classification", "classes": 2, "pooling": "mean"})
    source = {"name": "labelled", "path": reviews, "header": True}
    source |= {"text": ["document"], "label": "label"}
    config.data = ConfigDict({"source": source, "length": 160, "holdout_fraction": 0.05})
    config.data.update({"pack": True, "vocabulary_file": f"{READ}/encoder/vocabulary"})
    config.data.tokenizer = {"name": "sentencepiece", "kind": "bpe", "pieces": 4000}
    config.schedule = ConfigDict({"warmup_fraction": 0.1})
    config.train = ConfigDict({"batch_size": 32, "log_every_steps": 20})
    return config


def told_apart(name: str, way: str) -> dict[str, Any]:
    """The overrides that the runs of a family share that begin in one way."""
    own = {f"model.{key}": value for key, value in model(name).items() if key != "width"}
    return own | {"train.initial": f"{READ}/{name}" if way == "pre-trained" else None}


def runs(name: str, way: str, count: int) -> Sweep:
    """The runs of a family with so many labels: every seed."""
    steps, seeds = LABELS[count]
    rate = FAMILIES[name][1] / WIDTH * (0.3 if way == "pre-trained" else 1.0)
    same = told_apart(name, way) | {"model.width": WIDTH, "model.dropout": 0.1}
    same |= {"data.train_documents": count, "train.steps": steps, "optimizer.peak_rate": rate}
    return product([same], param("seed", list(range(seeds))))
