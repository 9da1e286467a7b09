"""Functions that are compiled apart from being run, so that the two are timed apart."""

from collections.abc import Callable
from typing import Any

import jax


class Compiled:
    """A jitted function, which it compiles once for each shape of the last argument (the others
    keep theirs).

    `arguments` turns what it is called with into what the jitted function takes.
    """

    def __init__(
        self, jitted: Any, arguments: Callable[..., tuple[Any, ...]] = lambda *given: given
    ) -> None:
        self.jitted, self._arguments = jitted, arguments
        self.programs: dict[Any, Any] = {}  # by the shape of the last argument

    def ready(self, *given: Any) -> bool:
        """Whether a call with these arguments would compile nothing."""
        return _shape(given[-1]) in self.programs

    def compile(self, *given: Any) -> None:
        """Makes it ready, which may take minutes."""
        self.programs[_shape(given[-1])] = self.jitted.lower(*self._arguments(*given)).compile()

    def __call__(self, *given: Any) -> Any:
        """The function's value."""
        if not self.ready(*given):
            self.compile(*given)
        return self.programs[_shape(given[-1])](*self._arguments(*given))


def _shape(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple(leaf.shape for leaf in leaves)
