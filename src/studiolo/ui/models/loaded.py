"""The part of the page with the models that are loaded."""

from __future__ import annotations

import json
from functools import partial

from nicegui import ui

from ...protocol.load_plan import SettingInForce
from ...protocol.system import InstanceStatus
from ...units import size
from ..backend import backend
from ..element_groups import fact, note, open_dialog, panel, row, show_items, table
from ..elements import button, heading
from ..monitor import monitor
from ..notices import notice
from .bench import bench_path

ORIGINS = {
    "request": "this load",
    "modelSettings": "the model's table in config.toml",
    "host": "chosen for this machine",
    "default": "default",
}
"""Where settings come from, for people."""


def loaded_section() -> None:
    """Make it. It follows the host."""
    heading("Loaded")
    place = panel()
    items: dict[str, ui.element] = {}
    rows: dict[str, _Row] = {}

    def make_row(instance: InstanceStatus) -> ui.element:
        rows[instance.identifier] = made = _Row(instance)
        return made.element

    def refresh() -> None:
        if place.is_deleted:
            return
        info = monitor().latest
        instances = info.instances if info else []
        wanted = {each.identifier: partial(make_row, each) for each in instances}
        none = "No model is loaded." if info else "…"
        show_items(place, items, wanted or {none: partial(note, none)})
        for gone in rows.keys() - items.keys():
            del rows[gone]
        for each in instances:
            rows[each.identifier].show(each)

    refresh()
    monitor().show(refresh)


class _Row:
    """The row of an instance.

    Parameters:
        instance: it, as it is when the row is made.
    """

    def __init__(self, instance: InstanceStatus) -> None:
        identifier, domain = instance.identifier, instance.domain
        with row() as self.element:
            self.element.props["role"] = "group"
            self.element.props["aria-label"] = identifier
            ui.label(identifier).classes("st-grow st-mono")
            self._facts = [fact(text) for text in _facts(instance)]
            button("Settings", lambda: show_settings(identifier, domain))
            if domain != "embedding":
                button("Benchmark…", lambda: ui.navigate.to(bench_path(identifier, loaded=True)))
            button("Unload", lambda: _unload(identifier))

    def show(self, instance: InstanceStatus) -> None:
        """Show it as it is now."""
        for label, text in zip(self._facts, _facts(instance), strict=True):
            label.set_text(text)


def _facts(instance: InstanceStatus) -> tuple[str, ...]:
    return (
        instance.state,
        f"{instance.parallel} slots of {instance.context_length:,} tokens",
        f"{instance.running} running, {len(instance.queue)} waiting",
        size(instance.memory_bytes or instance.size_bytes),
    )


async def _unload(identifier: str) -> None:
    await backend().client.llm.unload(identifier)
    monitor().look_now()
    notice(f"{identifier} is unloaded.")


async def show_settings(identifier: str, domain: str) -> None:
    """Show the load settings in force of an instance in a dialog."""
    client = backend().client
    namespace = client.embedding if domain == "embedding" else client.llm
    handle = next(each for each in await namespace.list_loaded() if each.identifier == identifier)
    settings = await handle.get_load_settings()
    with open_dialog(f"Load settings of {identifier}") as dialog:
        settings_table(settings)
        with row().classes("st-actions"):
            button("Close", dialog.close)


def settings_table(settings: list[SettingInForce]) -> None:
    """Make a table of load settings with the origin of each."""
    table(
        ("Setting", "Value", "From"),
        [(each.name, _text(each.value), ORIGINS[each.origin]) for each in settings],
        "Load settings in force",
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
