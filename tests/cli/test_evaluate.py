"""`lm-lab evaluate`: a file that is not text gives one line, before anything is computed; tasks and
whole texts, of one run and of two.
"""

import itertools
import json
import os
import re

import pytest

from lm_lab.cli import evaluate
from lm_lab.library import scoring
from lm_lab.types import UserError
from tests.evaluation.asked import params_of, store, task_of


@pytest.fixture
def places(tmp_path):
    """Paths of every kind: texts, folders, binary files, nothing."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "latin").write_bytes("naïve".encode("latin-1"))
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "text").write_text("naïve\r\n\0")
    return tmp_path


@pytest.mark.parametrize(
    "name, message",
    [
        ("nowhere", "no such file; name a text file"),
        ("folder", "it is no plain file; name a text file"),
        ("fifo", "it is no plain file; name a text file"),
        ("loop", "name a text file"),
        ("a\0b", "no such file; name a text file"),
        ("empty", "is empty; name a file with text"),
        ("latin", "is not UTF-8 (at byte 2); convert it with iconv -t UTF-8"),
    ],
)
def test_what_is_no_text_is_one_line(places, name, message):
    with pytest.raises(UserError) as caught:
        evaluate.run([f"--workdir={places}", f"--text={places / name}"])
    assert str(caught.value).startswith("--text=")
    assert message in str(caught.value)


def test_a_home_of_nobody_is_one_line(places):
    with pytest.raises(
        UserError, match="--text=~nobody_is_named_so/a: nobody has that home directory"
    ):
        evaluate.run([f"--workdir={places}", "--text=~nobody_is_named_so/a"])


def test_a_text_is_read_as_it_is(places):
    assert evaluate.text_of(str(places / "text")) == "naïve\r\n\0"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder with two runs that were never trained, and data of tasks."""
    place = tmp_path_factory.mktemp("asked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LM_LAB_CACHE", str(tmp_path_factory.getbasetemp() / "token_stores"))
        for seed, name in enumerate("ab"):
            task = task_of("decoder", {"seed": seed})
            store(place / name, task, params_of(task, seed))
    pairs = [{"sentence_good": "ab" * n, "sentence_bad": "ba" * n} for n in range(1, 9)]
    (place / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    tasks = {"mine": {"name": "minimal_pairs", "path": str(place / "pairs.jsonl")}}
    (place / "tasks.json").write_text(json.dumps(tasks))
    (place / "text.txt").write_text("".join("ab" * n + "\n" for n in range(1, 30)))
    return place


def run(capsys, *words) -> str:
    assert evaluate.run(list(map(str, words))) == 0
    return capsys.readouterr().out


def test_tasks_are_put_to_two_runs_and_drawn_in_pairs(stored, capsys):
    before = {path: path.read_bytes() for path in stored.rglob("*") if path.is_file()}
    words = [f"--workdir={stored / 'a'}", f"--against={stored / 'b'}"]
    texts = stored / "text.txt"
    tasks = f"--tasks=minimal_pairs={stored / 'pairs.jsonl'},{stored / 'tasks.json'}"
    out = run(capsys, *words, f"{tasks},perplexity={texts},perplexity={texts}", "--whole")
    assert {path: path.read_bytes() for path in stored.rglob("*") if path.is_file()} == before
    number = r"(-?[\d.]+) \[(-?[\d.]+), (-?[\d.]+)\]"
    margins = [
        [float(each) for each in found]
        for found in re.findall(rf"/[ab]: mine margin {number} of 8 documents", out)
    ]
    ((value, low, high),) = re.findall(rf"mine margin difference {number}", out)
    assert len(margins) == 2
    assert float(value) == pytest.approx(margins[0][0] - margins[1][0], abs=2e-4)
    assert float(low) <= float(value) <= float(high)
    assert out.count("minimal_pairs margin") == 3
    assert out.count("perplexity_2 nll") == 3
    assert re.search(rf"heldout_whole bits_per_byte difference {number}", out)


def test_other_held_out_texts_are_not_compared(stored, monkeypatch):
    numbers = itertools.count()
    monkeypatch.setattr(scoring, "heldout_text", lambda _: str(next(numbers)))
    with pytest.raises(UserError, match=r"a and .*b hold out other texts, so no difference"):
        evaluate.run([f"--workdir={stored / 'a'}", f"--against={stored / 'b'}", "--whole"])


def test_two_runs_are_compared_by_a_text(stored, capsys):
    alone = run(capsys, f"--workdir={stored / 'a'}", f"--text={stored / 'text.txt'}")
    (bits,) = re.findall(r"text.txt: ([\d.]+) bits per byte", alone)
    words = [f"--workdir={stored / 'a'}", f"--text={stored / 'text.txt'}"]
    out = run(capsys, *words, f"--against={stored / 'b'}")
    assert f"text_1 bits_per_byte {bits} [" in out
    assert "text_1 bits_per_byte difference" in out


@pytest.mark.parametrize(
    "words, message",
    [
        (["--tasks=blimp"], "--tasks=blimp: the run's config has no such task; give NAME=FILE"),
        (["--tasks=blimp=x"], "--tasks: no evaluation.tasks named 'blimp'"),
        (["--tasks=minimal_pairs=gone"], "--tasks.minimal_pairs: path: no file 'gone'"),
        (["--tasks=gone.json"], "--tasks=gone.json: cannot read it"),
        (["--tasks=labelled=x"], "--tasks.labelled: the run's model has no head"),
        (["--against=x"], "--against=DIR compares by --tasks, --whole or --text"),
        (["--harness=a", "--whole"], "--harness is asked for alone"),
        (["--include_path=x"], "--include_path has tasks of --harness=TASK"),
    ],
)
def test_what_cannot_be_asked_is_one_line(stored, words, message):
    with pytest.raises(UserError) as caught:
        evaluate.run([f"--workdir={stored / 'a'}", *words])
    assert message in str(caught.value)
