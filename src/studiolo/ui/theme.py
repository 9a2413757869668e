"""How the pages look: colours of light and dark, and the style sheet of all pages."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from nicegui import ui

from ..page_contract import PREFIX
from .elements import icon_button

Theme = Literal["auto", "light", "dark"]

COOKIE = "studiolo-theme"
_YEAR_SEC = 31_536_000
_ORDER: tuple[Theme, ...] = ("auto", "light", "dark")
_ICONS = {"auto": "brightness_auto", "light": "light_mode", "dark": "dark_mode"}
_NAMES = {"auto": "as the system has it", "light": "light", "dark": "dark"}

_SHEETS = ("pages.css", "chat/chat.css")
HEAD = f"<style>{''.join(Path(__file__).parent.joinpath(name).read_text('utf-8') for name in _SHEETS)}</style>"
"""What every page has in its head."""


def appear_at_once() -> None:
    """Have what opens over a page appear and go at once, without a transition.

    While a tooltip, menu or dialog is in transition, Quasar defers the focus that a select asks for, and gives it to
    the select at the end: by then, the user may type into another field.
    """
    for kind in (ui.dialog, ui.menu, ui.select, ui.tooltip):
        kind.default_props("transition-duration=0")


def theme_button() -> None:
    """Make the button that chooses light, dark, or what the system has. The browser remembers the choice."""
    chosen = ui.context.client.request.cookies.get(COOKIE, "auto")
    theme: Theme = chosen if chosen in _ORDER else "auto"
    mode = ui.dark_mode({"auto": None, "light": False, "dark": True}[theme])

    def choose() -> None:
        nonlocal theme
        theme = _ORDER[(_ORDER.index(theme) + 1) % len(_ORDER)]
        mode.value = {"auto": None, "light": False, "dark": True}[theme]
        ui.run_javascript(f"document.cookie = '{COOKIE}={theme}; path={PREFIX}; max-age={_YEAR_SEC}; samesite=strict'")
        show()

    def show() -> None:
        button.props(f'icon={_ICONS[theme]} aria-label="Colours: {_NAMES[theme]}"')

    button = icon_button(_ICONS[theme], "Colours", choose)
    show()
