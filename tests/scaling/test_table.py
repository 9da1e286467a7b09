"""Tables from anywhere: the columns that are read, their units, conventions and refusals."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lm_lab.scaling.sources import read_columns
from lm_lab.scaling.table import make_table
from lm_lab.types import UserError

N, D, L = [1e8, 4e8, 1.6e9], [2e9, 8e9, 3.2e10], [3.5, 3.1, 2.8]


def read(source, chosen=None, **options):
    columns, where = read_columns(source)
    return make_table(columns, chosen, where=where, **options)


@pytest.mark.parametrize(
    ("names", "scales", "chosen"),
    [
        (("N", "D", "loss"), (1, 1), {}),
        (("n_params", "tokens", "val_loss"), (1, 1), {}),
        (("Model Size (M)", "Training Tokens (B)", "Loss [nats]"), (1e6, 1e9), {}),
        (("params_b", "tokens_t", "loss"), (1e9, 1e12), {}),
        (("size", "seen", "final"), (1e6, 1e9), {"tokens": "seen:billions", "loss": "final"}),
    ],
)
def test_columns_and_units_are_known_by_name_or_by_choice(names, scales, chosen):
    columns = [np.array(N) / scales[0], np.array(D) / scales[1], L]
    if names[0] == "size":
        chosen = {**chosen, "params": "size:millions"}
    table = read(dict(zip(names, columns)), chosen)
    np.testing.assert_allclose(table["params"], N)
    np.testing.assert_allclose(table["tokens"], D)
    np.testing.assert_allclose(table["flops"], 6 * np.array(N) * D)
    assert table.origins["flops"] == "assumed C = 6 N D"
    assert names[0] in table.origins["params"]
    assert table.unit == "token"


def test_bits_per_byte_are_nats_a_byte():
    table = read({"N": N, "D": D, "bpb": [1.0, 0.9, 0.8]})
    np.testing.assert_allclose(table["loss"], np.log(2) * np.array([1.0, 0.9, 0.8]))
    assert table.unit == "byte"
    assert "loss" in read({"N": N, "D": D, "bpb": [1, 1, 1], "loss": L}).origins["loss"]


def test_few_tokens_are_doubted_unless_their_unit_is_known():
    tiny = {"N": [1e3, 4e3], "D": [4e3, 8e3], "loss": [3.5, 3.1]}
    with pytest.raises(UserError, match="tokens=NAME:1e0"):
        read(tiny)
    for known in ({"chosen": {"tokens": "D:1e0"}}, {"counted": True}):
        assert read(tiny, **known)["tokens"].tolist() == [4e3, 8e3]


def test_tokens_follow_from_compute():
    table = read({"N": ["100M", "400M", "1.6B"], "C": 6 * np.array(N) * D, "loss": L})
    np.testing.assert_allclose(table["tokens"], D)
    assert "C / (6 N)" in table.origins["tokens"]


def test_settings_names_and_rows_are_kept():
    source = {
        "run": ["a", "b", "c"],
        "N": N,
        "D": D,
        "loss": L,
        "decay": ["cosine", "wsd", "wsd"],
        "warmup": [10, 20, 20],
        "other_result": [0.1, 0.2, 0.3],
    }
    table = read(source, rows={"decay": "wsd"})
    assert table.names == ("b", "c")
    assert dict(table.settings) == {"decay": ("wsd", "wsd"), "warmup": (20, 20)}


def test_metrics_of_tasks_are_kept_by_their_names():
    columns = {
        "N": N,
        "D": D,
        "loss": L,
        "hellaswag_acc": [0.3, "-", 0.5],
        "LAMBADA err": [0.9, 0.8, 0.7],
    }
    table = make_table({**columns, "top1": [0.1, 0.2, 0.3]}, {"accuracy": "top1"})
    assert set(table.metrics) == {"hellaswag_acc", "LAMBADA err", "top1"}
    np.testing.assert_array_equal(table.metrics["hellaswag_acc"], [0.3, np.nan, 0.5])
    assert table.where(np.array([2])).metrics["top1"] == [0.3]


def test_rows_that_lack_a_number_are_named_and_diverged_ones_stay():
    source = {"N": N, "D": D, "loss": [None, "", 2.8], "status": ["failed", "diverged", "complete"]}
    table = read(source)
    assert table["loss"].tolist() == [np.inf, 2.8]
    assert [caution.where for caution in table.cautions] == ["row 1"]


@pytest.mark.parametrize(
    ("column", "losses", "extra", "reason"),
    [
        ("val_ppl", [3.5, 3.1, 2.8], {}, "by the name"),
        ("loss", [6.0, 5.8, 5.6], {"vocab_size": [256] * 3}, "a vocabulary of 256 has 5.55"),
        ("loss", [33.0, 22.0, 16.0], {}, "a vocabulary of 440,000"),
        ("loss", [9.0, 8.5, 8.0], {}, "3 times the loss of text"),
        ("log_ppl", [3.5, 3.1, 2.8], {}, None),
        ("loss", [5.4, 5.2, 5.0], {"vocab_size": [256] * 3}, None),
        ("loss", [7.0, 6.0, 5.5], {"vocab_size": [50257] * 3}, None),
    ],
)
def test_losses_that_look_like_perplexities_are_doubted(column, losses, extra, reason):
    table = read({"N": N, "D": D, column: losses, **extra}, {"loss": column})
    assert [column in caution.where for caution in table.cautions] == [True] * bool(reason)
    assert all(reason in caution.message for caution in table.cautions)


@pytest.mark.parametrize(
    ("settings", "loss", "where"),
    [
        ({"data.tokenizer": ["byte", "words", "byte"]}, "loss:nats/token", "data.tokenizer"),
        ({"data.tokenizer": ["byte", "words", "byte"]}, "loss:nats/byte", None),
        ({"objective.name": ["causal", "causal", "masked"]}, "loss:nats/byte", "objective.name"),
        ({"objective.name": ["causal"] * 3, "tokenizer": ["byte"] * 3}, "loss", None),
    ],
)
def test_losses_of_unlike_tokenizers_or_objectives_are_doubted(settings, loss, where):
    cautions = read({"N": N, "D": D, "loss": [3.5, 3.1, 2.8], **settings}, {"loss": loss}).cautions
    assert [caution.where for caution in cautions] == ([f"column {where!r}"] if where else [])


def csv(text: str) -> Callable[[Path], Path]:
    return lambda folder: _write(folder / "t.csv", text)


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


FILES = {
    "t.csv": "N,D,loss\n1e8,2e9,3.5\n4e8,8e9,3.1\n",
    "t.tsv": "N\tD\tloss\n1e8\t2e9\t3.5\n4e8\t8e9\t3.1\n",
    "semicolons.csv": "\ufeffN;D;loss\r\n1e8;2e9;3.5\r\n4e8;8e9;3.1\r\n",
    "t.jsonl": '{"N": 1e8, "D": 2e9, "loss": 3.5}\n{"N": 4e8, "D": 8e9, "loss": 3.1}\n',
    "t.json": json.dumps([{"N": 1e8, "D": 2e9, "loss": 3.5}, {"N": 4e8, "D": 8e9, "loss": 3.1}]),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_every_format_give_one_table(name, tmp_path):
    table = read(_write(tmp_path / name, FILES[name]))
    assert [table[key].tolist() for key in ("params", "tokens", "loss")] == [
        [1e8, 4e8],
        [2e9, 8e9],
        [3.5, 3.1],
    ]


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_frames_are_read_and_columns_of_one_name_refused(package):
    frames = pytest.importorskip(package)
    frame = frames.DataFrame({"N": N, "D": D, "loss": L})
    columns, where = read_columns(frame)
    assert (columns, where) == ({"N": list(N), "D": list(D), "loss": list(L)}, "table")
    with pytest.raises(UserError, match="no rows"):
        read_columns(frame[:0])


def test_a_pandas_frame_may_have_an_index_and_two_columns_of_one_name():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"N": N, "D": D, "loss": L}, index=[f"run {n}" for n in N])
    assert read_columns(frame)[0]["loss"] == list(L)
    frame.columns = ["N", "loss", "loss"]
    with pytest.raises(UserError, match="two columns are called 'loss'"):
        read_columns(frame)


def test_parquet_and_arrow_tables_are_read(tmp_path):
    import pyarrow
    from pyarrow import parquet

    arrow = pyarrow.table({"N": N, "D": D, "loss": L})
    parquet.write_table(arrow, tmp_path / "t.parquet")
    for source in (arrow, tmp_path / "t.parquet", str(tmp_path / "t.parquet")):
        assert read(source)["params"].tolist() == N


WRONG = {
    "no such file": lambda folder: folder / "none.csv",
    "a folder without": lambda folder: folder,
    "empty; give": csv(" \n"),
    "no rows": csv("N,D,loss\n"),
    "numbers, not names": csv("1,2,3\n4,5,6\n"),
    "two columns are called 'N'": csv("N,N,loss\n1,2,3\n"),
    "line 3: 2 cells under 3 names": csv("N,D,loss\n1e8,2e9,3\n1e8,2e9\n"),
    "N must be a number, not 'many'": csv("N,D,loss\n1e8,2e9,3\nmany,2e9,3\n"),
    "decimal point and without separators": csv("N;D;loss\n3,1e8;2e9;3\n"),
    "params must be above zero and finite, not -1e": csv("N,D,loss\n-1e8,2e9,3\n"),
    "params must be above zero and finite, not 0": csv("N,D,loss\n0,2e9,3\n"),
    "column 'loss' holds no number": csv("N,D,loss\n1e8,2e9,low\n"),
    "no column is known as loss": csv("N,D\n1e8,2e9\n"),
    "--columns=tokens=NAME,loss=NAME (in": csv("N,words\n1e8,2e9\n"),
    "could each be loss": csv("N,D,loss,val_loss\n1e8,2e9,3,3\n"),
    "no row has all of": csv("N,D,loss\n1e8,2e9,\n"),
    "columns tokens=NAME:billions": csv("N,D,C,loss\n1e8,2,1.2e18,3\n4e8,8,1.92e19,3\n"),
    "columns params=NAME:billions": csv("N,D,loss\n7,2e12,3\n70,2e12,2\n"),
    "no Parquet": lambda folder: _write(folder / "t.parquet", "N,D"),
    "line 1: no JSON": lambda folder: _write(folder / "t.jsonl", "N,D"),
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_with_a_table_is_one_line(words, tmp_path):
    path = WRONG[words](tmp_path)
    with pytest.raises(UserError) as error:
        read(path)
    assert words in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"parms": "N"}, "did you mean 'params'"),
        ({"params": "M"}, "no column 'M'"),
        (
            {"params": "M", "loss": "loss", "tokens": "T:G"},
            "none of the columns of params=M, tokens",
        ),
        ({"params": "N:furlongs"}, "'furlongs' is no unit of params"),
    ],
)
def test_a_wrong_choice_of_columns_is_one_line(chosen, words):
    with pytest.raises(UserError, match=words):
        read({"N": N, "D": D, "loss": L}, chosen)
