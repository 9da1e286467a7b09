"""What objectives share: the likelihood of targets, what a decoder reads, and padded prompts."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import ModelInfo
from lm_lab.types import Batch, Examples, Inputs, ObjectiveFunctions, Sums, UserError


def of_likelihood(
    prepare: Callable[[Array, Examples], Batch], smoothing: float = 0.0
) -> ObjectiveFunctions:
    """The objective whose loss is the likelihood of the targets that `prepare` gives."""
    return ObjectiveFunctions(prepare, partial(likelihood, smoothing=smoothing), by_position=True)


def likelihood(logits_BLV: Array, batch: Batch, smoothing: float = 0.0) -> Sums:
    """Sums over targets: nll in nats, weight (targets counted), UTF-8 bytes they stand for.

    With label smoothing (1512.00567) a target is any token of the vocabulary with probability
    `smoothing`; "penalty" is what that adds to the nll.
    """
    nll_BL, log_total_BL = token_nll(logits_BLV, batch.targets)
    sums = {
        "nll": (nll_BL * batch.weights).sum(),
        "weight": batch.weights.sum(),
        "bytes": (batch.bytes * batch.weights).sum(),
    }
    if smoothing:
        any_BL = log_total_BL - logits_BLV.mean(-1, dtype=log_total_BL.dtype)
        sums["penalty"] = smoothing * ((any_BL - nll_BL) * batch.weights).sum()
    return sums


def token_nll(logits_BLV: Array, targets_BL: Array) -> tuple[Array, Array]:
    """(nats of each target f32[B L], the log of the sum of exp(logits) f32[B L]), in float32 also
    where a model gives its logits in bfloat16.
    """
    logits_BLV = logits_BLV.astype(jnp.promote_types(logits_BLV.dtype, jnp.float32))
    peak_BL1 = jax.lax.stop_gradient(logits_BLV.max(-1, keepdims=True))
    log_total_BL = jnp.log(jnp.exp(logits_BLV - peak_BL1).sum(-1)) + peak_BL1[..., 0]
    target_BL = jnp.take_along_axis(logits_BLV, targets_BL[..., None], axis=-1)[..., 0]
    return log_total_BL - target_BL, log_total_BL


def read_as_context(given: bool | None, model: ModelInfo) -> bool:
    """Whether the text is read by an encoder: True if the model has one. Raises UserError for a
    setting `given` that contradicts the model.
    """
    if given not in (None, model.needs_context):
        need = "reads a context" if model.needs_context else "reads no context"
        raise UserError(
            f"config.objective.as_context {given} is not for this config.model, which {need}; "
            "leave it out"
        )
    return model.needs_context


def left_pad(examples: Examples, prefix: bool = False) -> Inputs:
    """The contexts [B M] as prompts padded on the left, so that generated tokens follow their last
    token; with `prefix`, all tokens of a prompt see one another.
    """
    assert examples.context is not None
    assert examples.context_segments is not None
    length = examples.context.shape[1]
    padding_B1 = length - (examples.context_segments > 0).sum(1, keepdims=True)
    segments = (jnp.arange(length) >= padding_B1).astype(jnp.int32)
    positions = jnp.where(segments > 0, jnp.arange(length) - padding_B1, 0)
    tokens = jnp.where(segments > 0, jnp.take_along_axis(examples.context, positions, axis=1), 0)
    return Inputs(tokens, segments, positions, prefix=segments > 0 if prefix else None)


def shift_right(targets_BL: Array, segments_BL: Array | None, start: int) -> Array:
    """The decoder's inputs i32[B L]: the targets shifted one place to the right, with the id
    `start` where a segment begins.
    """
    before_BL = jnp.pad(targets_BL[:, :-1], ((0, 0), (1, 0)), constant_values=start)
    if segments_BL is None:
        return before_BL
    return jnp.where(jnp.diff(segments_BL, axis=1, prepend=0) != 0, start, before_BL)
