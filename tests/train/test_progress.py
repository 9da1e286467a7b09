import io

import pytest

from lm_lab.train import progress
from lm_lab.train.progress import Progress, describe


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_every_ten_seconds_and_the_last(clock, capsys):
    bar = Progress(total_steps=100, first_step=40, label="tiny")
    for step in range(41, 66):
        clock[0] += 1
        bar.update(step, 2.0, 12_345.0, None)
    bar.close()
    assert capsys.readouterr().err.splitlines() == [
        "tiny: step 41/100, loss 2.000, 12.3k tok/s, 00:59 left",
        "tiny: step 51/100, loss 2.000, 12.3k tok/s, 00:49 left",
        "tiny: step 61/100, loss 2.000, 12.3k tok/s, 00:39 left",
        "tiny: step 65/100, loss 2.000, 12.3k tok/s, 00:35 left",
    ]


def test_the_last_line_is_not_repeated(clock, capsys):
    bar = Progress(1, 0, "tiny")
    bar.update(1, 2.0, 10.0, 0.5)
    bar.close()
    assert (
        capsys.readouterr().err == "tiny: step 1/1, loss 2.000, 10 tok/s, 50% of peak, 00:00 left\n"
    )


def test_nothing_done_prints_nothing(capsys):
    Progress(10, 0, "tiny").close()
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    bar = Progress(total_steps=100, first_step=40, label="tiny")
    bar.update(100, 1.5, 2_000_000.0, 0.413)
    bar.close()
    last = terminal.getvalue().split("\r")[-1]
    assert "tiny: 100%" in last
    assert "100/100" in last
    assert "loss 1.500, 2.00M tok/s, 41% of peak" in last


def test_figures():
    assert describe(float("nan"), 0.0, None) == "loss nan, 0 tok/s"


def test_a_log_says_that_it_compiles_and_the_held_out_loss(clock, capsys):
    bar = Progress(100, 0, "tiny")
    with bar.compiling():
        clock[0] += 60
    clock[0] += 1
    bar.update(10, 2.0, 10.0, None)
    bar.show_evaluation(1.5)
    clock[0] += 10
    bar.update(20, 1.9, 10.0, None)
    bar.close()
    assert capsys.readouterr().err.splitlines() == [
        "tiny: step 0/100, compiling",
        "tiny: step 10/100, loss 2.000, 10 tok/s, 00:09 left",
        "tiny: step 20/100, held-out 1.500, loss 1.900, 10 tok/s, 00:44 left",
    ]


def test_a_bar_says_so_too(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    bar = Progress(100, 0, "tiny")
    with bar.compiling():
        assert terminal.getvalue().endswith("compiling]")
    bar.update(50, 1.5, 10.0, None)
    bar.show_evaluation(1.25)
    bar.close()
    assert "held-out 1.250, loss 1.500" in terminal.getvalue().split("\r")[-1]
