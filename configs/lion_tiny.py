"""The decoder of configs/decoder_tiny.py with Lion in the place of AdamW (2302.06675).

Command:  lm-lab train --config=configs/lion_tiny.py --workdir=runs/lion_tiny
Cost:     about a minute on 4 CPU cores
Result:   2.54 bits per byte on held-out text (one seed, rate and decay not searched)
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict({"family": "decoder", "width": 128, "depth": 4, "heads": 4})
    config.objective = ConfigDict({"name": "causal"})
    config.data = ConfigDict({"source": "stdlib", "tokenizer": "byte", "length": 128})
    config.optimizer = ConfigDict({"name": "lion", "peak_rate": 1e-3, "weight_decay": 0.3})
    config.schedule = ConfigDict({"warmup_steps": 30})
    config.train = ConfigDict(
        {"steps": 300, "batch_size": 32, "eval_every_steps": 100, "checkpoint_every_steps": 100}
    )
    return config
