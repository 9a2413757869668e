"""Groups of elements: the column of a page, panels, rows, tables, dialogs."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Sequence

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from .elements import heading, whole_page


def column() -> ui.element:
    """Make the column that most pages are."""
    return ui.element("div").classes("st-column")


def panel() -> ui.element:
    """Make a box with a border."""
    return ui.element("div").classes("st-panel")


def row() -> ui.element:
    """Make a row, whose elements wrap."""
    return ui.element("div").classes("st-row")


def fact(text: str) -> ui.label:
    """Make a short remark in a row."""
    return ui.label(text).classes("st-dim st-small")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], label: str) -> ui.element:
    """Make a table of texts. One that is too wide is scrolled.

    Parameters:
        label: its name for screen readers.
    """
    with ui.element("div").classes("st-scroll") as around:
        around.props["role"] = "region"
        around.props["aria-label"] = label
        around.props["tabindex"] = 0
        with ui.element("table").classes("st-table"):
            with ui.element("thead"), ui.element("tr"):
                for name in columns:
                    TextElement(tag="th", text=name).props("scope=col")
            with ui.element("tbody"):
                for cells in rows:
                    with ui.element("tr"):
                        for cell in cells:
                            TextElement(tag="td", text=cell)
    return around


@contextlib.contextmanager
def open_dialog(title: str, *, closes_by_button_alone: bool = False) -> Generator[ui.dialog]:
    """Make the contents of a dialog with a heading, and open it. It is deleted when it is closed.

    It belongs to the page, and not to the row where it is opened, which may be made again while it is open.
    """
    with whole_page(), ui.dialog() as dialog, ui.card().classes("st-dialog"):
        dialog.props["aria-label"] = title
        if closes_by_button_alone:
            dialog.props("persistent")
        heading(title)
        yield dialog
    dialog.on("hide", dialog.delete)
    dialog.open()
