"""The line of progress."""

import io

from lm_lab.sweeps.progress import Counts, Progress, progress_line


def test_the_line_counts_and_tells_the_time_left():
    line = progress_line(Counts(done=5, failed=1, left=6, seconds_left=30.0), seconds=90)
    assert (
        line == "5 of 12 runs, 1 failed, 6 left | 4.0 runs a minute | 0:01:30 passed, 0:00:30 left"
    )


def test_the_line_promises_nothing_before_the_first_run():
    line = progress_line(Counts(done=0, failed=0, left=3, seconds_left=None), seconds=0)
    assert line == "0 of 3 runs, 3 left | ? runs a minute | 0:00:00 passed, ? left"


def test_no_control_characters_when_not_a_terminal():
    stream = io.StringIO()
    with Progress(lambda: Counts(1, 0, 0, 0.0), stream) as progress:
        progress.say("run a: complete")
    assert stream.getvalue().splitlines()[0] == "run a: complete"
    assert "1 of 1 runs" in stream.getvalue()
    assert not set(stream.getvalue()) & set("\r\x1b")


def test_one_moving_line_in_a_terminal():
    stream = io.StringIO()
    stream.isatty = lambda: True
    with Progress(lambda: Counts(1, 0, 0, 0.0), stream) as progress:
        progress.show()
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().count("\r") == 2


def test_the_losses_of_what_runs_are_shown():
    line = progress_line(Counts(1, 0, 3, 60.0, (2.25, 3.5)), seconds=60)
    assert line.startswith("1 of 4 runs, 3 left, loss 2.250 .. 3.500 of 2 under way | ")
    assert ", loss 2.250 of 1 under way | " in progress_line(
        Counts(1, 0, 3, 60.0, (2.25,)), seconds=60
    )


def test_a_line_wider_than_the_terminal_does_not_wrap(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    stream.isatty = lambda: True
    with Progress(lambda: Counts(1, 0, 3, 60.0, (2.25, 3.5)), stream):
        pass
    assert max(map(len, stream.getvalue().replace("\x1b[K", "").splitlines())) == 39
