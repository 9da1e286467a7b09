"""Rules that map foreign tensors to our parameters, and back.

A path is "layers/attention/query/kernel"; if a rule has layers, that leaf is stacked, and its row i
is the foreign layer layers[i].
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Generic, NamedTuple

import ml_dtypes
import numpy as np

from lm_lab.contracts import ConfigT
from lm_lab.nn.trees import flatten, unflatten
from lm_lab.types import PyTree, UserError

Arrays = tuple[np.ndarray, ...]
FLOATS = tuple(map(np.dtype, (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)))


class Rule(NamedTuple):
    """Leaves of ours and foreign tensors with the same numbers, and the maps between them.

    `read` maps the foreign arrays of one layer, in order, to ours of one layer; `write` is its
    inverse. Both are affine, so that gradients can be mapped too.
    """

    ours: tuple[str, ...]
    theirs: tuple[str, ...]  # with "{layer}" if the rule has layers
    read: Callable[..., Arrays]
    write: Callable[..., Arrays]
    layers: tuple[int, ...] | None = None

    def foreign(self) -> Iterator[tuple[str, ...]]:
        """The names of the foreign tensors of each layer."""
        for layer in (None,) if self.layers is None else self.layers:
            yield (
                self.theirs
                if layer is None
                else tuple(name.format(layer=layer) for name in self.theirs)
            )


def same(ours: str, theirs: str, layers: Sequence[int] | None = None) -> Rule:
    """A tensor stored in the same way."""
    return Rule((ours,), (theirs,), lambda x: (x,), lambda x: (x,), _tuple(layers))


def transposed(ours: str, theirs: str, layers: Sequence[int] | None = None) -> Rule:
    """A matrix stored [out, in] there (torch's Linear), and [in, out] here."""
    return Rule((ours,), (theirs,), lambda x: (x.T,), lambda x: (x.T,), _tuple(layers))


def own_head(config: Any, theirs: str = "lm_head.weight") -> list[Rule]:
    """The rule of the readout, where it is not tied to the embedding."""
    return [] if config.tied else [transposed("head/kernel", theirs)]


def scale_minus_one(ours: str, theirs: str, layers: Sequence[int] | None = None) -> Rule:
    """The scale of a norm, stored minus 1 there."""
    return Rule((ours,), (theirs,), lambda x: (x + 1,), lambda x: (x - 1,), _tuple(layers))


def linear(
    ours: str, theirs: str, layers: Sequence[int] | None = None, *, bias: bool = True
) -> list[Rule]:
    """A linear layer stored as torch's, with its bias if it has one."""
    kernel = transposed(f"{ours}/kernel", f"{theirs}.weight", layers)
    return [kernel, same(f"{ours}/bias", f"{theirs}.bias", layers)] if bias else [kernel]


def norm(
    ours: str,
    theirs: str,
    layers: Sequence[int] | None = None,
    *,
    bias: bool = True,
    minus_one: bool = False,
) -> list[Rule]:
    """A norm, with its bias if it has one; `minus_one`: the scale is stored minus 1 there."""
    scale = (scale_minus_one if minus_one else same)(f"{ours}/scale", f"{theirs}.weight", layers)
    return [scale, same(f"{ours}/bias", f"{theirs}.bias", layers)] if bias else [scale]


def skip_rows(ours: str, theirs: str, unused: int) -> Rule:
    """A position table whose first `unused` rows there are no positions; written as zeros."""

    def write(x: np.ndarray) -> Arrays:
        return (np.pad(x, ((unused, 0), (0, 0))),)

    return Rule((ours,), (theirs,), lambda x: (x[unused:],), write)


def fused(
    ours: Sequence[str],
    theirs: str,
    *,
    axis: int,
    transposed: bool,
    layers: Sequence[int] | None = None,
    sizes: Sequence[int] | None = None,
) -> Rule:
    """Several leaves side by side in one foreign tensor, along its `axis`.

    They are equally wide, or of the given sizes. `transposed`: each part is a matrix [out, in]
    there.
    """
    cuts = len(ours) if sizes is None else list(np.cumsum(sizes)[:-1])

    def read(x: np.ndarray) -> Arrays:
        parts = np.split(x, cuts, axis)
        return tuple(part.T if transposed else part for part in parts)

    def write(*parts: np.ndarray) -> Arrays:
        return (np.concatenate([part.T if transposed else part for part in parts], axis),)

    return Rule(tuple(ours), (theirs,), read, write, _tuple(layers))


def _tuple(layers: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if layers is None else tuple(layers)


class ModelMapping(NamedTuple, Generic[ConfigT]):
    """An architecture of another library: a file of lm_lab/interop, which ends in MAPPING."""

    architectures: tuple[str, ...]  # its names in "architectures" of a foreign config.json
    family: str  # of lm_lab/models, which it becomes
    # foreign config -> settings of the family's Config; UserError naming a field not supported
    read_config: Callable[[dict[str, object]], dict[str, object]]
    # -> a complete foreign config; UserError naming a setting that the architecture does not have
    write_config: Callable[[ConfigT], dict[str, object]]
    rules: Callable[[ConfigT], list[Rule]]  # of its tensors
    prefix: str = ""  # of the rules' names, which files of a bare model lack
    bare: tuple[str, ...] = ()  # the architecture without its head, read if that is the embedding
    ignored: tuple[str, ...] = ()  # fnmatch patterns of tensors that say nothing (tied copies)
    optional: tuple[str, ...] = ()  # tensors that are zeros where a file has none
    copies: tuple[str, ...] = ()  # tensors that repeat the embedding; one that differs is refused
    renamed: Mapping[str, str] = {}  # endings of tensors' names in older files, to those of today
    # modules that PEFT refuses to adapt, and the settings that leave them out
    not_adapted: Mapping[str, str] = {}


def to_ours(
    rules: Sequence[Rule],
    tensors: Mapping[str, np.ndarray],
    *,
    shapes: Mapping[str, tuple[int, ...]],
    ignored: Sequence[str] = (),
    optional: Sequence[str] = (),
    dtype: Any = np.float32,
    allow_nonfinite: bool = False,
) -> PyTree:
    """Parameters of the dtype from foreign tensors.

    `shapes` are those of our leaves by path; `optional` tensors are zeros if absent. Raises
    UserError naming a tensor that is missing, unknown, of another shape, of no floating-point
    dtype, or, unless allowed, not finite.
    """
    absent = set(optional) - tensors.keys()
    for rule in rules:
        if absent.issuperset(rule.theirs):
            zeros = rule.write(*(np.zeros(shapes[path], np.float32) for path in rule.ours))
            tensors = {**tensors, **dict(zip(rule.theirs, zeros))}
    _check_names(rules, tensors, ignored)
    leaves: dict[str, np.ndarray] = {}
    for rule in rules:
        like = [shapes[path][0 if rule.layers is None else 1 :] for path in rule.ours]
        rows = []
        for names in rule.foreign():
            _check_tensors(rule, names, tensors, like)
            rows.append(
                rule.read(*(_cast(name, tensors[name], dtype, allow_nonfinite) for name in names))
            )
        for path, parts in zip(rule.ours, zip(*rows)):
            leaves[path] = np.array(parts[0]) if rule.layers is None else np.stack(parts)
    return unflatten(leaves)


def _cast(name: str, tensor: np.ndarray, dtype: Any, allow_nonfinite: bool) -> np.ndarray:
    with np.errstate(over="ignore"):
        cast = np.asarray(tensor, dtype)
    if not allow_nonfinite and not np.isfinite(cast).all():
        raise UserError(
            f"tensor {name} has NaN or infinite numbers as {cast.dtype}; --allow_nonfinite takes "
            "them"
        )
    return cast


def to_theirs(rules: Sequence[Rule], params: PyTree) -> dict[str, np.ndarray]:
    """Foreign tensors from parameters, in their dtype.

    Raises UserError for a parameter without a rule.
    """
    leaves = flatten(params)
    mapped = {path for rule in rules for path in rule.ours}
    if unmatched := sorted(leaves.keys() ^ mapped):
        state = "has no place in that architecture" if unmatched[0] in leaves else "is missing"
        raise UserError(f"parameter {unmatched[0]} {state}; choose another architecture")
    tensors = {}
    for rule in rules:
        arrays = [np.asarray(leaves[path]) for path in rule.ours]
        for row, names in enumerate(rule.foreign()):
            parts = rule.write(*(array if rule.layers is None else array[row] for array in arrays))
            # 1 + w is computed in the wider dtype, and the result cast back.
            tensors |= {
                name: np.ascontiguousarray(array, arrays[0].dtype)
                for name, array in zip(names, parts, strict=True)
            }
    return tensors


def _check_names(rules: Sequence[Rule], tensors: Mapping[str, Any], ignored: Sequence[str]) -> None:
    mapped = {name for rule in rules for names in rule.foreign() for name in names}
    if missing := sorted(mapped - tensors.keys()):
        raise UserError(f"tensor {missing[0]} is missing{_others(missing)}")
    extra = sorted(
        tensor
        for tensor in tensors.keys() - mapped
        if not any(fnmatchcase(tensor, pattern) for pattern in ignored)
    )
    if extra:
        raise UserError(
            f"tensor {extra[0]} has no place in the model that config.json "
            f"describes{_others(extra)}"
        )


def _others(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _check_tensors(
    rule: Rule,
    names: tuple[str, ...],
    tensors: Mapping[str, np.ndarray],
    like: list[tuple[int, ...]],
) -> None:
    """Checks that each tensor has the shape to which our leaves, of
    shapes `like`, would be written.
    """
    expected = rule.write(*(np.broadcast_to(np.float32(0), shape) for shape in like))
    for name, like_tensor in zip(names, expected, strict=True):
        tensor = tensors[name]
        if tensor.shape != like_tensor.shape:
            raise UserError(
                f"tensor {name} has shape {list(tensor.shape)}; the config asks for "
                f"{list(like_tensor.shape)}"
            )
        if tensor.dtype not in FLOATS:
            raise UserError(
                f"tensor {name} is {tensor.dtype}, not a floating-point number of 16, 32 or 64 bits"
            )
