import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.interop import torch_rnn
from lm_lab.interop.torch_rnn import MODULES
from lm_lab.models.rnn import Config, Model
from lm_lab.types import Inputs, UserError
from tests.tiny import distance

OUTPUTS = 1e-5  # absolute, of features below 1
GRADIENTS = 1e-4  # as a share of the largest entry of a tensor

pytestmark = pytest.mark.torch

ROWS, LENGTH, VOCAB = 3, 9, 12
RAGGED = (9, 6, 2)  # tokens of each row that are no padding
CASES = [(module, *shape) for module in MODULES for shape in ((8, 3, False), (12, 2, True))]


def module_of(kind, width, depth, both, bias=True):
    torch = pytest.importorskip("torch")
    torch.manual_seed(depth)
    name, squash = kind
    more = {} if squash is None else {"nonlinearity": squash}
    size = width // 2 if both else width
    return getattr(torch.nn, name)(
        width, size, depth, batch_first=True, bidirectional=both, bias=bias, **more
    )


def tensors_of(module):
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


def theirs(module, table, tokens, probe):
    """(outputs with 0 at padding, gradients by name) of rows of unequal length."""
    torch = importlib.import_module("torch")
    packing = torch.nn.utils.rnn
    x = torch.tensor(np.asarray(table))[torch.tensor(tokens)]
    packed = packing.pack_padded_sequence(x, torch.tensor(RAGGED), batch_first=True)
    out, _ = packing.pad_packed_sequence(module(packed)[0], batch_first=True)
    (out * torch.tensor(probe)).sum().backward()
    return out.detach().numpy(), {
        name: parameter.grad.numpy() for name, parameter in module.named_parameters()
    }


def ours(module, cell, table, tokens, probe, scan):
    """The same of what was read, and the gradients by our paths."""
    params = torch_rnn.read(tensors_of(module), cell)
    model = Model(
        Config(**torch_rnn.read_config(tensors_of(module), cell), vocab=VOCAB, tied=True, scan=scan)
    )
    params = params | {"embed": {"embedding": table}}
    segments = jnp.asarray(np.arange(LENGTH) < np.array(RAGGED)[:, None], jnp.int32)

    def total(params):
        out = model.apply(
            {"params": params}, Inputs(jnp.asarray(tokens), segments), method="features"
        )
        out = out * (segments[..., None] > 0)
        return (out * probe).sum(), out

    (_, out), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    return out, gradient


@pytest.mark.parametrize("kind, width, depth, both", CASES)
def test_outputs_and_gradients_are_torchs(kind, width, depth, both):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(VOCAB, width)).astype(np.float32)
    probe = rng.normal(size=(ROWS, LENGTH, width)).astype(np.float32)
    tokens = rng.integers(0, VOCAB, (ROWS, LENGTH))
    module, cell = module_of(kind, width, depth, both), MODULES[kind]
    out, gradient = theirs(module, table, tokens, probe)
    own, own_gradient = ours(module, cell, table, tokens, probe, scan=both)
    assert np.abs(np.asarray(own) - out).max() < OUTPUTS
    # Torch adds both biases up where we have one, so their gradients are one; `write` would give
    # the second 0.
    mapped = torch_rnn.write(jax.device_get(own_gradient), cell)
    for name, tensor in gradient.items():
        if name.startswith("bias_hh"):
            places = slice(2 * module.hidden_size, None) if cell == "gru" else slice(0)
            mapped[name], tensor = mapped[name][places], tensor[places]
        if tensor.size:
            assert distance(mapped[name], tensor) < GRADIENTS, name


@pytest.mark.parametrize("kind, width, depth, both", CASES)
@pytest.mark.parametrize("bias", [False, True])
def test_what_is_written_is_the_module_that_was_read(kind, width, depth, both, bias):
    torch = pytest.importorskip("torch")
    module, cell = module_of(kind, width, depth, both, bias), MODULES[kind]
    tensors = torch_rnn.write(torch_rnn.read(tensors_of(module), cell), cell)
    twin = module_of(kind, width, depth, both, bias)
    twin.load_state_dict(
        {name: torch.tensor(tensor) for name, tensor in tensors.items()}, strict=True
    )
    x = torch.tensor(np.random.default_rng(0).normal(size=(2, 5, width)), dtype=torch.float32)
    # Two biases have become one: their sum was rounded at another place.
    assert (twin(x)[0] - module(x)[0]).abs().max() < 1e-6


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.pop("weight_ih_l0"), "tensor weight_ih_l0 is missing"),
        (lambda t: t.pop("weight_hh_l1"), "tensor weight_hh_l1 is missing"),
        (lambda t: t.update(weight_hr_l0=np.zeros((2, 2))), "tensor weight_hr_l0 is of no"),
        (lambda t: t.update(weight_ih_l0=np.zeros((32, 5))), "tensor weight_ih_l0 has shape"),
        (lambda t: t.update(weight_hh_l0=np.zeros((32, 5))), "tensor weight_hh_l0 has shape"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change, message):
    tensors = tensors_of(module_of(("LSTM", None), 8, 2, False))
    change(tensors)
    with pytest.raises(UserError, match=message):
        torch_rnn.read(tensors, "lstm")
