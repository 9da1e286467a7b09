"""Where the segments of a row begin and which tokens are padding: one record for attention,
recurrences and convolutions.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from lm_lab.nn.cache import is_decoding
from lm_lab.types import Inputs


class SegmentInfo(NamedTuple):
    """The segments of a call, the same for every layer. Ids and padding are None where each row is
    one segment without padding.
    """

    ids_BL: Array | None  # i32[B, L], 0 for padding
    padding_BL: Array | None  # bool[B, L], True for padding, which does not change a state
    resets_BL: Array | None = None  # bool[1|B, L], True where a state starts again from zero
    reverse_resets_BL: Array | None = None  # the same for a recurrence from the end of the row
    # bool[W-1, B, L]: whether the tokens W-1, ..., 1 places before are of the token's own segment;
    # None: all are
    same_segment_WBL: Array | None = None


def segment_ids(inputs: Inputs) -> SegmentInfo:
    """A SegmentInfo with ids and padding alone: all that attention needs."""
    ids_BL = inputs.segments
    return SegmentInfo(ids_BL, None if ids_BL is None else ids_BL == 0)


class Segments(nn.Module):
    """Makes the SegmentInfo for recurrences, and for convolutions over `kernel_size` tokens (W).

    With `reverse`, also the resets of a recurrence that runs from the end. While decoding, the
    last segment ids of earlier calls are in the cache.
    """

    kernel_size: int = 1
    reverse: bool = False

    @nn.compact
    def __call__(self, inputs: Inputs) -> SegmentInfo:
        rows, length = inputs.tokens.shape
        ids_BL = inputs.segments
        if ids_BL is None and not is_decoding(self):
            return SegmentInfo(None, None, jnp.arange(length)[None] == 0)
        ids_BL = jnp.ones_like(inputs.tokens) if ids_BL is None else ids_BL
        last_B = jnp.zeros(rows, jnp.int32)
        if is_decoding(self):
            cached_last = self.variable("cache", "last", jnp.zeros, last_B.shape, jnp.int32)
            resets_BL, cached_last.value = resets(ids_BL, cached_last.value)
        else:
            resets_BL, _ = resets(ids_BL, last_B)
        reverse_BL = resets(ids_BL[:, ::-1], last_B)[0][:, ::-1] if self.reverse else None
        same = self._same_segment(ids_BL) if self.kernel_size > 1 else None
        return SegmentInfo(ids_BL, ids_BL == 0, resets_BL, reverse_BL, same)

    def _same_segment(self, ids_BL: Array) -> Array:
        reach, length = self.kernel_size - 1, ids_BL.shape[1]
        tail = jnp.zeros((ids_BL.shape[0], reach), jnp.int32)
        cached_tail = None
        if is_decoding(self):
            cached_tail = self.variable("cache", "tail", jnp.zeros, tail.shape, jnp.int32)
            tail = cached_tail.value
        padded = jnp.concatenate([tail, ids_BL], axis=1)
        if cached_tail is not None:
            cached_tail.value = padded[:, length:]
        return jnp.stack([padded[:, i : i + length] == ids_BL for i in range(reach)])


def resets(ids_BL: Array, last_B: Array) -> tuple[Array, Array]:
    """(bool[B, L], True at the first token of each segment; the
    last id i32[B] that is not padding).

    `last_B` is the last such id of earlier calls, 0 if there were none.
    """
    all_BM = jnp.concatenate([last_B[:, None], ids_BL], axis=1)
    newest_BM = jax.lax.cummax(jnp.where(all_BM > 0, jnp.arange(all_BM.shape[1]), 0), axis=1)
    last_BM = jnp.take_along_axis(all_BM, newest_BM, axis=1)
    return (ids_BL > 0) & (ids_BL != last_BM[:, :-1]), last_BM[:, -1]
