"""Is a sentence of a film review kind? SST-2 of GLUE (1804.07461) from TensorFlow Datasets.

Published: BERT base 93.5 %, fine-tuned (1810.04805)
Command:   lm-lab train --config=configs/sst2.py --workdir=runs/sst2
           with glue/sst2 prepared in data/tensorflow_datasets (LM_LAB_DATA for data); the error
           says how
Cost:      not run here: the data set is not at hand
"""

from ml_collections import ConfigDict

from lm_lab.data import published


def get_config() -> ConfigDict:
    """A small encoder from scratch on 67,349 phrases, judged on the 872 of validation."""
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict({"family": "encoder", "width": 128, "depth": 4, "heads": 4})
    config.objective = ConfigDict({"name": "classification", "classes": 2, "pooling": "mean"})
    source = {"name": "tfds", "dataset": "glue/sst2", "text": "sentence", "label": "label"}
    source |= {"heldout_split": "validation", "data_dir": published.file("tensorflow_datasets")}
    config.data = ConfigDict({"source": source, "tokenizer": "byte", "length": 288})
    config.optimizer = ConfigDict({"peak_rate": 1e-3})
    config.schedule = ConfigDict({"warmup_steps": 100})
    config.train = ConfigDict({"steps": 3000, "batch_size": 64, "eval_every_steps": 500})
    return config
