"""Mixtures: shares of every step, batches as a function of the step, weights that are checked."""

import jax
import numpy as np
import pytest

from lm_lab import registry
from lm_lab.data import loader, mixture
from lm_lab.data.text import Text
from lm_lab.data.weights import RowPlan, points
from lm_lab.plain import plain
from lm_lab.schema import build
from lm_lab.types import UserError
from tests import tiny
from tests.pairs import write

CHANGING = (((0, 3.0),), ((0, 0.0), (40, 4.0)), ((10, 1.0), (60, 0.0)))
SOURCES = {
    "web": {"name": "synthetic", "symbols": 4, "documents": 40, "document_bytes": 100, "weight": 3},
    "code": {"name": "synthetic", "symbols": 9, "documents": 10, "document_bytes": 100},
}


def stream(first: int, count: int = 200) -> loader.Batches:
    """Windows of two tokens: their numbers, from `first` on."""
    tokens = np.arange(first, first + count + 1, dtype=np.uint16)
    split = loader.Split("train", tokens, np.ones(2**16, np.float32), 0, False, None, "own")
    return loader.batches(split, window=2, batch_size=8, seed=3, shuffle=True, least=1)


def mixed(own=CHANGING, batch_size: int = 8) -> mixture.Mixed:
    return mixture.mix([stream(1000 * number) for number in range(len(own))], own, batch_size)


def test_every_source_is_within_one_row_of_its_share_at_every_step():
    rng, most = np.random.default_rng(0), 0.0
    for _ in range(40):
        own = [
            tuple((int(step), float(rng.choice([0, 0.01, 1, 3.7, rng.random()]))) for step in steps)
            for steps in (
                np.sort(rng.choice(99, rng.integers(1, 4), False))
                for _ in range(rng.integers(2, 7))
            )
        ]
        try:
            plan = RowPlan(own, size := int(rng.integers(1, 20)))
        except UserError:  # all weights are 0 at some step
            continue
        rows = plan.rows_before(0, 400)
        due = np.cumsum(plan.shares(np.arange(400)) * size, axis=0)
        assert (np.diff(rows, axis=0) >= 0).all()
        assert (rows.sum(1) == np.arange(401) * size).all()
        most = max(most, np.abs(rows[1:] - due).max())
    assert 0.5 < most < 1  # sums of shares are rounded at 1e-13


def test_a_batch_has_the_planned_rows_and_every_source_its_own_epochs():
    batches = mixed()
    chunk = batches.chunk(0, 90)
    owner = np.asarray(chunk.tokens)[..., 0] // 1000
    before = batches.plan.rows_before(0, 90)
    for number in range(3):
        assert ((owner == number).sum(1) == np.diff(before, axis=0)[:, number]).all()
        seen = np.asarray(chunk.tokens)[owner == number][:, 0]
        assert len(set(seen[:200].tolist())) == min(200, len(seen))  # each window once an epoch
    assert batches.epochs(90) == [count / 200 for count in before[90]]
    assert (owner[60:] != 2).all()  # its weight has gone to 0
    assert (owner[0] != 1).all()


def test_batches_are_a_function_of_the_step():
    whole = mixed().chunk(0, 60)
    for first, steps in ((37, 1), (12, 20), (0, 3)):  # a fresh one, as after a kill
        part = mixed().chunk(first, steps)
        assert tiny.same_bits(part, jax.tree.map(lambda x, i=first, n=steps: x[i : i + n], whole))


@pytest.mark.parametrize("own", [points(1.0), points(7.0), ((5, 1.0), (9, 2.0))])
def test_one_source_is_a_mixture_of_one(own):
    alone = stream(0).chunk(3, 70)._replace(bytes=None)  # type: ignore[arg-type]
    assert tiny.same_bits(mixed((own,)).chunk(3, 70), alone)


def test_rows_are_planned_the_same_however_they_are_asked_for():
    late, early = RowPlan(CHANGING, 5), RowPlan(CHANGING, 5)
    for step in range(0, 3000, 700):
        early.rows_before(step, step + 1)
    np.testing.assert_array_equal(late.rows_before(2900, 2950), early.rows_before(2900, 2950))


