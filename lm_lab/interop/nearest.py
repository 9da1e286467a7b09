"""Suggests the nearest architectures for a model that none can express."""

from typing import Any

from lm_lab.interop import architectures
from lm_lab.interop.fields import Refused, changed, flat
from lm_lab.interop.mapping import ModelMapping
from lm_lab.types import UserError

NONE_FITS = "no architecture of transformers has all settings of config.model"
NAMED = 2  # most architectures that an error names


def described(family: str, config: Any, architecture: str | None = None) -> str:
    """The end of an error: the nearest architectures and the settings that each requires.

    With `architecture`, only that one; "" if no settings are known.
    """
    candidates = []
    for mapping in architectures.of_family(family):
        candidate = changes(mapping, config)
        if candidate is not None and architecture in (None, candidate[0]):
            candidates.append(candidate)
    if not candidates:
        return ""
    candidates.sort(key=lambda candidate: len(candidate[1]))
    described_candidates = (
        f"{name} by {' '.join(map(_flag, needs.items()))}" for name, needs in candidates[:NAMED]
    )
    return f"; nearest, for a model that is trained anew: {', or '.join(described_candidates)}"


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
