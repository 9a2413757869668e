"""The part of the page of benchmarks with the load settings that are measured side by side."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from nicegui import ui

from ...benchmark import variants
from ...chats.settings import value_of
from ...config import LoadConfig, load_config
from ...errors import ConfigError
from ..element_groups import fact, row
from ..elements import button, heading, icon_button
from ..setting_fields import setting_fields

MAX_VARIANTS = 16
"""Combinations of values in one measurement at most."""

_WITHOUT_EFFECT = frozenset({"pooling_type", "prompt_template", "reasoning_budget_message", "seed"})
_FIELDS = {each.name: each for each in setting_fields(LoadConfig, _WITHOUT_EFFECT)}
"""The settings that a speed may depend on."""


class ComparedSettings:
    """The settings, each with its values. At first there is none."""

    def __init__(self) -> None:
        self._settings: list[_Setting] = []
        heading("Settings side by side")
        fact(
            "Each value of a load setting is measured, and each combination where there are several settings. Without"
            " any, the model's own settings are."
        )
        self._place = ui.element("div").classes("st-section st-wide")
        with row():
            button("Compare a load setting", self._add)

    def configs(self) -> list[dict[str, Any]]:
        """Return the load settings to measure, a dict for each combination. A wrong value is marked.

        Raises:
            ConfigError: a value is wrong, a setting has none, or there are too many combinations.
        """
        values: dict[str, list[Any]] = {}
        for each in self._settings:
            each.mark(None)
            if not each.name:
                continue
            if not each.values:
                error = ConfigError(f"{_FIELDS[each.name].title} has no values", suggestion="Enter some, or remove it.")
                each.mark(error)
                raise error
            values.setdefault(each.name, []).extend(each.values)
        configs = variants(values)
        if len(configs) > MAX_VARIANTS:
            raise ConfigError(
                f"These settings have {len(configs)} combinations, and {MAX_VARIANTS} can be measured at once",
                suggestion="Compare fewer values, or one setting after the other.",
            )
        for config in configs:
            try:
                load_config(config)
            except ConfigError as error:
                named = re.search(r"field '(\w+)", error.title)
                for each in self._settings:
                    if named is not None and each.name == named[1]:
                        each.mark(error)
                raise
        return configs

    def _add(self) -> None:
        with self._place:
            self._settings.append(_Setting(self._remove))

    def _remove(self, gone: _Setting) -> None:
        self._settings.remove(gone)
        gone.root.delete()


class _Setting:
    """A setting and its values.

    Parameters:
        on_remove: called with it when the user removes it.
    """

    def __init__(self, on_remove: Callable[[_Setting], None]) -> None:
        with ui.element("div").classes("st-setting") as self.root:
            self.root.props["role"] = "group"
            self.root.props["aria-label"] = "A load setting to compare"
            with row():
                self._choice: Any = ui.select({name: each.title for name, each in _FIELDS.items()})
                self._choice.props('outlined dense options-dense label="Load setting"').classes("st-grow")
                self._text: Any = ui.input().without_auto_validation()
                self._text.props('outlined dense stack-label hide-bottom-space label="Values"').classes("st-grow")
                icon_button("close", "Remove this setting", lambda: on_remove(self))
            self._about = fact("Values are separated by commas.")
            self._text.props["aria-describedby"] = f"c{self._about.id}"
        self._choice.on_value_change(self._chosen)

    @property
    def name(self) -> str:
        """The name of the setting; empty while none is chosen."""
        return str(self._choice.value or "")

    @property
    def values(self) -> list[Any]:
        """The values that are entered."""
        return values_in(self._text.value or "")

    def mark(self, error: ConfigError | None) -> None:
        """Show an error at the values; ``None`` removes what is shown."""
        self._text.error = None if error is None else error.cause or error.title
        self._text.props["aria-invalid"] = "false" if error is None else "true"

    def _chosen(self) -> None:
        field = _FIELDS[self.name]
        self.mark(None)
        self._text.set_value("true, false" if field.choices == ("true", "false") else "")
        named = f" Values are {', '.join(field.choices)}." if field.choices else ""
        self._about.set_text(f"{field.help}{named} They are separated by commas.")


def values_in(text: str) -> list[Any]:
    """Return the values in a text, separated by commas: each is JSON or a word."""
    try:
        return msgspec.json.decode(f"[{text}]")
    except msgspec.DecodeError:
        return [value_of(each.strip()) for each in text.split(",") if each.strip()]
