"""SCAN, length split (1711.00350): trained on actions of up to 22,
tested on longer ones, of 24 to 48.

The same models as on the simple split (scan_length.py:rnn for the LSTM), and their collapse.

Published: LSTM 13.8 % (1711.00350)
Command:   lm-lab train --config=configs/scan_length.py --workdir=runs/scan_length
           with length_split of github.com/brendenlake/SCAN in data/scan (LM_LAB_DATA for data)
Cost:      4 minutes on one CPU core; LSTM 8
Result:    14.8 % exact match with the LSTM and 0.1 % with the decoder, of all 3,920 test commands;
           100 and 99.7 % on the simple split
"""

from pathlib import Path

from ml_collections import ConfigDict

from lm_lab import config as configs
from lm_lab.data import published


def get_config(family: str = "decoder") -> ConfigDict:
    """The config for a decoder or an rnn: that of the simple split, on the other files."""
    simple = configs.load(f"{Path(__file__).with_name('scan_simple.py')}:{family}")
    sides = {"data.source.path": "train", "data.source.heldout_path": "test"}
    files = {
        key: published.file("scan", "length_split", f"tasks_{side}_length.txt.gz")
        for key, side in sides.items()
    }
    return configs.override(simple, files)
