import doctest

from lm_lab import values


def test_examples_run():
    failed, tried = doctest.testmod(values)
    assert (failed, tried) == (0, 2)
