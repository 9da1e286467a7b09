"""Any text under a run's model: every token is scored once, with the stated context, and nothing is
written.
"""

import json
import math

import jax
import numpy as np
import pytest
from scipy.special import log_softmax

from lm_lab.engine.sharding import unbox
from lm_lab.train import restore
from lm_lab.train.program import assemble, hyper_of
from lm_lab.train.text_scorer import open_scorer
from lm_lab.types import Inputs, UserError
from tests import tiny

TEXT, LENGTH, END = "naïve text", 4, 256


def stored(directory, family, objective, **model):
    """A run's directory that was never trained: a config, and parameters as they are drawn."""
    sizes = {"family": family, "width": 16, "depth": 1, **model}
    data = {"source": {"name": "text", "path": "gone.txt"}, "length": LENGTH}
    changes = {
        "model": sizes,
        "objective": {"name": objective},
        "data": data,
        "train.batch_size": 2,
    }
    experiment, resolved = tiny.resolve(changes)
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(resolved))
    init, hyper = assemble(tiny.bound(experiment)).init, hyper_of(experiment)
    state = jax.jit(lambda: unbox(init(hyper, {})))()
    # far from uniform, so that contexts matter
    params = jax.tree.map(lambda x: np.asarray(x) * np.float32(3), state.params)
    restore.write_params(directory, jax.device_get(params))
    return experiment, params


def one_by_one(model, params, objective, ids):
    """Nats of the ids, each by a separate call on its context."""
    given, scored = (
        (LENGTH // 2, LENGTH // 2 + 1)
        if objective == "continuation"
        else (LENGTH // 2 + 1, LENGTH // 2)
    )
    apply = jax.jit(lambda inputs: model.apply({"params": params}, inputs))
    text, total = [END, *ids], 0.0
    for place in range(1, len(text)):
        first = (place - 1) // scored * scored + 1  # of the tokens that are scored together
        before = np.asarray([text[max(0, first - given) : place]])
        inputs = Inputs(before)
        if objective == "prefix":
            inputs = Inputs(
                before, prefix=np.arange(before.shape[1])[None] < before.shape[1] - (place - first)
            )
        elif objective == "continuation":
            inputs = Inputs(
                np.asarray([text[first - 1 : place]]),
                context=np.asarray([text[max(0, first - given) : first]]),
            )
        elif objective == "masked":
            block = (place - 1) // LENGTH * LENGTH
            row, hidden = list(ids[block : block + LENGTH]), place - 1 - block
            row[hidden] = END + 1
            logits = np.asarray(apply(Inputs(np.asarray([row]))))[0, hidden]
            total -= log_softmax(logits)[text[place]]
            continue
        logits = np.asarray(apply(inputs))[0, -1]
        total -= log_softmax(logits)[text[place]]
    return float(total)


@pytest.mark.parametrize(
    "family, objective, model",
    [
        ("decoder", "causal", {"positions": "learned", "heads": 2}),
        ("decoder", "prefix", {"heads": 2}),
        ("rnn", "causal", {}),
        ("encoder_decoder", "continuation", {"positions": "learned", "heads": 2}),
        ("encoder", "masked", {"heads": 2}),
    ],
)
def test_a_text_costs_what_its_tokens_cost_one_by_one(tmp_path, family, objective, model):
    experiment, params = stored(tmp_path / "run", family, objective, **model)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    scorer = open_scorer(tmp_path / "run", tiny.bound(experiment))
    cost = scorer.score(TEXT)
    ids = list(TEXT.encode())
    assert (cost.tokens, cost.bytes) == (len(ids), len(ids))
    assert cost.nats == pytest.approx(
        one_by_one(tiny.bound(experiment).model, params, objective, ids), rel=1e-5
    )
    assert cost.bits_per_byte == cost.nats / math.log(2) / len(ids)
    assert scorer.kind == ("pseudo-" if objective == "masked" else "")
    assert {
        path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()
    } == before


def test_an_objective_without_a_likelihood_of_texts_is_refused(tmp_path):
    experiment, _ = stored(tmp_path / "run", "encoder_decoder", "span_corruption", heads=2)
    with pytest.raises(UserError, match=r"'span_corruption': .* restores .* gives no likelihood"):
        open_scorer(tmp_path / "run", tiny.bound(experiment))
