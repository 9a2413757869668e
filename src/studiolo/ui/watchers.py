"""Functions that are called after changes: how something that outlives a page updates the pages that show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nicegui import ui

Changed = Callable[[], None]


@dataclass(eq=False)
class _Page:
    client: Any  # its types are unknown
    changed: Changed
    is_behind: bool = False


class Watchers:
    """The pages that show something."""

    def __init__(self) -> None:
        self._pages: list[_Page] = []

    @property
    def are_there(self) -> bool:
        """Whether any of the pages is in a browser now. One that has lost its connection is kept for a while."""
        return any(page.client.has_socket_connection for page in self._pages)

    def add_page(self, changed: Changed) -> None:
        """Call ``changed`` after each change, until the current page is closed. It runs in that page's context.

        A page without a connection is called when it has one again: NiceGUI tries ten times a second to send changes.
        """
        page = _Page(ui.context.client, changed)
        self._pages.append(page)

        def connected() -> None:
            if page.is_behind:
                page.is_behind = False
                changed()

        page.client.on_connect(connected)
        page.client.on_delete(lambda: self._pages.remove(page))

    def call(self) -> None:
        """Call all of them."""
        for page in [*self._pages]:
            page.is_behind = not page.client.has_socket_connection
            if not page.is_behind:
                with page.client:
                    page.changed()
