"""Generated text, compared with transformers' generate token for token."""

import numpy as np
import pytest

from lm_lab import generation
from lm_lab.generation.beam import beam_search
from lm_lab.generation.logits import Config, filtered
from lm_lab.generation.sampling import generate
from tests.interop import parity

pytestmark = pytest.mark.torch
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

VOCAB, NEW, STOP = 11, 7, 4
NAMES = {
    "no_repeat_ngram": "no_repeat_ngram_size",
    "first_token": "forced_bos_token_id",
    "last_token": "forced_eos_token_id",
    "beams": "num_beams",
}
ONE = {"prompt": 1}  # of one token: where transformers begins with a forced one
GREEDY = [
    {"repetition_penalty": 0.6},
    {"repetition_penalty": 1.4, "no_repeat_ngram": 1, "min_new_tokens": 4},
    {"no_repeat_ngram": 3, "min_new_tokens": NEW, **ONE, "first_token": 6, "last_token": STOP},
]
BEAMS = [
    {"early_stopping": False},
    {"early_stopping": False, "length_penalty": -1.0},
    {"early_stopping": True, "length_penalty": 2.0, "no_repeat_ngram": 2},
    {
        "early_stopping": "never",
        "length_penalty": 1.5,
        "repetition_penalty": 0.8,
        "min_new_tokens": 3,
    },
    {"early_stopping": False, "no_repeat_ngram": 1, **ONE, "first_token": 3, "last_token": STOP},
]


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    config = transformers.GPT2Config(
        n_embd=16,
        n_layer=1,
        n_head=2,
        n_positions=16,
        vocab_size=VOCAB,
        bos_token_id=None,
        eos_token_id=None,
    )
    made = parity.randomised(lambda: transformers.GPT2LMHeadModel(config), seed=3)
    made.transformer.wte.weight.data *= 2
    return parity.read(made, tmp_path_factory.mktemp("gpt2"))


def theirs(twin, prompts, **settings):
    """(new tokens, their scores), all beams of a row after one another."""
    named = {NAMES.get(name, name): value for name, value in settings.items()}
    text, beams = torch.as_tensor(prompts), settings.get("beams", 1)
    with torch.no_grad():
        found = twin.reference.generate(
            text,
            attention_mask=torch.ones_like(text),
            do_sample=False,
            max_new_tokens=NEW,
            eos_token_id=STOP,
            pad_token_id=STOP,
            num_return_sequences=beams,
            return_dict_in_generate=True,
            output_scores=True,
            **named,
        )
    new = found.sequences.numpy()[:, text.shape[1] :]
    return [until(row) for row in new], None if beams == 1 else found.sequences_scores.numpy()


def until(row):
    """The tokens before the first stop."""
    row = row.tolist()
    return row[: row.index(STOP)] if STOP in row else row


def prompts_of(twin, length):
    return np.random.default_rng(5).integers(0, VOCAB, (4, length))


@pytest.mark.parametrize("case", GREEDY, ids=str)
def test_greedy_text(twin, case):
    settings = {name: value for name, value in case.items() if name != "prompt"}
    prompts = prompts_of(twin, case.get("prompt", 4))
    config = Config(new_tokens=NEW, temperature=0.0, **settings)
    tokens, lengths = generate(
        twin.model(scan=True),
        {"params": twin.params},
        generation.prompts(prompts.tolist()),
        config,
        [STOP],
    )
    assert [row[:length].tolist() for row, length in zip(tokens, lengths)] == theirs(
        twin, prompts, **settings
    )[0]
    assert theirs(twin, prompts)[0] != theirs(twin, prompts, **settings)[0], (
        "settings that change nothing"
    )


@pytest.mark.parametrize("case", BEAMS, ids=str)
def test_beams(twin, case):
    settings = {name: value for name, value in case.items() if name != "prompt"} | {"beams": 3}
    prompts = prompts_of(twin, case.get("prompt", 4))
    config = Config(new_tokens=NEW, **settings)
    tokens, lengths, scores = beam_search(
        twin.model(scan=True),
        {"params": twin.params},
        generation.prompts(prompts.tolist()),
        config,
        [STOP],
    )
    wanted, their_scores = theirs(twin, prompts, **settings)
    ours = [
        row[:length].tolist() for row, length in zip(tokens.reshape(12, NEW), lengths.reshape(12))
    ]
    assert ours == wanted
    assert scores.reshape(12) == pytest.approx(
        their_scores, rel=1e-4
    )  # sums of seven float32 logarithms


def test_what_top_p_leaves_of_equals():
    warper = transformers.generation.logits_process.TopPLogitsWarper
    logits = np.random.default_rng(0).integers(0, 3, (20, 9)).astype(np.float32)
    for p in (0.05, 0.3, 0.5, 0.9):
        wanted = np.isfinite(warper(p)(None, torch.as_tensor(logits)).numpy())
        assert (np.isfinite(filtered(logits, Config(top_p=p))) == wanted).all()
