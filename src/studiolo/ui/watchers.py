"""Functions that are called after changes: how something that outlives a page updates the pages that show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui

Changed = Callable[[], None]


class Watchers:
    """The pages that show something."""

    def __init__(self) -> None:
        self._functions: list[tuple[Any, Changed]] = []

    @property
    def are_there(self) -> bool:
        """Whether any of the pages is in a browser now. One that has lost its connection is kept for a while."""
        return any(client.has_socket_connection for client, _ in self._functions)

    def add_page(self, changed: Changed) -> None:
        """Call ``changed`` after each change, until the current page is closed. It runs in that page's context."""
        client: Any = ui.context.client  # its types are unknown
        entry = client, changed
        self._functions.append(entry)
        client.on_delete(lambda: self._functions.remove(entry))

    def call(self) -> None:
        """Call all of them."""
        for client, changed in [*self._functions]:
            with client:
                changed()
