"""The elements that pages are made of, in the look of all pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

Kind = Literal["plain", "primary", "danger"]


def button(text: str, on_click: Callable[..., Any] | None = None, *, kind: Kind = "plain") -> ui.button:
    """Make a button with a text.

    Parameters:
        kind: ``"primary"`` for the action that a page is for, ``"danger"`` for one that cannot be undone.
    """
    made = ui.button(text, on_click=on_click, color=None)
    return made.props("no-caps unelevated :ripple=false").classes(f"st-button st-{kind}")


def icon_button(icon: str, label: str, on_click: Callable[..., Any] | None = None) -> ui.button:
    """Make a button with an icon of Material Icons alone.

    Parameters:
        label: what it does, for screen readers and as a tooltip.
    """
    made = ui.button(icon=icon, on_click=on_click, color=None)
    made.props(f'flat round dense :ripple=false aria-label="{label}"').classes("st-icon")
    with made:
        ui.tooltip(label)
    return made


def menu_item(text: str, on_click: Callable[..., Any], *, kind: Kind = "plain") -> ui.menu_item:
    """Make an entry of a ``ui.menu``."""
    return ui.menu_item(text, on_click=on_click).classes(f"st-item st-{kind}")


def heading(text: str, level: int = 2) -> TextElement:
    """Make a heading. A page has one of level 1."""
    return TextElement(tag=f"h{level}", text=text).classes(f"st-h{level}")


def whole_page() -> Any:
    """Return the element that all of a page is in: a dialog is made in it, to outlive the row where it is opened."""
    client: Any = ui.context.client  # its types are unknown
    return client.layout


async def confirmed(question: str, action: str) -> bool:
    """Ask a question in a dialog, and return whether the user chose the action.

    Parameters:
        action: the text of the button, such as ``"Delete"``.
    """
    with whole_page(), ui.dialog() as dialog, ui.card().classes("st-dialog"):
        dialog.props["aria-label"] = question
        ui.label(question)
        with ui.row().classes("st-actions"):
            button("Cancel", lambda: dialog.submit(False))
            button(action, lambda: dialog.submit(True), kind="danger")
    try:
        return bool(await dialog)
    finally:
        dialog.delete()


async def entered(title: str, value: str, action: str) -> str | None:
    """Ask for a line of text in a dialog, and return it; ``None`` if the user cancelled."""
    with whole_page(), ui.dialog() as dialog, ui.card().classes("st-dialog"):
        dialog.props["aria-label"] = action
        field = ui.input(title, value=value).props("outlined dense autofocus").classes("st-wide")
        field.on("keydown.enter", lambda: dialog.submit(field.value))
        with ui.row().classes("st-actions"):
            button("Cancel", lambda: dialog.submit(None))
            button(action, lambda: dialog.submit(field.value), kind="primary")
    try:
        return await dialog
    finally:
        dialog.delete()
