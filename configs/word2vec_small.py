"""Skip-gram vectors of the words of the Python standard library's source (1310.4546).

Command:  lm-lab train --config=configs/word2vec_small.py --workdir=runs/word2vec_small
Cost:     about a minute on 4 CPU cores
Result:   of six candidates the neighbour scores highest in 37 % of held-out pairs (first at random:
          17 %), loss 2.45; "the" is nearest to "a" and "an", "if" to "elif", "x" to "i", "y" and
          "b" (lm_lab/evaluation/metrics/vectors.py)
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict({"family": "word2vec", "width": 64})
    config.objective = ConfigDict({"name": "word2vec", "kind": "skip_gram"})
    config.data = ConfigDict(
        {
            "source": "stdlib",
            "tokenizer": {"name": "words", "least_count": 1, "most_words": 4096},
            "length": 128,
        }
    )
    config.optimizer = ConfigDict({"peak_rate": 5e-3, "weight_decay": 0.0})
    config.schedule = ConfigDict({"warmup_steps": 30})
    config.train = ConfigDict(
        {"steps": 1000, "batch_size": 32, "eval_every_steps": 500, "checkpoint_every_steps": 500}
    )
    return config
