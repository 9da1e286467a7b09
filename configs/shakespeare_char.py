"""nanoGPT's CPU recipe on Tiny Shakespeare: 4 layers, 4 heads, width
128, context 64, batch 12, 2,000 steps.

Published: 1.88 nats a character on the validation tenth (nanoGPT's README).
Command:   lm-lab train --config=configs/shakespeare_char.py --workdir=runs/shakespeare
           with input.txt of github.com/karpathy/char-rnn, in data/tinyshakespeare (LM_LAB_DATA for
           data)
Cost:      about a minute on 4 CPU cores
Result:    1.666 nats a character after 2,000 steps, with rotary positions and RMSNorm where nanoGPT
           has neither
"""

from ml_collections import ConfigDict

from lm_lab.data import published


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.model = ConfigDict({"family": "decoder", "width": 128, "depth": 4, "heads": 4})
    config.objective = ConfigDict({"name": "causal"})
    text = published.file("tinyshakespeare", "input.txt")
    source = {"name": "text", "path": text}
    config.data = ConfigDict({"source": source, "length": 64, "split": "tail"})
    config.optimizer = ConfigDict({"peak_rate": 1e-3})
    config.schedule = ConfigDict({"warmup_steps": 100})
    config.train = ConfigDict(
        {"steps": 2000, "batch_size": 12, "eval_every_steps": 250, "eval_batches": 200}
    )
    return config
