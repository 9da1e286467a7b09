"""lm-lab convert: convert a model of transformers to lm_lab, or a run's model to transformers.

  lm-lab convert --from=openai-community/gpt2 --to=runs/gpt2
  lm-lab convert --from=runs/a --to=exported/a

  --from=FOLDER               a run's directory, a transformers folder, or a name on the hub
  --to=FOLDER                 a new folder: transformers' if --from is a run, else a run's directory
  --dtype=DTYPE               float32 or bfloat16 (default: the run's; float32 for transformers)
  --architecture=NAME         the architecture to write (default: the first that fits the model)
  --base=FOLDER               for a PEFT adapter: the model on which it was trained, as for --from
                              (default: the one that its adapter_config.json names)
  --average                   of a run: the moving average of its parameters, if it kept one
  --allow_nonfinite           accept weights that are NaN or infinite; without it they are refused

What belongs to the weights is converted too: tokenizer files, chat templates, special ids, settings
of generation. The new run's directory has a config.json with what is known, and a checkpoint;
`generate` and train.initial use it with its tokenizer (tokenizer.json, vocab.txt, vocab.json with
merges.txt, or SentencePiece's models). If a tokenizer cannot be read, a line says why.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from lm_lab import config as configs
from lm_lab import registry
from lm_lab.cli import arguments
from lm_lab.data import loader
from lm_lab.data.text import Text
from lm_lab.interop import folder, origin, peft, tokenizers
from lm_lab.nn.trees import flatten
from lm_lab.plain import plain
from lm_lab.runs.config import write_config
from lm_lab.schema import build
from lm_lab.train import carried, restore, trained_on
from lm_lab.train.task import bind
from lm_lab.types import UserError

FLAGS = flags.FlagValues()
FROM = flags.DEFINE_string("from", None, "the model", allow_overwrite=False, flag_values=FLAGS)
TO = flags.DEFINE_string("to", None, "what is written", allow_overwrite=False, flag_values=FLAGS)
DTYPE = flags.DEFINE_enum(
    "dtype", None, ["float32", "bfloat16"], "of parameters", flag_values=FLAGS
)
ARCHITECTURE = flags.DEFINE_string(
    "architecture", None, "to write", allow_overwrite=False, flag_values=FLAGS
)
BASE = flags.DEFINE_string("base", None, "of an adapter", allow_overwrite=False, flag_values=FLAGS)
NONFINITE = flags.DEFINE_bool(
    "allow_nonfinite", False, "NaN and infinite weights", flag_values=FLAGS
)

AVERAGE = flags.DEFINE_bool(
    "average", False, "the moving average of a run's parameters", flag_values=FLAGS
)

LENGTH = 1024  # most windows that a run's config names


def run(argv: list[str]) -> int:
    """Converts, and prints what was written. If it raises UserError, nothing was written."""
    if extra := arguments.parse(FLAGS, argv, "convert"):
        raise UserError(f"unexpected argument {extra[0]!r}; see lm-lab convert --help")
    if not FROM.value or not TO.value:
        raise UserError("--from=FOLDER and --to=FOLDER are needed; see lm-lab convert --help")
    target = arguments.path(TO.value, "--to=")
    folder.check_free(target)
    arguments.path(FROM.value, "--from=")
    place = origin.locate(
        FROM.value
    )  # as given: "./a" is a folder, and "a" may be a name on the hub
    if peft.is_adapter(place):
        return _convert_adapter(place, target)
    if BASE.value:
        raise UserError(
            f"--base is for the folder of an adapter, and {place} is none; leave it out"
        )
    if AVERAGE.value and not origin.is_run(place):
        raise UserError(f"--average is for runs, and {place} is none; leave it out")
    family, config, params = origin.load(
        place, DTYPE.value, allow_nonfinite=NONFINITE.value, average=AVERAGE.value
    )
    if origin.is_run(place):
        architecture = folder.save(
            target, family, config, params, ARCHITECTURE.value, *kept_in(place)
        )
        print(f"{target}: {architecture}, from the {family} in {place}")
        return 0
    if ARCHITECTURE.value:
        raise UserError("--architecture is for what is written for transformers; leave it out")
    with folder.drafted(target) as draft:
        _, why = _write_run(draft, place, family, config, params)
    print(f"{target}: {family}, from {place}{_without(why)}")
    return 0


def _without(why: str) -> str:
    return f"; without a tokenizer: {why}" if why else ""


def _write_run(
    draft: Path, place: Path, family: str, config: Any, params: Any
) -> tuple[dict[str, Any], str]:
    """Writes the directory of a run whose trained model is the foreign one; returns the result of
    `describe`.
    """
    values, why = describe(place, family, config)
    write_config(draft, values)
    restore.write_params(draft, params, text=trained_on.NO_TEXT)
    carried.copy(carried.files_in(place), draft / carried.TOKENIZER)
    carried.copy(carried.files_in(place, carried.SETTINGS), draft / carried.FOREIGN)
    return values, why


def _convert_adapter(place: Path, target: Path) -> int:
    """A run that trained the adapter, beside its base: that of
    --base, or a folder `base` inside it.
    """
    if ARCHITECTURE.value:
        raise UserError("--architecture is for what is written for transformers; leave it out")
    base = _base_of(place)
    family, config, params = origin.load(base, DTYPE.value, allow_nonfinite=NONFINITE.value)
    settings, adapters = peft.load(place, family, config)
    dtype = DTYPE.value or str(next(iter(flatten(params).values())).dtype)
    with folder.drafted(target) as draft:
        if origin.is_run(base):
            initial, values = (
                base.absolute(),
                carried.hand_on(base, draft, restore.read_config(base)),
            )
        else:
            initial = target.absolute() / "base"
            (draft / "base").mkdir()
            values, _ = _write_run(draft / "base", base, family, config, params)
            values = carried.hand_on(draft / "base", draft, values)
        values["adapter"] = {"name": "lora"} | plain(settings)
        values["train"] = values.get("train", {}) | {"initial": str(initial)}
        values["precision"] = values.get("precision", {}) | {"parameters": dtype}
        write_config(draft, values)
        trained = {"lora": jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), adapters)}
        text = trained_on.text_of(base) if origin.is_run(base) else trained_on.NO_TEXT
        frozen = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)
        restore.write_params(draft, trained, frozen, text)
    print(f"{target}: the adapter in {place} of the {family} in {base}")
    return 0


def _base_of(place: Path) -> Path:
    named = BASE.value or peft.read_config(place).get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise UserError(f"{place}: its adapter_config.json names no base; give --base=FOLDER")
    base = origin.locate(named)
    if not base.exists():
        raise UserError(f"{place}: its base {named} is not there; give --base=FOLDER")
    return base


def describe(place: Path, family: str, config: Any) -> tuple[dict[str, Any], str]:
    """(config.json of a run whose trained model is this one, why its tokenizer cannot be read or
    "").

    With a tokenizer it has all that generation needs; the objective
    is the one usual for its family.
    """
    model = {"family": family} | plain(config)
    tokenizer, why = tokenizers.find(place)
    if why:
        return {"model": model}, why
    data = {"tokenizer": tokenizer, "length": min(model.get("length") or LENGTH, LENGTH)}
    objective = "causal"
    contract = registry.load("models", family, "family")
    if contract.needs_context:
        objective, data = "seq2seq", data | {"source": {"name": "pairs", "path": ""}}
    elif contract.scope_of(config) == "bidirectional":
        objective = "masked"
    sections = {
        "model": model,
        "objective": {"name": objective},
        "data": data,
        "train": {"steps": 1},
    }
    try:
        resolved = dict(bind(*configs.resolve(configs.wrap(sections), stored=True)).values)
    except UserError as error:
        return {"model": model}, str(error)
    return carried.relative(resolved), ""


def kept_in(place: Path) -> tuple[list[Path], dict[str, Any], dict[str, Any]]:
    """(files to copy into a run's directory, fields for its config.json, files of JSON to write):
    of the tokenizer and the original model.
    """
    files = carried.files_in(place / carried.TOKENIZER) or carried.files_in(place)
    config, generation = (place / carried.FOREIGN / name for name in carried.SETTINGS)
    if config.exists():
        return (
            files + carried.files_in(generation.parent, [generation.name]),
            folder.read_config(config.parent),
            {},
        )
    stored = carried.anchored(place, restore.read_config(place))
    if "data" not in stored:
        return files, {}, {}
    data = build(loader.Config, stored["data"], f"{place / 'config.json'}: config.data")
    text = Text(data)
    written = {} if files else exported(text)
    if not files and not written:
        print(
            f"{place}: its tokenizer {data.tokenizer.name!r} has no form that transformers "
            "reads, and is left out; byte, sentencepiece and hugging_face_learnt have one"
        )
    return files, {"eos_token_id": text.codec.end_of_document}, written


def exported(text: Text) -> dict[str, Any]:
    """The files with which transformers' AutoTokenizer cuts text into the ids of a tokenizer that
    was learnt here, by name; {} where it has no such form.
    """
    facts = text.exported()
    if facts is None:
        return {}
    end = text.codec.end_of_document
    names = {token["id"]: token["content"] for token in facts["added_tokens"]}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": names[end]}
    settings |= {"clean_up_tokenization_spaces": False}
    return {"tokenizer.json": facts, "tokenizer_config.json": settings}
