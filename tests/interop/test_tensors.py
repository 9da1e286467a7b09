"""safetensors files: files that we write are read here and by the library; a file with a false
header is refused by name.
"""

import json

import ml_dtypes
import numpy as np
import pytest

from lm_lab.interop import tensors
from lm_lab.types import UserError

TENSORS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array(3.0, np.float16),
    "c": np.arange(3).astype(ml_dtypes.bfloat16),
    "d": np.zeros((0, 4), np.float64),
    "e": np.array([True, False]),
}


def test_what_is_written_is_read(tmp_path):
    tensors.write(tmp_path / "x", TENSORS)
    found = tensors.read(tmp_path / "x")
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert (found[name] == tensor).all()


@pytest.mark.torch
def test_the_library_reads_and_writes_the_same(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    plain = {name: tensor for name, tensor in TENSORS.items() if name != "c"}  # NumPy's own
    tensors.write(tmp_path / "ours", plain)
    theirs = library.load_file(tmp_path / "ours")
    assert all((theirs[name] == plain[name]).all() for name in plain)
    library.save_file(plain, tmp_path / "theirs")
    ours = tensors.read(tmp_path / "theirs")
    assert all((ours[name] == plain[name]).all() for name in plain)


def lying(path, size=24, length=None, **fields):
    """A file of two tensors whose header has false fields of the first."""
    good = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    header = {"a": good | fields, "b": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]}}
    text = json.dumps(header).encode()
    path.write_bytes(
        (len(text) if length is None else length).to_bytes(8, "little") + text + bytes(size)
    )


LIES = [
    ({"size": 20}, "tensor b ends at byte 24 of 20: the file is truncated"),
    ({"size": 28}, "4 bytes follow the last tensor"),
    (
        {"shape": [2, 3]},
        r"tensor a has 16 bytes in the header, which F32 of shape \[2, 3\] has not",
    ),
    ({"shape": [2**40, 2**40]}, "tensor a has 16 bytes in the header"),
    ({"shape": [-2, -2]}, r"tensor a has shape \[-2, -2\]"),
    ({"shape": [2.0, 2]}, r"tensor a has shape \[2.0, 2\]"),
    ({"data_offsets": [8, 24]}, "tensor a leaves a hole before it"),
    ({"shape": [3, 2], "data_offsets": [0, 24]}, "tensor b overlaps another"),
    ({"shape": [0, 2**70], "data_offsets": [0, 0]}, "which no tensor has"),
    ({"shape": [1] * 99, "data_offsets": [0, 4]}, "which no tensor has"),
    ({"data_offsets": [2**40, 2**40 + 16]}, "tensor b leaves a hole before it"),
    (
        {"dtype": "F8_E4M3", "data_offsets": [0, 4]},
        "tensor a has dtype 'F8_E4M3', which is not supported",
    ),
    ({"dtype": 3}, "tensor a has dtype 3"),
    ({"dtype": None, "data_offsets": "x"}, "tensor a has dtype None"),
    ({"length": 2**63}, "cannot hold a header of 9223372036854775808"),
    ({"length": 10}, "its header is no JSON"),
]


@pytest.mark.parametrize("lie, message", LIES)
def test_a_lying_header_is_refused(tmp_path, lie, message):
    lying(tmp_path / "x", **lie)
    with pytest.raises(UserError, match=rf"^{tmp_path / 'x'}: .*{message}"):
        tensors.read(tmp_path / "x")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "0 bytes cannot hold a header"),
        (b"\2\0\0\0\0\0\0\0[]", "its header is no JSON object"),
        (b"\2\0\0\0\0\0\0\0\xff\xff", "its header is no JSON"),
        (b"\x0e\0\0\0\0\0\0\0" + b'{"a":1,"a":11}', "tensor a is described twice"),
        (b"\x09\0\0\0\0\0\0\0" + b'{"a":111}', "tensor a has no dtype"),
        (b"\x10\x27\0\0\0\0\0\0" + b"[" * 10_000, "its header is no JSON"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UserError, match=message):
        tensors.read(tmp_path / "x")
