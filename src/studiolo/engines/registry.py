"""Engines by name, found as entry points, so that a package can add one without touching this tree."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import cast

from ..errors import UnsupportedError
from .base import Engine

GROUP = "studiolo.engines"
DEFAULT = "llama.cpp"


def engine_class(name: str = DEFAULT) -> type[Engine]:
    """The engine registered as ``name``. Raises :class:`UnsupportedError` with the names there are."""
    for entry in entry_points(group=GROUP, name=name):
        return cast("type[Engine]", entry.load())
    names = sorted(entry.name for entry in entry_points(group=GROUP))
    raise UnsupportedError(
        f"There is no engine {name!r}", suggestion=f"There are: {', '.join(names)}.", feature=name, engine="studiolo"
    )
