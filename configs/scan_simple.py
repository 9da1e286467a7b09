"""SCAN, simple split (1711.00350): commands to actions, trained and
tested on like ones, read by exact match.

The source stands in one row before the target, for a decoder or (scan_simple.py:rnn) an LSTM.

Published: LSTM 99.8 % (1711.00350)
Command:   lm-lab train --config=configs/scan_simple.py --workdir=runs/scan_simple
           with simple_split of github.com/brendenlake/SCAN in data/scan (LM_LAB_DATA for data)
Cost:      6 minutes on one busy CPU core; the LSTM 10
Result:    99.7 % exact match of all 4,182 test commands with the decoder, 100.0 % with the LSTM
"""

from ml_collections import ConfigDict

from lm_lab.data import published
from lm_lab.types import UserError

MODELS = {
    "decoder": {"family": "decoder", "width": 64, "depth": 2, "heads": 4},
    "rnn": {"family": "rnn", "cell": "lstm", "width": 128, "depth": 2},
}


def get_config(family: str = "decoder") -> ConfigDict:
    """The config for a decoder or an rnn. Raises UserError for another."""
    if family not in MODELS:
        raise UserError(f"scan has no config for {family!r}; choose {' or '.join(MODELS)}")
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict(MODELS[family])
    config.objective = ConfigDict({"name": "seq2seq", "measures": ["exact_match"]})
    config.data = ConfigDict(
        {
            "source": {"name": "pairs", **files("simple")},
            "tokenizer": {"name": "words", "least_count": 1},
            "length": 49,
            "context_length": 10,
        }
    )
    config.optimizer = ConfigDict({"peak_rate": 3e-3})
    config.schedule = ConfigDict({"warmup_steps": 100})
    config.train = ConfigDict(
        {"steps": 4000, "batch_size": 64, "log_every_steps": 100, "eval_every_steps": 1000}
    )
    return config


def files(split: str) -> dict[str, str]:
    """Where the pairs of a split are, and how a line is read."""
    return {
        "path": published.file("scan", f"{split}_split", f"tasks_train_{split}.txt.gz"),
        "heldout_path": published.file("scan", f"{split}_split", f"tasks_test_{split}.txt.gz"),
        "form": "lines",
        "pattern": "IN: (.*) OUT: (.*)",
    }
