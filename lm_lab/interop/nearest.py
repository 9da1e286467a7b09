"""Suggests the nearest architectures for a model that none can express."""

from typing import Any

from lm_lab.interop import architectures
from lm_lab.interop.fields import Refused, changed, flat
from lm_lab.interop.mapping import ModelMapping
from lm_lab.types import UserError

NAMED = 2  # most architectures that an error names


def described(family: str, config: Any, architecture: str | None = None) -> str:
    """The end of an error: the nearest architectures and the settings that each requires.

    With `architecture`, only that one; "" if no settings are known.
    """
    found = []
    for mapping in architectures.of_family(family):
        way = changes(mapping, config)
        if way is not None and architecture in (None, way[0]):
            found.append(way)
    if not found:
        return ""
    found.sort(key=lambda way: len(way[1]))
    ways = (f"{name} by {' '.join(map(_flag, needs.items()))}" for name, needs in found[:NAMED])
    return f"; nearest, for a model that is trained anew: {', or '.join(ways)}"


def changes(mapping: ModelMapping[Any], config: Any) -> tuple[str, dict[str, Any]] | None:
    """(architecture, settings to change) so that a mapping can express a model; None if unknown."""
    needs: dict[str, Any] = {}
    fields = flat(config).keys()
    while True:
        try:
            mapping.write_config(changed(config, needs))
            return mapping.architectures[0], needs
        except Refused as refusal:
            if refusal.needs.keys() & needs.keys() or not refusal.needs.keys() <= fields:
                return None
            needs |= refusal.needs
        except UserError:
            return None


def _flag(setting: tuple[str, Any]) -> str:
    return f"--config.model.{setting[0]}={setting[1]}"
