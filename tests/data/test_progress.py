"""Progress is printed on stderr alone, and only for long work."""

import io

import pytest

from lm_lab.data import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_quick_work_is_silent(clock, capsys):
    with progress.Progress("Tokenizing", 10_000_000) as counter:
        clock[0] = 0.9
        counter.add(10_000_000)
    assert capsys.readouterr() == ("", "")


def test_plain_lines_when_nobody_watches(clock, capsys):
    with progress.Progress("Tokenizing", 10_000_000) as counter:
        for now in (0.5, 2.0, 3.0, 8.0):
            clock[0] = now
            counter.add(2_000_000)
    assert capsys.readouterr() == ("", "Tokenizing: 4 of 10 MB\nTokenizing: 8 of 10 MB\n")


def test_total_may_be_unknown(clock, capsys):
    with progress.Progress("Reading") as counter:
        clock[0] = 2.0
        counter.add(3_000_000)
    assert capsys.readouterr().err == "Reading: 3000 kB\n"


def test_other_units_are_named_and_small_numbers_are_whole(clock, capsys):
    for total, shown in ((30_000, True), (30, True), (30, False)):
        with progress.Progress("Scoring", total, " tokens", shown=shown) as counter:
            clock[0] += 2.0
            counter.add(total // 2)
    said = "Scoring: 15 of 30 k tokens\nScoring: 15 of 30 tokens\n"
    assert capsys.readouterr() == ("", said)


def test_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    with progress.Progress("Tokenizing", 100) as counter:
        counter.add(50)
    assert "50%" in terminal.getvalue()