@pytest.mark.parametrize(
    ("weight", "fault"),
    [
        (-1, "at least 0"),
        ([[0, 1], [0, 2]], "order of steps"),
        ([[0.5, 1]], "no step"),
        ([[1, 2, 3]], r"no \[step, weight\]"),
        ([[0, -1]], r"no \[step, weight\]"),
        ([], "order of steps"),
        ("much", "must be"),
    ],
)
def test_weights_that_are_none_are_refused(weight, fault):
    wrong = {"web": {**SOURCES["web"], "weight": weight}}
    with pytest.raises(UserError, match=rf"config\.data\.sources\.web.*{fault}"):
        build(loader.Config, {"sources": wrong}, "config.data")


def test_weights_that_are_all_0_are_refused():
    with pytest.raises(UserError, match="all weights are 0 at step 7"):
        RowPlan((((0, 1.0), (7, 0.0)), ((7, 0.0), (9, 1.0))), 4)


def test_a_config_of_sources(tmp_path):
    config = build(loader.Config, {"sources": SOURCES}, "config.data")
    assert plain(config)["sources"]["web"]["weight"] == 3.0
    assert list(config.members) == ["code", "web"]  # by label, however they are written
    code = config.members["code"].source.settings
    assert type(code) is registry.load("data.sources", "synthetic", "").Config
    dataset = Text(config, tmp_path).dataset
    with pytest.raises(UserError, match=r"config\.data\.sources: several.*'code', 'web'"):
        _ = dataset.train
    again = build(loader.Config, {"sources": dict(reversed(SOURCES.items()))}, "config.data")
    assert Text(again, tmp_path).dataset.identity == dataset.identity
    with pytest.raises(UserError, match="both given"):
        build(loader.Config, {"sources": SOURCES, "source": "synthetic"}, "config.data")


def test_errors_name_the_source_of_a_mixture(tmp_path):
    missing = {"web": SOURCES["web"], "code": {"name": "text", "path": "nowhere"}}
    config = build(loader.Config, {"sources": missing}, "config.data")
    with pytest.raises(UserError, match=r"^config\.data\.sources\.code\.path: no file"):
        _ = Text(config, tmp_path).dataset


def test_figures_of_a_mixture_count_sources_by_their_shares():
    sums = [{"nll": 30.0, "weight": 10, "bytes": 20.0}, {"nll": 8.0, "weight": 2, "bytes": 10.0}]
    whole = mixture.together(sums, [0.25, 0.75])
    assert whole["nll"] / whole["weight"] == pytest.approx(0.25 * 3 + 0.75 * 4)
    assert whole["nll"] / whole["bytes"] == pytest.approx(3.75 / (0.25 * 2 + 0.75 * 5))
    assert mixture.together(sums, [1.0, 0.0])["nll"] == pytest.approx(30.0)


def test_a_test_shorter_than_a_window_is_read(tmp_path):
    split = loader.Split("test", np.arange(5, dtype=np.uint16), np.ones(9, np.float32), 8, False)
    batches = loader.batches(split, window=9, batch_size=4, seed=0, shuffle=True, least=1)
    row = batches.once(0, 4)
    assert np.asarray(row.tokens)[0, :5].tolist() == [0, 1, 2, 3, 4]
    assert np.asarray(row.segments).sum() == 5


def test_a_small_source_of_pairs_gives_a_part_of_each_batch(tmp_path):
    own = write(tmp_path, count=8, heldout=5)
    pair = {
        "name": "pairs",
        **{key.removeprefix("data.source."): own[key] for key in own if "path" in key},
    }
    sources = {"few": pair, "same": pair | {"weight": 2}}
    values = {"sources": sources, "length": 32, "context_length": 20}
    config = build(loader.Config, values, "config.data")
    dataset = Text(config, tmp_path / "cache").dataset
    parts = [
        loader.cut(config, sides.train, window=0, stride=0, batch_size=8, seed=1)
        for sides in dataset.sources.values()
    ]
    batches = mixture.mix(parts, [sides.points for sides in dataset.sources.values()], 8)
    chunk = batches.chunk(0, 6)
    assert chunk.context is not None
    assert np.asarray(chunk.context).shape == (6, 8, 20)
    assert batches.epochs(6) == pytest.approx([16 / 3, 32 / 3])


@pytest.mark.parametrize("own", [CHANGING, (((0, 1.0),),)], ids=["mixture", "one source"])
def test_a_host_reads_the_rows_of_its_devices_alone(own):
    batches = mixed(own)
    for positions in ([0, 1, 2, 3], [2, 3, 6, 7], [5]):
        part, whole = batches.chunk(37, 20, np.array(positions)), batches.chunk(37, 20)
        assert (part.tokens == whole.tokens[:, positions]).all()
