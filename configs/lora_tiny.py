"""The small decoder of decoder_tiny.py, of Python source, adapted to Tiny Shakespeare by low-rank adapters of rank 8.

Command:  lm-lab train --config=configs/decoder_tiny.py --workdir=runs/decoder_tiny
          lm-lab train --config=configs/lora_tiny.py --workdir=runs/lora_tiny
          with input.txt of github.com/karpathy/char-rnn, data/tinyshakespeare, in ../shared/data (LM_LAB_SHARED)
Cost:     TO MEASURE
Result:   TO MEASURE
"""

import os
from pathlib import Path

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    text = Path(os.environ.get("LM_LAB_SHARED", "../shared"), "data", "tinyshakespeare", "input.txt")
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict({"family": "decoder", "width": 128, "depth": 4, "heads": 4})
    config.objective = ConfigDict({"name": "causal"})
    config.adapter = ConfigDict({"name": "lora", "rank": 8, "alpha": 16.0})
    config.data = ConfigDict({"source": "text", "path": str(text), "length": 128, "split": "tail"})
    config.optimizer = ConfigDict({"peak_rate": 1e-2, "warmup_steps": 30, "weight_decay": 0.0})
    config.train = ConfigDict({"initial": "runs/decoder_tiny", "steps": 300, "batch_size": 32, "eval_every_steps": 100})
    return config
