"""A small byte-level T5 that restores hidden spans of the source of the
Python standard library (1910.10683).

Command:  lm-lab train --config=configs/encoder_decoder_tiny.py --workdir=runs/encoder_decoder_tiny
Cost:     three and a half minutes on 4 busy CPU cores, 2.1e13 FLOPs
Result:   held out, 4.76 bits per byte of the hidden spans, with the sentinels that say where each
          ends
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict({"family": "encoder_decoder", "width": 128, "depth": 2, "heads": 4})
    config.objective = ConfigDict({"name": "span_corruption"})
    config.data = ConfigDict({"source": "stdlib", "tokenizer": "byte", "length": 128})
    config.optimizer = ConfigDict({"peak_rate": 3e-3})
    config.schedule = ConfigDict({"warmup_steps": 30})
    config.train = ConfigDict(
        {"steps": 1500, "batch_size": 32, "eval_every_steps": 300, "checkpoint_every_steps": 500}
    )
    return config
