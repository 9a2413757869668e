"""What is around every page: the header with the navigation, the place of the page, and how errors are shown."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from nicegui import ui

from .notices import show_error
from .theme import theme_button


@dataclass(frozen=True)
class Destination:
    """A place in the navigation.

    Parameters:
        title: its name.
        path: below ``/ui``.
    """

    title: str
    path: str


@contextlib.contextmanager
def frame(current: Destination, destinations: Sequence[Destination]) -> Generator[None]:
    """Make the elements around a page; those of the page are made within the block."""
    ui.on_exception(show_error)
    with ui.header(elevated=False).classes("st-header"):
        ui.label("studiolo").classes("st-brand")
        with ui.element("nav").props('aria-label="Pages"').classes("st-nav"):
            for each in destinations:
                link = ui.link(each.title, each.path)  # NiceGUI puts /ui before it
                if each == current:
                    link.props('aria-current="page"')
        ui.space()
        theme_button()
    with ui.element("div").classes("st-page") as page:
        yield
    ui.skip_link("Skip to the page", target=page)
