"""A small byte-level Mamba (2312.00752) on the source of the Python standard library.

Command:  lm-lab train --config=configs/mamba_tiny.py --workdir=runs/mamba_tiny
Cost:     about two minutes on 4 CPU cores
Result:   1.96 bits per byte on held-out text; speed in docs/speed.md
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict({"family": "state_space", "block": "mamba", "width": 128, "depth": 4})
    config.objective = ConfigDict({"name": "causal"})
    config.data = ConfigDict({"source": "stdlib", "tokenizer": "byte", "length": 128})
    config.optimizer = ConfigDict({"peak_rate": 3e-3})
    config.schedule = ConfigDict({"warmup_steps": 30})
    config.train = ConfigDict(
        {"steps": 300, "batch_size": 32, "eval_every_steps": 100, "checkpoint_every_steps": 100}
    )
    return config
