"""Signals are raised before there is something to save, noted afterwards, and never counted
twice.
"""

import os
import signal
import time

import pytest

from lm_lab.train import preemption
from lm_lab.train.preemption import RESUME, Signals, Stopped, exit_code
from tests.sweeps.fakes import wait_for


@pytest.fixture
def left(monkeypatch):
    """The codes with which the process would have been ended; a signal counts as another one after
    50 ms.
    """
    codes = []
    monkeypatch.setattr(preemption, "leave", lambda code, words: codes.append(code))
    monkeypatch.setattr(preemption, "ONE_SECONDS", 0.05)
    return codes


@pytest.mark.parametrize("number", preemption.NUMBERS)
def test_with_nothing_to_save_it_is_raised_in_the_main_thread(left, number):
    before = signal.getsignal(number)
    with (
        pytest.raises(Stopped, match=f"{number.name}: stopped; the same command goes on"),
        Signals("raise"),
    ):
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before
    assert left == []


def test_the_first_is_noted_and_the_second_acts_at_once(left):
    with Signals("note") as signals:
        signals.listen()
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)  # as a closing shell sends them: this is no second one
        assert signals.received == signal.SIGHUP
        time.sleep(0.1)
        assert left == []
        os.kill(os.getpid(), signal.SIGTERM)
        wait_for(lambda: left == [RESUME])


def test_a_second_ctrl_c_acts_however_soon_and_an_echo_of_another_signal_does_not(
    left, monkeypatch
):
    monkeypatch.setattr(preemption, "ONE_SECONDS", 60.0)
    monkeypatch.setattr(preemption, "PRESS_SECONDS", 0.02)
    for number, codes in ((signal.SIGTERM, []), (signal.SIGINT, [130])):
        with Signals("note") as signals:
            signals.listen()
            for _ in range(2):
                os.kill(os.getpid(), number)
                time.sleep(0.05)
            wait_for(lambda codes=codes: left == codes)


def test_a_second_signal_ends_a_clean_up_that_takes_too_long(left, monkeypatch):
    monkeypatch.setattr(preemption, "ANSWER_SECONDS", 0.05)

    def hangs():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            time.sleep(0.1)
            os.write(signals._writer, bytes([signal.SIGTERM]))  # while no handler can run
            wait_for(lambda: left == [RESUME])

    with pytest.raises(Stopped), Signals("raise") as signals:
        hangs()


def test_the_exit_code_tells_a_scheduler_whether_to_run_it_again():
    codes = {number.name: exit_code(number) for number in preemption.NUMBERS}
    assert codes == {"SIGTERM": 75, "SIGUSR1": 75, "SIGINT": 130, "SIGHUP": 129}


def test_a_process_that_is_to_be_kept_is_interrupted_by_the_second(left):
    with Signals("note", keeps_process=True) as signals:
        signals.listen()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        assert signals.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt, match="before the run was saved"):
            os.kill(os.getpid(), signal.SIGINT)
    assert left == []


def test_a_main_thread_that_runs_no_python_is_ended(left, monkeypatch):
    monkeypatch.setattr(preemption, "ANSWER_SECONDS", 0.05)
    with Signals("raise") as signals:
        os.write(
            signals._writer, bytes([signal.SIGTERM])
        )  # what the system does, while no handler can run
        wait_for(lambda: left == [RESUME])


def test_where_nothing_is_to_be_tidied_up_the_process_ends(left):
    with Signals("leave"):
        os.kill(os.getpid(), signal.SIGINT)
        wait_for(lambda: left == [128 + signal.SIGINT])


def test_until_there_is_something_to_save_nothing_changes():
    before = signal.getsignal(signal.SIGTERM)
    with Signals("note"):
        assert signal.getsignal(signal.SIGTERM) == before


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals("raise"):
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
