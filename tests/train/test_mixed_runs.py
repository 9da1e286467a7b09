"""Runs on a mixture whose weights change, with a test: killed, resumed, together, evaluated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from lm_lab.runs import records
from lm_lab.train import loop, restore
from lm_lab.train.evaluate import evaluate
from lm_lab.train.run import Run
from lm_lab.train.task import bind
from lm_lab.types import Inputs
from tests import tiny
from tests.train.launched import Killed, assert_same, compile_once, kill_at

pytestmark = pytest.mark.usefixtures("shared_programs")

TEST_BYTES = 4 * 16 * tiny.ROWS + 37  # four batches of windows, and a part of one


def text(size: int, seed: int) -> str:
    letters = np.random.default_rng(seed).choice(list("abcde "), size)
    return "".join(letters)


@pytest.fixture(scope="module")
def sections(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    for name, size in (("train", 3000), ("valid", 1500), ("test", TEST_BYTES)):
        (folder / f"{name}.txt").write_text(text(size, len(name)))
    paths = {key: str(folder / f"{name}.txt") for key, name in (
        ("path", "train"), ("heldout_path", "valid"), ("test_path", "test")
    )}  # fmt: skip
    book = {"name": "text", **paths, "weight": 3}
    made = {"name": "synthetic", "symbols": 4, "documents": 64, "document_bytes": 256}
    sources = {"book": book, "made": made | {"weight": [[0, 0.0], [6, 3.0]]}}
    return {"data": {"sources": sources, "length": 16}, "train.selection_batches": 1}


def runs_in(directory, sections, seeds=(0,)):
    return [
        Run(*tiny.resolve({**sections, "seed": seed}), directory / f"run{seed}") for seed in seeds
    ]


@pytest.fixture(scope="module")
def undisturbed(sections, tmp_path_factory):
    runs = runs_in(tmp_path_factory.mktemp("whole"), sections)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "compile_program", compile_once)
        loop.train(runs)
    return runs


def test_a_run_killed_while_the_weights_change_ends_in_the_same_bits(
    tmp_path, monkeypatch, sections, undisturbed
):
    runs = runs_in(tmp_path, sections)
    with monkeypatch.context() as patch:
        kill_at(patch, 2, after=True)  # at step 4; weights change to step 6
        with pytest.raises(Killed):
            loop.train(runs)
    loop.train(runs)
    assert_same(runs, undisturbed)


def test_figures_by_source_and_of_the_test(undisturbed):
    result = records.read_result(undisturbed[0].directory)
    assert result is not None
    final = result["final"]
    for name in ("heldout", "heldout_selection", "test"):
        assert 0.5 < final[f"eval/{name}/book/bits_per_byte"] < 10
    assert "eval/test/made/nll" not in final  # it has none
    assert "eval/test_selection/nll" not in final
    shares = {"book": 0.5, "made": 0.5}  # once the weights are 3 and 3
    mean = sum(share * final[f"eval/heldout/{name}/nll"] for name, share in shares.items())
    assert final["eval/heldout/nll"] == pytest.approx(mean, rel=1e-6)
    lines = records.read_metrics(undisturbed[0].directory)
    assert [line["step"] for line in lines if "eval/heldout/nll" in line] == [4, 8]
    assert [line["step"] for line in lines if "eval/test/nll" in line] == [8]
    assert result["epochs"]["book"] == pytest.approx(
        (8 + 7 + 6 + 6 + 5 + 4 + 4 + 4) / (3000 // 16), abs=3 / (3000 // 16)
    )


def test_every_token_of_the_test_is_scored_once(undisturbed):
    run = undisturbed[0]
    model = bind(run.experiment, run.resolved).model
    _, _, params = restore.load_params(run.directory)
    tokens = np.append(np.frombuffer(text(TEST_BYTES, len("test")).encode(), np.uint8), 256).astype(
        np.int32
    )
    apply = jax.jit(lambda tokens_BL: model.apply({"params": params}, Inputs(tokens_BL)))
    nats, length = 0.0, 16
    for first in range(0, len(tokens) - 1, length):
        window = tokens[first : first + length + 1]
        shown = np.pad(window[:-1], (0, length + 1 - len(window)))  # causal: it sees no padding
        logits_LV = np.asarray(apply(jnp.asarray(shown[None])), np.float64)[0]
        targets = np.arange(len(window) - 1), window[1:]
        nats += (logsumexp(logits_LV, axis=1)[targets[0]] - logits_LV[targets]).sum()
    result = records.read_result(run.directory)
    assert result is not None
    final = result["final"]
    assert final["eval/test/book/nll"] == pytest.approx(nats / (len(tokens) - 1), rel=1e-5)
    bits = nats / np.log(2) / (TEST_BYTES - 1)  # the first byte is no target
    assert final["eval/test/book/bits_per_byte"] == pytest.approx(bits, rel=1e-5)
    assert final["eval/test/bits_per_byte"] == pytest.approx(bits, rel=1e-5)  # the only test


def test_evaluate_gives_the_figures_of_the_end(undisturbed):
    result = records.read_result(undisturbed[0].directory)
    assert result is not None
    step, final = evaluate(undisturbed[0])
    assert step == 8
    for name, value in final.items():
        assert value == pytest.approx(result["final"][name], rel=1e-6), name
    assert "eval/test/book/bits_per_byte" in final


def test_members_of_a_population_read_what_they_read_alone(tmp_path, sections, undisturbed):
    runs = runs_in(tmp_path, sections, seeds=(0, 1))
    loop.train(runs)
    assert_same(runs[:1], undisturbed)
