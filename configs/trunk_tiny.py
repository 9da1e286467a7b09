"""A warm-up, a long stable part and a short decay (2404.06395): a trunk for shorter runs to leave.

Command:  lm-lab train --config=configs/trunk_tiny.py --workdir=runs/trunk
          lm-lab train --config=configs/trunk_tiny.py --workdir=runs/branch_100
              --config.train.steps=100 --config.train.branch_step=80
              --config.train.branch_from=runs/trunk
Cost:     15 and 8 CPU-seconds, most of them to compile; 1.8e11 and 1.8e10 FLOPs
Result:   3.04 and 3.35 bits per byte of held-out text; the second run is that of
          --config.train.steps=100 in one go, to the bit, at a fifth of its FLOPs
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict({"family": "decoder", "width": 64, "depth": 2, "heads": 2})
    config.objective = ConfigDict({"name": "causal"})
    config.data = ConfigDict({"source": "stdlib", "tokenizer": "byte", "length": 128})
    config.optimizer = ConfigDict({"peak_rate": 5e-3})
    config.schedule = ConfigDict({"name": "wsd", "warmup_steps": 20, "decay_fraction": 0.2})
    config.train = ConfigDict({"steps": 200, "batch_size": 8, "keep_steps": (40, 80)})
    return config
