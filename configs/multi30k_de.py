"""Multi30k (1605.00459), English to German captions, by a small transformer of 1706.03762.

Published: 41.02 BLEU on test2016 for a transformer of this size ("transformer-tiny", 2105.14462)
Command:   lm-lab train --config=configs/multi30k_de.py --workdir=runs/multi30k_de
           with the tokenised captions of github.com/multi30k/dataset in data/multi30k (LM_LAB_DATA)
Cost:      an hour on 2 CPU cores, 5.7e14 FLOPs
Result:    41.6 BLEU by the moving average of the parameters, 41.2 by the newest; docs/results.md
           has the curve, and other recipes
"""

from ml_collections import ConfigDict

from lm_lab.data import published

SIDES = {"path": "train", "heldout_path": "val", "test_path": "test_2016_flickr"}

TINY = {
    "family": "encoder_decoder",
    "width": 128,
    "depth": 4,
    "heads": 4,
    "feed_forward_dim": 256,
    "norm": "layer",
    "norm_bias": True,
    "positions": "rotary",
    "embedding_scaling": True,
    "score_scaling": True,
    "bias": True,
    "tied": True,
    "dropout": 0.3,
}


def get_config() -> ConfigDict:
    """The config."""
    paths = {
        key: ",".join(captions(side, language) for language in ("en", "de"))
        for key, side in SIDES.items()
    }
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict(TINY)
    config.objective = ConfigDict({"name": "seq2seq", "measures": ["bleu", "exact_match"]})
    config.objective.update({"measured": "always", "beams": 5, "label_smoothing": 0.1})
    config.data = ConfigDict({"source": {"name": "pairs", "form": "lines", **paths}})
    config.data.tokenizer = {"name": "sentencepiece", "pieces": 10000, "kind": "bpe"}
    # All captions but 7 fit; those would make every row longer.
    config.data.update({"length": 46, "context_length": 44, "too_long": "drop", "pack": True})
    config.optimizer = ConfigDict({"peak_rate": 5e-3, "beta2": 0.98, "weight_decay": 0.0})
    config.schedule = ConfigDict({"name": "inverse_sqrt", "warmup_steps": 2000})
    config.train = ConfigDict({"steps": 6000, "batch_size": 128, "average_decay": 0.999})
    config.train.update({"log_every_steps": 100, "eval_every_steps": 2000})
    return config


def captions(side: str, language: str) -> str:
    """The file of tokenised captions of a side."""
    return published.file("multi30k", "tok", f"{side}.lc.norm.tok.{language}.gz")
