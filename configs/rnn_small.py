"""A small byte-level LSTM on the source of the Python standard
library, beside configs/decoder_tiny.py.

Command:  lm-lab train --config=configs/rnn_small.py --workdir=runs/rnn_small
Cost:     about a minute on 4 CPU cores
Result:   2.09 bits per byte of held-out text, with the library of Python 3.11
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict({"family": "rnn", "cell": "lstm", "width": 160, "depth": 3})
    config.objective = ConfigDict({"name": "causal"})
    config.data = ConfigDict({"source": "stdlib", "tokenizer": "byte", "length": 128})
    config.optimizer = ConfigDict({"peak_rate": 5e-3})
    config.schedule = ConfigDict({"warmup_steps": 30})
    config.train = ConfigDict(
        {"steps": 300, "batch_size": 32, "eval_every_steps": 100, "checkpoint_every_steps": 100}
    )
    return config
