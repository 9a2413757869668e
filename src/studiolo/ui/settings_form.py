"""A form of settings: a field for each field of a config, with its meaning, unit and default."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from nicegui import ui

from ..chats.settings import value_of
from ..errors import StudioloError
from .setting_fields import SettingField, setting_fields


class SettingsForm:
    """A form. The fields that come first are shown; the others are made when they are opened.

    Parameters:
        config: the type of the config.
        first: the names of the fields that are shown.
        on_change: called after each change.
        without: the names of fields to leave out.
        label: put before the names of the fields for screen readers, where a page has several forms.
    """

    def __init__(
        self,
        config: type[Struct],
        first: Sequence[str],
        on_change: Callable[[], Awaitable[None]],
        *,
        without: frozenset[str] = frozenset(),
        label: str = "",
    ) -> None:
        self._on_change = on_change
        self._label = label
        self._texts: dict[str, str] = {}
        self._made: dict[str, Any] = {}
        fields = setting_fields(config, without)
        by_name = {field.name: field for field in fields}
        with ui.element("div").classes("st-form"):
            for name in first:
                self._make(by_name[name])
        others = [field for field in fields if field.name not in first]
        with ui.expansion("All other settings").classes("st-wide") as expansion:
            place = ui.element("div").classes("st-form")

        def open_others() -> None:
            if expansion.value and not place.default_slot.children:
                with place:
                    for field in others:
                        self._make(field)

        expansion.on_value_change(open_others)

    @property
    def values(self) -> dict[str, Any]:
        """The settings that have a value."""
        return {name: value_of(text) for name, text in self._texts.items() if text}

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Set fields that are shown, and the values of the others."""
        for name, value in values.items():
            self._texts[name] = value if isinstance(value, str) else json.dumps(value)
            if name in self._made:
                self._made[name].set_value(self._texts[name])

    def show_fault(self, error: StudioloError | None) -> bool:
        """Show an error at the field that it names, and return whether there is one; ``None`` removes all."""
        named = re.search(r"field '(\w+)", error.title) if error else None
        found = False
        for name, made in self._made.items():
            is_wrong = named is not None and named[1] == name
            found = found or is_wrong
            made.error = "Wrong value" if is_wrong else None
            made.props["aria-invalid"] = "true" if is_wrong else "false"
        return found

    def _make(self, field: SettingField) -> None:
        value = self._texts.get(field.name, "")
        made = make_setting(field, value, debounce_ms=400, label=self._label).props("hide-bottom-space")
        self._made[field.name] = made

        async def change() -> None:
            self._texts[field.name] = str(made.value or "").strip()
            await self._on_change()

        made.on_value_change(change)


def make_setting(field: SettingField, value: str, *, debounce_ms: int, label: str = "", grows: bool = False) -> Any:
    """Make the element of a field with its meaning, and return it.

    Parameters:
        value: what it has, as text.
        debounce_ms: how long text has to stay the same before it counts.
        label: put before its name for screen readers.
        grows: whether it has the lines of its text.
    """
    with ui.element("div").classes("st-setting"):
        if field.choices:
            made: Any = ui.select({"": "Default", **{each: each for each in field.choices}}, value=value)
            made.props("options-dense")
        else:
            made = ui.textarea(value=value).props("autogrow") if grows else ui.input(value=value)
            made.props["debounce"] = debounce_ms
            if field.is_number and not field.can_be_off:
                made.props["inputmode"] = "decimal"  # which keys a phone shows
        made.props("outlined dense")
        made.props["label"] = " ".join(filter(None, (label, field.title)))
        made.without_auto_validation().classes("st-wide")  # which would take errors away that others have set
        about = ui.label(field.help).classes("st-dim st-small")
        made.props["aria-describedby"] = f"c{about.id}"
    return made
