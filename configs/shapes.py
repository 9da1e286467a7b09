"""A small byte-level model of any architecture that lm-lab convert writes for transformers, on the
source of the Python standard library: what the architecture fixes is so, the rest as the family has
it.

Command:  lm-lab train --config=configs/shapes.py:llama --workdir=runs/llama
          lm-lab convert --from=runs/llama --to=exported/llama
          with any file of lm_lab/interop that is a mapping in the place of llama: gpt2, bert, t5,
          bart, mamba ...
Cost:     one to three minutes on 4 CPU cores
Result:   a folder that transformers loads with no key missing and none left over
          (tests/interop/test_shapes.py)
"""

import dataclasses

from ml_collections import ConfigDict

from lm_lab import registry
from lm_lab.interop import architectures, nearest
from lm_lab.interop.fields import nested
from lm_lab.schema import suggest
from lm_lab.types import UserError

SIZES = {"width": 128, "depth": 4, "heads": 4}


def get_config(shape: str = "llama") -> ConfigDict:
    mappings = architectures.mappings()
    if shape not in mappings:
        raise UserError(f"configs/shapes.py has no {shape!r}; {suggest(shape, list(mappings))}")
    mapping = mappings[shape]
    family = registry.load("models", mapping.family, "family")
    fields = {field.name for field in dataclasses.fields(family.Config)}
    sizes = {name: SIZES[name] for name in SIZES if name in fields}
    of_data = {
        name: 128 for name in ("vocab", "length") if name in fields
    }  # any: data and tokenizer decide them
    model = family.Config(**sizes, **of_data)
    found = nearest.changes(mapping, model)
    assert found is not None, f"the defaults of {mapping.family} do not lead to {shape}"
    objective = "causal" if family.scope_of(model) == "causal" else "masked"
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict({"family": mapping.family, **sizes, **nested(found[1])})
    config.objective = ConfigDict(
        {"name": "span_corruption" if family.needs_context else objective}
    )
    config.data = ConfigDict({"source": "stdlib", "tokenizer": "byte", "length": 128})
    config.optimizer = ConfigDict({"peak_rate": 3e-3})
    config.schedule = ConfigDict({"warmup_steps": 30})
    config.train = ConfigDict(
        {"steps": 300, "batch_size": 32, "eval_every_steps": 100, "checkpoint_every_steps": 100}
    )
    return config
