"""The engine kinds of a machine, by name: the built-in ones, and those of other packages."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from ..errors import UnsupportedError
from ..plugins import find
from ..settings import BUNDLED_ENGINE
from .base import EngineKind
from .spec import Node

GROUP = "studiolo.engines"
"""The entry point group by which other packages add engine kinds."""

BUILT_IN = {
    BUNDLED_ENGINE: ".engines.llama_cpp.kind:LlamaCppKind",
    "llama-server": ".engines.llama_server.kind:LlamaServerKind",
}


class EngineKinds:
    """The engine kinds that can start engines on ``node``."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._points = find(GROUP, BUILT_IN)
        self._kinds: dict[str, EngineKind] = {}

    @property
    def names(self) -> list[str]:
        """The names of all kinds, sorted."""
        return sorted(self._points)

    @property
    def chosen(self) -> EngineKind:
        """The kind that the settings choose. Raise :class:`UnsupportedError` as :meth:`kind`."""
        return self.kind(self.node.settings().name or BUNDLED_ENGINE)

    def kind(self, name: str = BUNDLED_ENGINE) -> EngineKind:
        """Return the kind that is registered as ``name``.

        Raises:
            UnsupportedError: there is none; with the names there are. Or its package cannot be imported.
        """
        if name not in self._kinds:
            if name not in self._points:
                raise UnsupportedError(
                    f"There is no engine {name!r}",
                    suggestion=f"Choose one of: {', '.join(self.names)}.",
                    feature=name,
                )
            try:
                make = cast("Callable[[Node], EngineKind]", self._points[name].load())
                self._kinds[name] = make(self.node)
            except Exception as error:  # the code of another package can fail in any way
                raise UnsupportedError(
                    f"The engine {name!r} cannot be loaded",
                    cause=f"{type(error).__name__}: {error}",
                    suggestion="Install its package again, or choose another engine: [engine] name in config.toml.",
                    feature=name,
                ) from error
        return self._kinds[name]
