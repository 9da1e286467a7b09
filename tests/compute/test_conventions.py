import pytest

from lm_lab.compute.conventions import (
    CONVENTIONS,
    Geometry,
    gru_body,
    lstm_body,
    per_token,
    transformer_body,
)

DEPTH, WIDTH, HEADS, LENGTH, VOCAB = 10, 640, 10, 2048, 32_000
SHAPE = Geometry(
    transformer_body(WIDTH, DEPTH), VOCAB * WIDTH, LENGTH, DEPTH, HEADS, WIDTH // HEADS
)


def test_unit_values_a_sequence():
    costs = {name: LENGTH * cost for name, cost in per_token(SHAPE).items()}
    assert costs == {
        "6N_body": 603_979_776_000,
        "6N_matmul": 6 * (12 * DEPTH * WIDTH**2 + VOCAB * WIDTH) * LENGTH,
        "palm": 1_177_760_563_200,
        "causal": (1_177_760_563_200 + 6 * (12 * DEPTH * WIDTH**2 + VOCAB * WIDTH) * LENGTH) // 2,
    }


def test_whole_runs_do_not_overflow():
    tokens = 15 * 10**12
    large = Geometry(body=405 * 10**9, head=0, length=8192)
    assert per_token(large)["6N_body"] * tokens == 6 * 405 * 10**9 * tokens > 2**63


def test_families_without_attention_have_no_term_in_the_length():
    for length in (1, 1000):
        costs = per_token(Geometry(lstm_body(WIDTH, 2), VOCAB * WIDTH, length))
        assert costs["palm"] == costs["causal"] == costs["6N_matmul"]


@pytest.mark.parametrize("body, gates", [(lstm_body, 4), (gru_body, 3)])
def test_gated_layers(body, gates):
    assert body(WIDTH, 1, 100) == gates * WIDTH * (100 + WIDTH)
    assert body(WIDTH, 3) == 3 * gates * WIDTH * 2 * WIDTH


def test_every_convention_says_its_formula():
    assert all(convention.formula.startswith("6 N") for convention in CONVENTIONS.values())
