"""Likelihoods by batches, buckets and padding are those of one unpadded pass; every token of a
text is scored once; what is written is what the likelihood says.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.evaluation import rows
from lm_lab.evaluation.rows import Row
from lm_lab.evaluation.text_model import text_models
from lm_lab.evaluation.text_run import require
from lm_lab.train.evaluation_tasks import text_run
from lm_lab.types import Inputs, UserError
from tests.evaluation.asked import END, LENGTH, by_one_pass, params_of, task_of, written

PAIRS = [
    ("", "abba"),
    ("ab", "bab"),
    ("na\u00efv", "e"),
    ("abc ", "b"),  # the space is the continuation's
    ("ab" * 20, "cde"),  # cut from the left, to a window of 9 in all
]


def cut(name: str, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """What one row gives and scores, said anew."""
    trimmed = context.rstrip()
    given = list(trimmed.encode()) or [END]
    target = list((context[len(trimmed) :] + continuation).encode())
    most = LENGTH // 2 if name == "encoder_decoder" else LENGTH + 1 - len(target)
    return given[-most:], target


def test_a_continuation_costs_what_one_unpadded_pass_says(asked):
    name, task, params, model = asked
    for found, pair in zip(model.continuations(PAIRS), PAIRS, strict=True):
        given, target = cut(name, *pair)
        nats, greedy = by_one_pass(task, params, given, target)
        assert found.tokens == len(target)
        # float32 rounding of some hundred terms
        assert found.nats == pytest.approx(nats, rel=2e-5)
        assert found.greedy == greedy


def test_a_text_is_scored_alike_alone_and_among_others(asked):
    _, _, _, model = asked
    texts = ["a", "naïve text " * 9, "", "abba" * 5]
    together = model.texts(texts)
    for text, found in zip(texts, together, strict=True):
        assert found.tokens == len(text.encode())
        assert model.texts([text])[0].nats == pytest.approx(found.nats, rel=1e-5)
    joined = model.texts(texts, joined=True)
    (whole,) = model.texts(["".join(texts)])
    assert sum(each.nats for each in joined) == pytest.approx(whole.nats, rel=1e-6)
    assert [each.tokens for each in joined] == [len(text.encode()) for text in texts]


def test_what_is_written_is_the_likeliest_token_by_token(asked):
    name, task, params, model = asked
    room = 4 if name == "encoder_decoder" else 5  # what three more tokens leave of a window
    prompts = ["ababa", "na\u00efve", "b" * 40]
    texts = model.write(prompts, 3, [])
    for prompt, text in zip(prompts, texts, strict=True):
        ids = written(task, params, list(prompt.encode())[-room:], 3)
        ids = ids[: ids.index(END)] if END in ids else ids
        before = prompt.encode()[-room:]
        # bytes that are no UTF-8 are shown as they stand behind what came before
        whole = task.tokenizer.decode([*before, *ids])
        assert text == whole[len(task.tokenizer.decode(list(before))) :]
    stop = max(texts, key=len)[-1:]
    expected = [text.partition(stop)[0] if stop else text for text in texts]
    assert model.write(prompts, 3, [stop]) == expected


@pytest.mark.parametrize("tokens", [1, 4, 5, 23])
@pytest.mark.parametrize("given, scored", [(1, 1), (5, 4), (4, 5), (8, 1), (1, 8)])
def test_every_token_stands_in_one_window_behind_what_is_given(tokens, given, scored):
    text = np.arange(1, tokens + 1)
    found = list(rows.windows(text, 77, given, scored))
    assert [token for row in found for token in row.target] == text.tolist()
    whole = [77, *text.tolist()]
    for row in found:
        begin = whole.index(row.target[0])
        assert row.given == whole[max(0, begin - given) : begin]
        assert 1 <= len(row.target) <= scored


@pytest.mark.parametrize("target", [1, 7, 8, 9, 30])
@pytest.mark.parametrize("limits", [(8, 8), (4, 5)])
def test_a_long_continuation_is_cut_into_rows_that_fit(target, limits):
    size, whole = 9, list(range(40))
    found = rows.continuation(whole[: 40 - target], whole[40 - target :], limits, size)
    assert [token for row in found for token in row.target] == whole[40 - target :]
    for row in found:
        assert 1 <= len(row.given) <= limits[0]
        assert len(row.target) <= limits[1]
        assert len(row.given) + len(row.target) <= size
        assert row.given[-1] + 1 == row.target[0]


def test_rows_come_back_in_their_order_from_few_shapes():
    shapes = set()

    def program(params, given, there, target, scored):
        shapes.add((given.shape, target.shape))
        assert ((given > 0) == (there > 0)).all()
        last = given[:, -1:]  # padded on the left
        return (last + target).astype(np.float32), scored > 0

    generator = np.random.default_rng(0)
    many = [
        Row(*(generator.integers(1, 9, generator.integers(1, 40)).tolist() for _ in range(2)))
        for _ in range(300)
    ]
    found = list(rows.scored(program, (), many, rows.Shape(4, (50, 50))))
    for row, score in zip(many, found, strict=True):
        np.testing.assert_array_equal(score.nats, np.asarray(row.target) + row.given[-1])
        assert score.greedy.all()
    assert len(shapes) <= 9  # 8, 32 and 50 tokens on either side


def test_an_encoder_scores_by_pseudo_likelihood():
    task = task_of(
        "decoder",
        {
            "model": {"family": "encoder", "width": 16, "depth": 1, "heads": 2},
            "objective": {"name": "masked"},
        },
    )
    params = params_of(task)
    model = text_models(text_run(task))(params)
    (found,) = model.continuations([("ab", "cd")])
    ids, total = list(b"abcd"), 0.0
    for place in (2, 3):
        shown = [*ids[:place], END + 1, *ids[place + 1 :]]
        logits = task.model.apply({"params": params}, Inputs(jnp.asarray([shown])))[0, place]
        total += float(jax.nn.log_softmax(logits)[ids[place]])
    assert found.nats == pytest.approx(total, rel=1e-5)
    with pytest.raises(UserError, match="sees more than the past, and writes nothing"):
        model.write(["a"], 2, [])


@pytest.mark.parametrize("family", ["decoder", "encoder_decoder"])
def test_a_model_of_pairs_scores_targets_given_sources(tmp_path, family):
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"a{i}\tb{i}\n" for i in range(40)))
    task = task_of(
        family,
        {
            "objective": {"name": "seq2seq", "measures": []},
            "data": {"source": {"name": "pairs", "path": str(path)}, "length": 8},
            "train.batch_size": 2,
        },
    )
    params = params_of(task)
    model = text_models(text_run(task))(params)
    (found,) = model.continuations([("ab", " cd")])
    source, target = [*b"ab", END], list(b"cd")
    if family == "encoder_decoder":
        shown = jnp.asarray([[task.vocabulary.size, target[0]]])
        inputs = Inputs(shown, context=jnp.asarray([source]))
    else:
        inputs = Inputs(jnp.asarray([[*source, target[0]]]))
    logits = task.model.apply({"params": params}, inputs)[0, -2:]
    nats = jax.nn.log_softmax(logits)[np.arange(2), np.asarray(target)].sum()
    assert found.nats == pytest.approx(float(nats), rel=1e-5)
    assert len(model.write(["ab", "b"], 3, [])) == 2
    with pytest.raises(UserError, match="gives no likelihood of a whole text"):
        model.texts(["a"])


def test_what_a_model_cannot_be_asked_is_one_line():
    run = text_run(task_of("decoder"))
    with pytest.raises(UserError, match="task: the run's model has no head on whole texts"):
        require(run, ["outputs"], "task")
