"""Bytes that a loader leaves to the device are those that it counts itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.data.gathering import sized
from lm_lab.train import checked
from lm_lab.types import Batch, Examples, Inputs, ObjectiveFunctions

TABLE = np.array([1, 1, 3, 2, 0, 300], np.uint16)


def prepare(key, examples):
    del key
    return Batch(
        Inputs(examples.tokens), examples.tokens, jnp.ones(examples.tokens.shape), examples.bytes
    )


@pytest.mark.parametrize("segments", [None, np.array([[1, 1, 2, 2], [1, 3, 0, 0]], np.int32)])
def test_bytes_that_are_left_out_are_looked_up(segments):
    objective = checked.objective(
        "my.objective", ObjectiveFunctions(prepare, lambda logits, batch: {}), TABLE
    )
    rows = Examples(np.array([[0, 5, 4, 2], [3, 1, 0, 0]], np.int32), None, segments)  # type: ignore[arg-type]
    counted = sized(rows, TABLE.astype(np.float32))
    assert np.asarray(counted.bytes).tolist()[0] == [1, 300, 0, 3]
    assert counted.bytes[1].tolist() == ([2, 1, 1, 1] if segments is None else [2, 1, 0, 0])
    for given in (rows, counted, counted._replace(bytes=2 * counted.bytes)):
        found = objective.prepare(jax.random.key(0), given).bytes
        expected = counted.bytes if given.bytes is None else given.bytes
        assert found.dtype == jnp.float32
        np.testing.assert_array_equal(found, expected)
