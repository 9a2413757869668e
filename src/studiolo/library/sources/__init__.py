"""Places to fetch models from, found as entry points, so that a package can add one without touching this tree."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import cast

from ...errors import ConfigError
from .base import Source, SourceUnavailableError

GROUP = "studiolo.sources"


def find_source(kind: str) -> Source:
    """The source registered as ``kind``. Raises :class:`ConfigError` with the kinds there are."""
    for entry in entry_points(group=GROUP, name=kind):
        return cast("type[Source]", entry.load())()
    kinds = sorted(entry.name for entry in entry_points(group=GROUP))
    raise ConfigError(f"The catalog names a source of kind {kind!r}", suggestion=f"There are: {', '.join(kinds)}.")


__all__ = ["Source", "SourceUnavailableError", "find_source"]
