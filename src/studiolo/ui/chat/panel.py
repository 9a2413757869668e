"""The settings of a conversation: system prompt, preset, tools, structured output, and every prediction setting."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
from nicegui import ui

from ...chats.settings import OTHER_NAMES, value_of, with_preset, with_setting
from ...config import PredictionConfig
from ...errors import ConfigError
from ...mcp.config import listed_servers
from ...settings import Settings, read_settings
from ..backend import backend
from ..elements import button, heading
from ..notices import notice, show_error
from ..setting_fields import SettingField, setting_fields
from ..settings_form import make_setting
from ..tasks import begin
from .live import LiveConversation
from .presets import PresetSection

_FIELDS = setting_fields(PredictionConfig, OTHER_NAMES | {"structured", "system_prompt", "raw_tools"})
"""All but second names, those with an editor of their own, and the one that tools set."""

_EXAMPLE = '{\n  "type": "object",\n  "properties": {"name": {"type": "string"}},\n  "required": ["name"]\n}'


class SettingsPanel:
    """The panel at the side.

    Parameters:
        live: the conversation.
    """

    def __init__(self, live: LiveConversation) -> None:
        self._live = live
        self._fields: dict[str, Any] = {}
        self._is_showing = False
        """Whether the values that change are shown, and not entered."""
        self._root = ui.element("aside").props('aria-label="Settings"').classes("st-side st-panel-side")

    def open(self) -> None:
        """Make the elements, where this is the first time: they are many."""
        if self._fields:
            return
        live = self._live
        with self._root:
            heading("System prompt")
            prompt = self._prompt = ui.textarea(value=live.conversation.system_prompt)
            prompt.props('outlined autogrow debounce=400 aria-label="System prompt"').classes("st-wide")
            prompt.on_value_change(self._set_prompt)
            self._presets = ui.element("div").classes("st-stack")
            self._tools = ui.element("div").classes("st-stack")
            heading("Structured output")
            self._make_structured()
            heading("Prediction settings")
            ui.label("What is empty has its default, or what config.toml says.").classes("st-dim st-small")
            config = _config_of(live)
            for field in _FIELDS:
                self._make_field(field, config)
            begin(self._make_lists(), "list presets and tools")

    def _set_prompt(self) -> None:
        if not self._is_showing:
            self._live.change(system_prompt=self._prompt.value or "")

    async def _make_lists(self) -> None:
        home = backend().context.home
        try:
            settings = await asyncio.to_thread(read_settings, home.settings)
        except ConfigError as error:
            settings = Settings()
            with self._root:
                show_error(error)
        servers: list[str] = []
        if backend().may_use_mcp_json(self._live.owner):
            try:
                servers = [*await asyncio.to_thread(listed_servers, home)]
            except ConfigError as error:
                with self._root:
                    show_error(error)
        if self._root.is_deleted:
            return
        with self._presets:
            PresetSection(self._live, settings.presets, self._apply)
        with self._tools:
            if servers:
                heading("Tools")
                ui.label("Servers of mcp.json. You are asked before each call.").classes("st-dim st-small")
                for name in servers:
                    self._make_server(name)

    def _make_server(self, name: str) -> None:
        def choose() -> None:
            others = [each for each in self._live.conversation.tools if each != name]
            self._live.change(tools=sorted([*others, name] if box.value else others))

        box = ui.checkbox(name, value=name in self._live.conversation.tools, on_change=choose)

    def _apply(self, preset: PredictionConfig) -> None:
        """Set what a preset sets; other settings stay."""
        config = with_preset(_config_of(self._live), preset)
        prompt = self._live.conversation.system_prompt if preset.system_prompt is None else preset.system_prompt
        self._live.change(settings=config.to_dict(), system_prompt=prompt)
        self._is_showing = True
        try:
            self._prompt.set_value(prompt)
            self._schema.set_value(_schema_text(config))
            for field in _FIELDS:
                self._fields[field.name].set_value(_shown(config, field))
                self._fields[field.name].error = None
        finally:
            self._is_showing = False
        notice("The preset is set.")

    def _make_field(self, field: SettingField, config: PredictionConfig) -> None:
        value = _shown(config, field)
        made = make_setting(field, value, debounce_ms=500, grows=field.is_long)
        made.on_value_change(lambda: self._set(field, made))
        self._fields[field.name] = made

    def _set(self, field: SettingField, made: Any) -> None:
        if self._is_showing:
            return
        text = (made.value or "").strip()
        try:
            value = None if not text else value_of(text)
            config = with_setting(_config_of(self._live), field.name, value)
        except ConfigError as error:
            made.error = " ".join(filter(None, (error.title, error.cause)))
            return
        made.error = None
        self._live.change(settings=config.to_dict())

    def _make_structured(self) -> None:
        ui.label("The answer is JSON that this schema allows. Empty: any text.").classes("st-dim st-small")
        field = self._schema = ui.textarea(value=_schema_text(_config_of(self._live)), placeholder=_EXAMPLE)
        field.classes("st-wide st-code-field")
        field.without_auto_validation()
        field.props('outlined autogrow debounce=500 spellcheck=false aria-label="JSON schema"')

        def change() -> None:
            if self._is_showing:
                field.error = None
                return
            text = (field.value or "").strip()
            fault: str | None = None
            try:
                value = {"type": "json", "json_schema": json.loads(text)} if text else None
                config = with_setting(_config_of(self._live), "structured", value)
                self._live.change(settings=config.to_dict())
            except ConfigError as error:
                fault = " ".join(filter(None, (error.title, error.cause)))
            except ValueError as error:
                fault = f"This is not JSON: {error}"
            field.error = fault

        def format_schema() -> None:
            try:
                field.set_value(json.dumps(json.loads(field.value or ""), indent=2, ensure_ascii=False))
            except ValueError:
                change()

        field.on_value_change(change)
        with ui.element("div").classes("st-row"):
            button("Format", format_schema)
            button("Example", lambda: field.set_value(_EXAMPLE))
            button("Clear", lambda: field.set_value(""))


def _config_of(live: LiveConversation) -> PredictionConfig:
    try:
        return live.config
    except ConfigError:  # of another version
        return PredictionConfig()


def _shown(config: PredictionConfig, field: SettingField) -> str:
    value = msgspec.to_builtins(getattr(config, field.name))
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _schema_text(config: PredictionConfig) -> str:
    structured = config.structured
    if structured is not None and structured.type == "json" and structured.json_schema is not None:
        return json.dumps(structured.json_schema, indent=2, ensure_ascii=False)
    return ""
