"""Multi-query associative recall (2312.04927): does a model look up what it was told?

mqar.py:decoder, mqar.py:lstm or mqar.py:mamba: one small model of each kind, 8 keys with values to
be told and asked. The floor of the loss is exact, and so is what a model loses that recalls
nothing: lm_lab/data/sources/associative_recall.py.

Published: attention solves it at any width; recurrent models need a width that grows with the pairs
           (2312.04927)
Command:   lm-lab train --config=configs/mqar.py:decoder --workdir=runs/mqar_decoder
Cost:      two CPU-minutes on one core (decoder, 4.7e12 FLOPs)
Result:    bits a byte of held-out documents, one seed: decoder 2.444, LSTM 3.002; the floor is
           2.383, and 3.383 without any recall. Mamba was not run to the end
"""

from ml_collections import ConfigDict

from lm_lab.data.sources import associative_recall
from lm_lab.types import UserError

MODELS = {
    "decoder": {"family": "decoder", "width": 64, "depth": 2, "heads": 2},
    "lstm": {"family": "rnn", "cell": "lstm", "width": 64, "depth": 2},
    "mamba": {"family": "state_space", "width": 64, "depth": 2},
}


def get_config(family: str = "decoder") -> ConfigDict:
    """The config for one of the models. Raises UserError for another."""
    if family not in MODELS:
        raise UserError(f"mqar has no config for {family!r}; choose one of {', '.join(MODELS)}")
    task = associative_recall.Config(keys=16, values=16, pairs=8, queries=8, documents=100_000)
    source = {"name": "associative_recall", **vars(task)}
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict(MODELS[family])
    config.objective = ConfigDict({"name": "causal"})
    # a window is one document and its end
    length = associative_recall.document_characters(task) + 1
    config.data = ConfigDict({"source": source, "tokenizer": "byte", "length": length})
    config.optimizer = ConfigDict({"peak_rate": 3e-3})
    config.schedule = ConfigDict({"warmup_steps": 100})
    config.train = ConfigDict(
        {"steps": 3000, "batch_size": 64, "log_every_steps": 100, "eval_every_steps": 500}
    )
    return config
