import jax
import jax.numpy as jnp
import numpy as np

from lm_lab.nn.convolution import CausalConvolution
from lm_lab.nn.segments import Segments
from lm_lab.types import Inputs
from tests.tiny import ROUNDING, distance

SEGMENTS = np.array([[0, 0, 1, 1, 1, 2, 2, 2], [1, 1, 0, 1, 3, 3, 0, 0]])
TOKENS = jnp.zeros(SEGMENTS.shape, jnp.int32)


def info(segments):
    return Segments(3).apply({}, Inputs(TOKENS[:, : segments.shape[1]], jnp.asarray(segments)))


def test_states_begin_with_their_segment_and_padding_is_none():
    begins = [[0, 0, 1, 0, 0, 1, 0, 0], [1, 0, 0, 0, 1, 0, 0, 0]]
    assert info(SEGMENTS).resets_BL.astype(int).tolist() == begins
    assert info(SEGMENTS).padding_BL.tolist() == (SEGMENTS == 0).tolist()
    plain = Segments(3).apply({}, Inputs(TOKENS))
    assert plain.resets_BL.tolist() == [[True] + [False] * 7]
    assert plain.padding_BL is plain.same_segment_WBL is None


def test_decoding_continues_the_segments():
    segments, parts, variables = Segments(3), [], {}
    for begin, end in ((0, 3), (3, 4), (4, 8)):
        inputs = Inputs(TOKENS[:, begin:end], jnp.asarray(SEGMENTS[:, begin:end]))
        part, variables = segments.apply(variables, inputs, mutable=["cache"])
        parts.append(part)
    whole = info(SEGMENTS)
    assert (jnp.concatenate([part.resets_BL for part in parts], 1) == whole.resets_BL).all()
    # Of padding before the first token nothing is asked.
    same = jnp.concatenate([part.same_segment_WBL for part in parts], 2)
    assert (same == whole.same_segment_WBL)[:, SEGMENTS > 0].all()


def test_a_convolution_sees_its_own_segment():
    x = np.random.default_rng(0).normal(size=(*SEGMENTS.shape, 4))
    module = CausalConvolution(3)
    params = module.init(jax.random.key(0), jnp.asarray(x, jnp.float32), info(SEGMENTS))
    made = module.apply(params, jnp.asarray(x, jnp.float32), info(SEGMENTS))
    weights = np.asarray(jax.tree.leaves(params["params"]["taps"])[0], np.float64)
    wanted = np.zeros_like(x)
    for row, place in np.argwhere(SEGMENTS > 0):
        for back in range(min(place, 2) + 1):
            if SEGMENTS[row, place - back] == SEGMENTS[row, place]:
                wanted[row, place] += weights[:, 2 - back] * x[row, place - back]
    assert distance(made * (SEGMENTS > 0)[..., None], wanted) < ROUNDING
