"""lm-lab convert: make a model of transformers one of lm_lab, or the other way.

  lm-lab convert --from=openai-community/gpt2 --to=runs/gpt2
  lm-lab convert --from=runs/a --to=exported/a

  --from=FOLDER               a run's directory, a folder of transformers, or the name of one on the Hugging Face hub
  --to=FOLDER                 a new one: of a run's model a folder of transformers, of theirs a run's directory
  --dtype=DTYPE               float32 or bfloat16 (default: as the run has it; of transformers, float32)
  --architecture=NAME         what a run is written as (default: the first that can express its model)
  --base=FOLDER               of an adapter as PEFT writes it: a run's directory, folder or hub's name, as for --from,
                              of the model that it was trained on (default: what its adapter_config.json says)
  --allow_nonfinite           take weights that are NaN or infinite, which are refused else

Tokenizer files go along. A run's directory that was made so has a config.json with what is known, and a checkpoint;
`lm-lab generate` takes it where the tokenizer is a byte-level BPE and the model a decoder.
"""

import dataclasses
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from lm_lab import config as configs
from lm_lab.cli import arguments
from lm_lab.data.tokenizers import hugging_face
from lm_lab.interop import folder, origin, peft
from lm_lab.nn.trees import flatten
from lm_lab.train import restore
from lm_lab.types import UserError

FLAGS = flags.FlagValues()
FROM = flags.DEFINE_string("from", None, "the model", allow_overwrite=False, flag_values=FLAGS)
TO = flags.DEFINE_string("to", None, "what is written", allow_overwrite=False, flag_values=FLAGS)
DTYPE = flags.DEFINE_enum("dtype", None, ["float32", "bfloat16"], "of parameters", flag_values=FLAGS)
ARCHITECTURE = flags.DEFINE_string("architecture", None, "to write", allow_overwrite=False, flag_values=FLAGS)
BASE = flags.DEFINE_string("base", None, "of an adapter", allow_overwrite=False, flag_values=FLAGS)
NONFINITE = flags.DEFINE_bool("allow_nonfinite", False, "NaN and infinite weights", flag_values=FLAGS)

TOKENIZER = "tokenizer.json"


def run(argv: list[str]) -> int:
    """Says what was written. Raises UserError, and then nothing was."""
    if extra := arguments.parse(FLAGS, argv, "convert"):
        raise UserError(f"unexpected argument {extra[0]!r}; see lm-lab convert --help")
    if not FROM.value or not TO.value:
        raise UserError("--from=FOLDER and --to=FOLDER are needed; see lm-lab convert --help")
    target = Path(TO.value).expanduser()
    folder.check_free(target)
    place = origin.locate(FROM.value)
    if peft.is_adapter(place):
        return _convert_adapter(place, target)
    if BASE.value:
        raise UserError(f"--base is for the folder of an adapter, and {place} is none; leave it out")
    family, config, params = origin.load(place, DTYPE.value, allow_nonfinite=NONFINITE.value)
    beside = [place / name for name in origin.TOKENIZER if (place / name).is_file()]
    if origin.is_run(place):
        architecture = folder.save(target, family, config, params, ARCHITECTURE.value, beside)
        print(f"{target}: {architecture}, from the {family} in {place}")
        return 0
    if ARCHITECTURE.value:
        raise UserError("--architecture is for what is written for transformers; leave it out")
    with folder.drafted(target) as draft:
        _write_run(draft, target, place, family, config, params)
    print(f"{target}: {family}, from {place}")
    return 0


def _write_run(draft: Path, target: Path, place: Path, family: str, config: Any, params: Any) -> dict[str, Any]:
    """The files of a run that ended in a foreign model; returns its config.json's values."""
    values = describe(place, target, family, config)
    (draft / "config.json").write_text(json.dumps(values, indent=2) + "\n", "utf-8")
    restore.write_params(draft, params)
    for name in origin.TOKENIZER:
        if (place / name).is_file():
            shutil.copy(place / name, draft)
    return values


def _convert_adapter(place: Path, target: Path) -> int:
    """A run that trained the adapter, beside its base: that of --base, or a folder `base` in its own directory."""
    if ARCHITECTURE.value:
        raise UserError("--architecture is for what is written for transformers; leave it out")
    base = _base_of(place)
    family, config, params = origin.load(base, DTYPE.value, allow_nonfinite=NONFINITE.value)
    settings, adapters = peft.load(place, family, config)
    kept = DTYPE.value or str(next(iter(flatten(params).values())).dtype)
    with folder.drafted(target) as draft:
        if origin.is_run(base):
            initial, values = base.absolute(), restore.read_config(base)
            values = {name: section for name, section in values.items() if name != "identity"}
        else:
            initial = target.absolute() / "base"
            (draft / "base").mkdir()
            values = _write_run(draft / "base", initial, base, family, config, params)
        values["adapter"] = {"name": "lora"} | dataclasses.asdict(settings)
        values["train"] = values.get("train", {}) | {"initial": str(initial)}
        values["precision"] = values.get("precision", {}) | {"parameters": kept}
        (draft / "config.json").write_text(json.dumps(values, indent=2) + "\n", "utf-8")
        trained = {"lora": jax.tree.map(lambda x: jnp.asarray(x, kept), adapters)}
        restore.write_params(draft, trained, jax.tree.map(lambda x: jnp.asarray(x, kept), params))
    print(f"{target}: the adapter in {place} of the {family} in {base}")
    return 0


def _base_of(place: Path) -> Path:
    named = BASE.value or peft.read_config(place).get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise UserError(f"{place}: its adapter_config.json names no base; give --base=FOLDER")
    found = origin.locate(named)
    if not found.exists():
        raise UserError(f"{place}: its base {named} is not there; give --base=FOLDER")
    return found


def describe(place: Path, target: Path, family: str, config: Any) -> dict[str, Any]:
    """The config.json of a run that ended in this model, as far as the folder tells: the model, and where it goes on
    with text by a tokenizer that we read, all that generation asks for."""
    model = {"family": family} | dataclasses.asdict(config)
    if not (place / TOKENIZER).is_file() or importlib.util.find_spec("tokenizers") is None:
        return {"model": model}
    file = place / TOKENIZER
    try:
        hugging_face.make(hugging_face.Config(str(file)))
    except UserError:  # one of another kind, or without a usual end
        return {"model": model}
    if config.sees != "past" or config.reads_context:
        return {"model": model}
    data = {"tokenizer": "hugging_face", "tokenizer_file": str(file), "length": min(config.length, 1024)}
    sections = {"model": model, "objective": {"name": "causal"}, "data": data, "train": {"steps": 1}}
    _, resolved = configs.resolve(configs.ConfigDict(sections))
    resolved["data"]["tokenizer_file"] = str(target / TOKENIZER)
    return resolved
