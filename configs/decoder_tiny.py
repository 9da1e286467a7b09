"""A small byte-level decoder on the source of the Python standard library.

Command:  lm-lab train --config=configs/decoder_tiny.py --workdir=runs/decoder_tiny
Cost:     about a minute on 4 CPU cores
Result:   2.240 bits per byte on held-out text (the yardstick of configs/moe_tiny.py)
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict({"family": "decoder", "width": 128, "depth": 4, "heads": 4})
    config.objective = ConfigDict({"name": "causal"})
    config.data = ConfigDict({"source": "stdlib", "tokenizer": "byte", "length": 128})
    config.optimizer = ConfigDict({"peak_rate": 3e-3})
    config.schedule = ConfigDict({"warmup_steps": 30})
    config.train = ConfigDict(
        {"steps": 300, "batch_size": 32, "eval_every_steps": 100, "checkpoint_every_steps": 100}
    )
    return config
