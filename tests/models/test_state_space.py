import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.compute import flops
from lm_lab.compute.parameters import by_group
from lm_lab.interop.fields import config_of
from lm_lab.models.state_space import Config
from lm_lab.types import Inputs, UserError
from tests import tiny
from tests.tiny import LENGTH, ROUNDING, VOCAB, WIDTH, distance

TOKENS = tiny.tokens()
GRIFFIN = {
    "block.name": "rg_lru",
    "attention_every": 3,
    "depth": 5,
    "window": 5,
}  # one group of three, and two left over
MAMBA = {"recurrent_width": 24, "block.state": 5, "block.step_rank": 3, "convolution": 3}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def normed(x, own):
    return own["scale"] * x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)


def convolved(x, own):
    kernel_size = own["taps"].shape[1]
    padded = np.concatenate([np.zeros((kernel_size - 1, x.shape[1])), x])
    return (
        np.stack([(padded[t : t + kernel_size].T * own["taps"]).sum(1) for t in range(len(x))])
        + own["bias"]
    )


def mamba(y, own):
    """Algorithm 2 of 2312.00752 with the block of its figure 3, token by token in float64."""
    x = convolved(y @ own["input"]["kernel"], own["convolution"])
    x = x * sigmoid(x)
    inner, state = own["log_rates"].shape
    rank = own["step"]["kernel"].shape[0]
    low, write, read = np.split(x @ own["select"]["kernel"], [rank, rank + state], axis=1)
    step = np.log1p(np.exp(low @ own["step"]["kernel"] + own["step_bias"]))
    h, outputs = np.zeros((inner, state)), []
    for t in range(len(x)):
        h = np.exp(-np.exp(own["log_rates"]) * step[t][:, None]) * h + np.outer(
            step[t] * x[t], write[t]
        )
        outputs.append(h @ read[t] + own["skip"] * x[t])
    gate = y @ own["gate"]["kernel"]
    return np.stack(outputs) * gate * sigmoid(gate) @ own["out"]["kernel"]


def rg_lru(y, own):
    """Equations 1 to 4 and figure 2 of 2402.19427, token by token in float64; a text's first input
    weighs 1.
    """
    x, unit = convolved(y @ own["input"]["kernel"], own["convolution"]), own["unit"]

    def gate(own):
        blocks = np.split(x, len(own["kernel"]), axis=1)
        return sigmoid(
            np.concatenate([part @ w for part, w in zip(blocks, own["kernel"])], 1) + own["bias"]
        )

    a = np.exp(-8 * np.log1p(np.exp(unit["rates"])) * gate(unit["decay_gate"]))
    weight = np.sqrt(1 - a**2)
    weight[0] = 1
    h, states = np.zeros(x.shape[1]), []
    for t, told in enumerate(weight * gate(unit["input_gate"]) * x):
        h = a[t] * h + told
        states.append(h)
    return np.stack(states) * gelu(y @ own["gate"]["kernel"]) @ own["out"]["kernel"]


