"""transformers reads an exported folder: its tokenizer gives the same ids, and its generation the
same text.
"""

import json
import unicodedata

import pytest

from lm_lab.cli import convert
from lm_lab.data import loader
from lm_lab.data.text import Text
from lm_lab.interop import tokenizers
from lm_lab.schema import build
from tests import vocabularies
from tests.interop import parity

pytestmark = pytest.mark.torch
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

TEXT = "the cat sat"
KOREAN = " the  cat\n\t고양이가 매트에 앉았다 😀 é#"


def gpt2(place):
    vocabularies.byte_level(place, "<|endoftext|>")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(place / "tokenizer.json"), eos_token="<|endoftext|>"
    )
    tokenizer.chat_template = "{{ messages[0].content }}"
    config = transformers.GPT2Config(
        n_embd=12,
        n_layer=1,
        n_head=3,
        n_positions=40,
        vocab_size=300,
        bos_token_id=0,
        eos_token_id=0,
    )
    return tokenizer, parity.randomised(lambda: transformers.GPT2LMHeadModel(config))


def t5(place):
    vocabularies.t5(place)
    tokenizer = transformers.T5Tokenizer.from_pretrained(place)
    config = transformers.T5Config(
        d_model=12,
        num_layers=1,
        num_heads=2,
        d_kv=5,
        d_ff=20,
        vocab_size=160,
        decoder_start_token_id=0,
    )
    return tokenizer, parity.randomised(lambda: transformers.T5ForConditionalGeneration(config))


@pytest.mark.parametrize(
    "make, auto", [(gpt2, "AutoModelForCausalLM"), (t5, "AutoModelForSeq2SeqLM")]
)
def test_generation_is_the_same_there_and_back(make, auto, tmp_path):
    tokenizer, model = make(tmp_path)
    model.generation_config.min_new_tokens = 2
    with parity.quiet():
        for part in (tokenizer, model):
            part.save_pretrained(tmp_path / "foreign")
        for source, target in (("foreign", "run"), ("run", "back")):
            convert.run([f"--from={tmp_path / source}", f"--to={tmp_path / target}"])
        back = getattr(transformers, auto).from_pretrained(tmp_path / "back").eval()
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")
    assert again(TEXT)["input_ids"] == tokenizer(TEXT)["input_ids"]
    assert again.chat_template == tokenizer.chat_template
    for part in ("config", "generation_config"):
        said, kept = (_ids(getattr(each, part)) for each in (model, back))
        assert kept == said
    assert back.generation_config.min_new_tokens == 2
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    written = [
        each.generate(ids, max_new_tokens=12, do_sample=False).tolist() for each in (model, back)
    ]
    assert written[0] == written[1]


def _ids(config):
    return {name: value for name, value in config.to_dict().items() if name.endswith("_token_id")}


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "byte"},
        {"name": "sentencepiece", "pieces": 274},
        {"name": "sentencepiece", "pieces": 300, "kind": "bpe", "normal_form": "NFD"},
        {"name": "hugging_face_learnt", "pieces": 300, "normal_form": "NFD"},
        {"name": "hugging_face_learnt", "pieces": 300, "normal_form": "NFC"},
    ],
)
def test_a_tokenizer_of_ours_gives_the_same_ids_there_and_back(settings, tmp_path):
    (tmp_path / "own.txt").write_text(f"{TEXT} on the mat. 학교에 갔다\n" * 9, "utf-8")
    data = {"source": {"name": "text", "path": str(tmp_path / "own.txt")}, "tokenizer": settings}
    here = Text(build(loader.Config, data, "config.data"))
    text = f"{KOREAN}<unk> <0x41>" + unicodedata.normalize("NFD", " é 한글")
    made = convert.exported(here)
    for name, facts in made.items():
        (tmp_path / name).write_text(json.dumps(facts), "utf-8")
    there = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = here.codec.encode(text).tolist()
    assert there(text)["input_ids"] == ids
    assert there.decode(ids) == here.codec.decode(ids)
    assert there.eos_token_id == here.codec.end_of_document
    section, why = tokenizers.find(tmp_path)
    back = Text(build(loader.Config, {"tokenizer": section}, "config.data")).codec
    assert (why, back.encode(text).tolist()) == ("", ids)
    assert back.decode(ids) == here.codec.decode(ids)
    assert back.bytes_of[ids].sum() == here.codec.bytes_of[ids].sum()
    assert back.end_of_document == here.codec.end_of_document
