"""Dialects: the wire protocols that a server speaks, each a package. Other packages add dialects by entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ..plugins import find

if TYPE_CHECKING:
    from .base import Dialect

GROUP = "studiolo.dialects"
"""The entry point group by which other packages add dialects."""

BUILT_IN = {
    "anthropic": ".dialects.anthropic.routes:anthropic",
    "lmstudio": ".dialects.lmstudio.routes:LmStudio",
    "lmstudio-rest": ".dialects.lmstudio_rest.routes:lmstudio_rest",
    "ollama": ".dialects.ollama.routes:ollama",
    "openai": ".dialects.openai.routes:openai",
}


def dialects() -> dict[str, Dialect]:
    """Return every dialect by name."""
    return {name: cast("Dialect", point.load()()) for name, point in find(GROUP, BUILT_IN).items()}