def attention(y, own, heads=2, window=5):
    """One key for all heads, half of whose features turn with the position."""
    length, features = len(y), WIDTH // heads
    slots = np.arange(length)

    def turned(x):
        pairs = x.shape[1] // 4
        angles = slots[:, None] * 10_000.0 ** (-np.arange(pairs) / pairs)
        left, right, rest = np.split(x, [pairs, 2 * pairs], axis=1)
        cos, sin = np.cos(angles), np.sin(angles)
        return np.concatenate([left * cos - right * sin, right * cos + left * sin, rest], 1)

    distances = slots[:, None] - slots
    seen = (distances >= 0) & (distances < window)
    k, v = turned(y @ own["key"]["kernel"]), y @ own["value"]["kernel"]
    mixed = []
    for q in np.split(y @ own["query"]["kernel"], heads, axis=1):
        scores = np.where(seen, turned(q) @ k.T / np.sqrt(features), -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed.append(weights / weights.sum(-1, keepdims=True) @ v)
    return np.concatenate(mixed, 1) @ own["out"]["kernel"]


MIXERS = {"state_space": mamba, "recurrent": rg_lru, "attention": attention}


def layers_of(params):
    """The parameters of each layer, from the bottom up."""
    for stack in params.keys() & {"groups"}, params.keys() & {"layers"}:
        for name in stack:
            for index in range(len(jax.tree.leaves(params[name])[0])):
                own = jax.tree.map(lambda leaf, index=index: leaf[index], params[name])
                yield from [own[block] for block in sorted(own)] if name == "groups" else [own]


def numpy_model(params, tokens):
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    x = p["embed"]["embedding"][tokens]
    for own in layers_of(p):
        (kind,) = own.keys() & MIXERS.keys()
        x = x + MIXERS[kind](normed(x, own["mixer_norm"]), own[kind])
        if "feed_forward" in own:
            y, inner = normed(x, own["feed_forward_norm"]), own["feed_forward"]
            x = (
                x
                + gelu(y @ inner["gate"]["kernel"])
                * (y @ inner["up"]["kernel"])
                @ inner["down"]["kernel"]
            )
    return normed(x, p["norm"]) @ p["head"]["kernel"]


@pytest.mark.parametrize("changes", [MAMBA, GRIFFIN], ids=["mamba", "griffin"])
def test_logits_are_those_of_the_formulas(changes):
    model = tiny.model("state_space", **changes)
    params = tiny.params_of(model, Inputs(TOKENS))
    params = jax.tree.map(
        lambda x: x + 0.1 * jnp.sin(jnp.arange(x.size)).reshape(x.shape), params
    )  # no offset is 0
    logits = jax.jit(lambda p: model.apply({"params": p}, Inputs(TOKENS)))(params)
    assert len(list(layers_of(params))) == model.cfg.depth
    assert distance(logits[0], numpy_model(params, np.asarray(TOKENS[0]))) < ROUNDING


@pytest.mark.parametrize("block", ["mamba", "rg_lru"])
def test_the_kernels_of_the_scan_are_one_model(block):
    params = tiny.params_of(tiny.model("state_space", block=block), Inputs(TOKENS))

    def results(kernel):
        model = tiny.model("state_space", block=block, scan_kernel=kernel)

        def loss(params):
            logits = model.apply({"params": params}, Inputs(TOKENS))
            return jnp.sin(logits).sum(), logits

        return jax.jit(jax.grad(loss, has_aux=True))(
            params
        )  # the sum itself cancels to less than a term

    assert distance(results("associative"), results("sequential")) < ROUNDING


@pytest.mark.parametrize("changes", [{}, GRIFFIN], ids=["mamba", "griffin"])
def test_a_cache_is_no_larger_for_a_longer_text(changes):
    model = tiny.model("state_space", **changes)
    params = jax.eval_shape(lambda: tiny.params_of(model, Inputs(TOKENS)))

    def sizes(length):
        text = Inputs(jnp.zeros((2, length), jnp.int32))
        held = jax.eval_shape(
            lambda params: model.apply(
                {"params": params}, text, mutable=["cache"], method="features"
            ),
            params,
        )[1]
        return [leaf.size for leaf in jax.tree.leaves(held)]

    assert sizes(LENGTH) == sizes(100 * LENGTH)


@pytest.mark.parametrize("changes", [MAMBA, GRIFFIN], ids=["mamba", "griffin"])
def test_padding_between_two_parts_of_a_document_leaves_the_states_alone(changes):
    """With a convolution over one token, which counts places, and no
    attention, whose window does.
    """
    model = tiny.model("state_space", **{**changes, "convolution": 1, "attention_every": None})
    params = tiny.params_of(model, Inputs(TOKENS))
    logits = jax.jit(lambda *inputs: model.apply({"params": params}, Inputs(*inputs)))
    parted = jnp.concatenate([TOKENS[:, :7], TOKENS[:, :3], TOKENS[:, 7:]], 1)
    segments = jnp.ones_like(parted).at[:, 7:10].set(0)
    whole = logits(TOKENS)
    assert (
        distance(jnp.delete(logits(parted, segments), jnp.arange(7, 10), axis=1), whole) < ROUNDING
    )


def test_parameters_and_flops_of_mamba_are_the_closed_form():
    inner, state, rank, kernel_size, depth = 24, 5, 3, 3, tiny.DEPTH
    kernels = 3 * WIDTH * inner + inner * (rank + 2 * state) + rank * inner
    others = inner * (kernel_size + 1) + inner + inner * state + inner
    check_costs(MAMBA, {"recurrent": depth * (kernels + others)}, depth * kernels, 0)


def test_parameters_and_flops_of_griffin_are_the_closed_form():
    recurrent = 3 * WIDTH**2 + 2 * WIDTH**2 // tiny.HEADS
    vectors = WIDTH * (4 + 1) + 2 * WIDTH + WIDTH  # convolution, offsets of the gates, rates
    attends = 2 * WIDTH**2 + 2 * WIDTH * WIDTH // tiny.HEADS
    feed_forward = 5 * 3 * WIDTH * 3 * WIDTH
    groups = {
        "recurrent": 4 * (recurrent + vectors),
        "attention": attends,
        "feed_forward": feed_forward,
    }
    check_costs(GRIFFIN, groups, 4 * recurrent + attends + feed_forward, 12 * WIDTH * LENGTH)


def check_costs(changes, groups, kernels, attention):
    """Groups of parameters; and 6 FLOPs a weight and token, and attention's products, in a step:
    the scan, the convolution and the gates are elementwise, and left out.
    """
    model = tiny.model("state_space", **changes)
    params = jax.eval_shape(lambda: tiny.params_of(model, Inputs(TOKENS)))
    counted = by_group(params)
    assert {name: counted[name] for name in groups} == groups
    assert counted["matmul_body"] == kernels
    step = flops.count(
        jax.value_and_grad(lambda p: model.apply({"params": p}, Inputs(TOKENS)).sum()), params
    )
    assert step.total == TOKENS.size * (6 * (kernels + VOCAB * WIDTH) + attention)


@pytest.mark.parametrize(
    "changes, line",
    [
        (
            {"block": "rg_lru", "recurrent_width": 30},
            "recurrent_width 30 is not divisible by heads 4",
        ),
        ({"attention_every": 2, "width": 30}, "width 30 is not divisible by heads 4"),
        ({"attention_every": 2, "kv_heads": 3}, "heads 4 is not divisible by kv_heads 3"),
        (
            {"attention_every": 2, "positions.share": 0.1},
            "positions.share 0.1 of 32 features is odd",
        ),
    ],
)
def test_impossible_shapes_are_refused(changes, line):
    with pytest.raises(UserError, match=line):
        config_of(Config, changes, "config.model")


def test_the_stream_begins_with_logits_of_unit_size():
    for changes in ({}, {"block": "rg_lru", "attention_every": 3}):
        model = tiny.model("state_space", width=128, depth=8, heads=4, **changes)
        assert 0.8 < tiny.first_logits(model, Inputs(TOKENS)).std() < 1.2
