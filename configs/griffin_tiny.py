"""A small byte-level Griffin (2402.19427): two recurrent layers and one
of local attention, and one left over.

Command:  lm-lab train --config=configs/griffin_tiny.py --workdir=runs/griffin_tiny
Cost:     about a minute on 4 CPU cores
Result:   1.95 bits per byte on held-out text; speed in docs/speed.md
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict(
        {
            "family": "state_space",
            "block": "rg_lru",
            "attention_every": 3,
            "window": 64,
            "width": 128,
            "depth": 4,
            "heads": 4,
        }
    )
    config.objective = ConfigDict({"name": "causal"})
    config.data = ConfigDict({"source": "stdlib", "tokenizer": "byte", "length": 128})
    config.optimizer = ConfigDict({"peak_rate": 3e-3})
    config.schedule = ConfigDict({"warmup_steps": 30})
    config.train = ConfigDict(
        {"steps": 300, "batch_size": 32, "eval_every_steps": 100, "checkpoint_every_steps": 100}
    )
    return config
