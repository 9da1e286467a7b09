"""Grapheme to phoneme, SIGMORPHON 2020 task 1: a language's spelling to
its sounds, learnt from 3,600 words.

g2p.py:kor and so on; Hangul is spelt in letters (NFD). Read on the
development set, for the test set is not at hand.

Published: word error rate of the LSTM baseline on the test sets, 16.8 % over 15 languages (Gorman
           et al. 2020, 10.18653/v1/2020.sigmorphon-1.2); from memory, kor 46.9, gre 18.9, hun 5.3 %
           (all 15 so remembered have the published mean)
Command:   lm-lab train --config=configs/g2p.py:kor --workdir=runs/g2p_kor
           with task1/data of github.com/sigmorphon/2020 in data/sigmorphon2020_g2p (LM_LAB_DATA for
           data)
Cost:      6 to 10 minutes on one busy CPU core
Result:    on the development sets, one seed: kor 20.2 % (in syllables, as the baseline had it,
           40.7), gre 22.0 (by NFD 25.3), hun 8.2 (NFD 7.3); a difference of 2 to 4 is within the
           noise of 450 words
"""

from ml_collections import ConfigDict

from lm_lab.data import published

LENGTHS = {"lit": (36, 42)}  # sounds and letters of the longest word, with the end
UNICODE = {"kor": "NFD"}


MODEL = {
    "family": "encoder_decoder",
    "width": 128,
    "depth": 2,
    "heads": 4,
    "feed_forward_dim": 256,
    "norm": "layer",
    "norm_bias": True,
    "positions": "sinusoidal",
    "score_scaling": True,
    "bias": True,
    "dropout": 0.3,
}


def get_config(language: str = "kor") -> ConfigDict:
    """The config for one of arm bul fre geo gre hin hun ice kor lit."""
    length, context_length = LENGTHS.get(language, (24, 26))
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict(MODEL)
    config.objective = ConfigDict({"name": "seq2seq", "measures": ["word_error_rate", "edit_rate"]})
    config.objective.beams = 5
    source = {
        "name": "pairs",
        "path": published.file("sigmorphon2020_g2p", "train", f"{language}_train.tsv"),
        "heldout_path": published.file("sigmorphon2020_g2p", "dev", f"{language}_dev.tsv"),
        "spell": "source",
        "unicode": UNICODE.get(language, "given"),
    }
    config.data = ConfigDict({"source": source, "tokenizer": {"name": "words", "least_count": 1}})
    config.data.update({"length": length, "context_length": context_length})
    config.optimizer = ConfigDict({"peak_rate": 1e-3, "beta2": 0.98})
    config.schedule = ConfigDict({"warmup_steps": 100})
    config.train = ConfigDict(
        {"steps": 3000, "batch_size": 64, "log_every_steps": 100, "eval_every_steps": 500}
    )
    return config
