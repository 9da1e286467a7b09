"""The small decoder of decoder_tiny.py, of Python source, adapted to Tiny
Shakespeare by low-rank adapters of rank 8.

Command:  lm-lab train --config=configs/decoder_tiny.py --workdir=runs/decoder_tiny
          lm-lab train --config=configs/lora_tiny.py --workdir=runs/lora_tiny
          with input.txt of github.com/karpathy/char-rnn, in data/tinyshakespeare (LM_LAB_DATA for
          data)
Cost:     two minutes on 4 busy CPU cores, 5.5e12 FLOPs (full fine-tuning 7.0e12, and no slower on a
          CPU)
Result:   held out, 2.60 bits per byte, from 4.16 before; 73,728 parameters are trained beside
          853,376. Full fine-tuning (--config.adapter="{'name':'none'}", peak_rate 1e-3) reaches
          2.52.
"""

from ml_collections import ConfigDict

from lm_lab.data import published


def get_config() -> ConfigDict:
    text = published.file("tinyshakespeare", "input.txt")
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict({"family": "decoder", "width": 128, "depth": 4, "heads": 4})
    config.objective = ConfigDict({"name": "causal"})
    config.adapter = ConfigDict({"name": "lora", "rank": 8, "alpha": 16.0})
    source = {"name": "text", "path": text}
    config.data = ConfigDict({"source": source, "length": 128, "split": "tail"})
    config.optimizer = ConfigDict({"peak_rate": 1e-2, "weight_decay": 0.0})
    config.schedule = ConfigDict({"warmup_steps": 30})
    config.train = ConfigDict(
        {"initial": "runs/decoder_tiny", "steps": 300, "batch_size": 32, "eval_every_steps": 100}
    )
    return config
