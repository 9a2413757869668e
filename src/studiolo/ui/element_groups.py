"""Groups of elements: the column of a page, panels, rows, tables, dialogs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any

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


def note(text: str) -> ui.label:
    """Make a remark in the place of what is not there."""
    return ui.label(text).classes("st-dim")


def show_items(place: ui.element, shown: dict[Any, ui.element], wanted: Mapping[Any, Callable[[], ui.element]]) -> None:
    """Show an item for each key of ``wanted``, in its order.

    Those that are there stay: a button that is made again does nothing if it is pressed just then, and loses the focus.

    Parameters:
        place: where they are, and nothing else.
        shown: those that are there; changed.
        wanted: how each is made.
    """
    for key in [key for key in shown if key not in wanted]:
        shown.pop(key).delete()
    children = place.default_slot.children
    for index, (key, make) in enumerate(wanted.items()):
        if key not in shown:
            with place:
                shown[key] = make()
        if children[index] is not shown[key]:
            shown[key].move(target_index=index)


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
