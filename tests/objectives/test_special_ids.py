"""Ids that the tokenizer or the model has are used, and none is added beside them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.objectives import denoising, masked, seq2seq, span_corruption
from lm_lab.types import Examples, UserError, Vocabulary
from tests import tiny

SIZE, LENGTH, START, MASK, SENTINELS = 50, 20, 3, 4, (49, 48, 47, 46)
TEXT = jnp.asarray(np.random.default_rng(0).integers(5, 46, (4, LENGTH)), jnp.int32)
HAS = Vocabulary(SIZE, 1, np.ones(SIZE, np.uint8), np.zeros(SIZE, bool), START, MASK, SENTINELS)
HAS_NOT = HAS._replace(start=None, mask=None, sentinels=())
ADDED = {
    denoising: 2,
    masked: 1,
    span_corruption: 3,
    seq2seq: 1,
}  # of HAS_NOT: spans 1, with the end 2


@pytest.mark.parametrize("module", ADDED, ids=lambda module: module.__name__.rpartition(".")[2])
def test_what_is_there_is_used(module):
    config = module.Config(form="context") if module is seq2seq else module.Config()
    given = Examples(TEXT, TEXT * 1.0, jnp.ones_like(TEXT), TEXT, jnp.ones_like(TEXT))
    assert (
        module.special_ids(config, LENGTH, HAS_NOT),
        module.special_ids(config, LENGTH, HAS),
    ) == (
        ADDED[module],
        0,
    )
    batch = jax.jit(module.make(config, LENGTH, HAS).prepare)(jax.random.key(0), given)
    shown = {*map(int, batch.inputs.tokens.ravel())}
    if module is not masked:
        assert (batch.inputs.tokens[:, 0] == START).all()
        shown |= {*map(int, batch.inputs.context.ravel())}
    if module in (denoising, masked):
        assert MASK in shown
    if module is span_corruption:
        assert (batch.targets[:, 0] == SENTINELS[0]).all()
        assert (batch.targets[:, -1] == SENTINELS[1]).all()
    assert max(shown) < SIZE


def test_what_generation_begins_with_is_the_start():
    config = seq2seq.Config(form="context")
    given = Examples(TEXT, TEXT * 1.0, context=TEXT, context_segments=jnp.ones_like(TEXT))
    assert (seq2seq.prompt(config, HAS, given).tokens == START).all()


def test_a_start_that_is_no_row_is_refused():
    with pytest.raises(UserError, match="start_id 32 is none of vocab 32"):
        tiny.model("encoder_decoder", start_id=tiny.VOCAB)
