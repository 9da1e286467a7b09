"""Is a Korean film review kind? A linear probe of what a trained
model's features say, whatever its family.

probe_nsmc.py:runs/mamba_tiny probes that run; its config.json says which model it is. The features
stay as they are and a head learns to read them; --config.adapter.name=none tunes the whole model,
and lora its adapters.

Command:  lm-lab train --config=configs/decoder_tiny.py --workdir=runs/decoder_tiny
          lm-lab train --config=configs/probe_nsmc.py:runs/decoder_tiny --workdir=runs/probe
          with ratings_train.txt.gz of github.com/e9t/nsmc in data/nsmc (LM_LAB_DATA for data)
Cost:     four minutes on 4 busy CPU cores, 6.6e12 FLOPs
Result:   55.9 % of the held-out 2 % of reviews, about half of them kind: features of a model that
          read Python alone say little of them. All families, frozen and tuned: docs/results.md.
          Published: KoBERT 89.6 %, fine-tuned
"""

import json
from pathlib import Path

from ml_collections import ConfigDict

from lm_lab.data import published

DECODER_TINY = {"family": "decoder", "width": 128, "depth": 4, "heads": 4}


def get_config(run: str = "runs/decoder_tiny") -> ConfigDict:
    """The config for a probe of the run; its model is that of
    decoder_tiny.py where the run is not there yet.
    """
    stored = Path(run).expanduser() / "config.json"
    model = json.loads(stored.read_text())["model"] if stored.exists() else DECODER_TINY
    reviews = published.file("nsmc", "ratings_train.txt.gz")
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict({name: value for name, value in model.items() if name != "length"})
    config.objective = ConfigDict({"name": "classification", "classes": 2, "pooling": "mean"})
    config.adapter = ConfigDict({"name": "freeze"})
    source = {"name": "labelled", "path": reviews, "header": True}
    source |= {"text": ["document"], "label": "label"}
    config.data = ConfigDict({"source": source, "length": 424, "holdout_fraction": 0.02})
    config.optimizer = ConfigDict({"peak_rate": 1e-2})
    config.schedule = ConfigDict({"warmup_steps": 30})
    config.train = ConfigDict(
        {"initial": run, "steps": 200, "batch_size": 32, "log_every_steps": 20}
    )
    return config
