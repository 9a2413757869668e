"""The part of the settings with the presets: set one, save one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace
from nicegui import ui

from ...config import PredictionConfig
from ...settings import read_settings
from ...settings_edit import save_preset
from ..backend import backend
from ..elements import button, confirmed, entered, heading
from ..notices import notice
from .live import LiveConversation


class PresetSection:
    """The presets of ``config.toml``. The user of the server's computer can save the settings of a conversation as one.

    Parameters:
        live: the conversation.
        presets: the presets by name.
        apply: sets what a preset sets.
    """

    def __init__(
        self,
        live: LiveConversation,
        presets: Mapping[str, PredictionConfig],
        apply: Callable[[PredictionConfig], None],
    ) -> None:
        self._live = live
        self._presets = dict(presets)
        self._apply = apply
        may_save = backend().may_change_settings(live.owner)
        if not presets and not may_save:
            return
        heading("Preset")
        self._choice: Any = ui.select([*presets]).props('outlined dense aria-label="Preset"').classes("st-wide")
        self._choice.set_visibility(bool(presets))
        self._choice.on_value_change(self._choose)
        if may_save:
            with ui.element("div").classes("st-row"):
                button("Save as a preset…", self._save)

    def _choose(self) -> None:
        if self._choice.value in self._presets:
            self._apply(self._presets[self._choice.value])

    async def _save(self) -> None:
        path = backend().context.home.settings
        name = ((await entered("Name of the preset", self._choice.value or "", "Save")) or "").strip()
        if not name:
            return
        known = (await asyncio.to_thread(read_settings, path)).presets
        same = next((each for each in known if each.casefold() == name.casefold()), None)
        if same is not None and not await confirmed(f"Overwrite the preset “{same}”?", "Overwrite"):
            return
        config = replace(self._live.config, system_prompt=self._live.conversation.system_prompt or None)
        await asyncio.to_thread(save_preset, path, same or name, config)
        self._presets = dict((await asyncio.to_thread(read_settings, path)).presets)
        if not self._choice.is_deleted:
            self._choice.set_options([*self._presets])
            self._choice.set_visibility(True)
            notice(f"The preset {same or name} is saved in {path}")
