"""The part of the page with the models that are loaded."""

from __future__ import annotations

import json

from nicegui import ui

from ...protocol.load_plan import SettingInForce
from ...protocol.system import InstanceStatus
from ...units import size
from ..backend import backend
from ..element_groups import fact, open_dialog, panel, row, table
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
    shown: list[tuple[object, ...]] = []

    def refresh() -> None:
        info = monitor().latest
        instances = info.instances if info else []
        now = [_shown(each) for each in instances]
        if place.is_deleted or (now == shown and place.default_slot.children):
            return
        shown[:] = now
        place.clear()
        with place:
            if not instances:
                ui.label("No model is loaded." if info else "…").classes("st-dim")
            for each in instances:
                _make_row(each)

    refresh()
    monitor().show(refresh)


def _shown(each: InstanceStatus) -> tuple[object, ...]:
    return each.identifier, each.state, each.context_length, each.running, len(each.queue), each.memory_bytes


def _make_row(instance: InstanceStatus) -> None:
    with row() as line:
        line.props["role"] = "group"
        line.props["aria-label"] = instance.identifier
        ui.label(instance.identifier).classes("st-grow st-mono")
        fact(instance.state)
        fact(f"{instance.parallel} slots of {instance.context_length:,} tokens")
        fact(f"{instance.running} running, {len(instance.queue)} waiting")
        fact(size(instance.memory_bytes or instance.size_bytes))
        button("Settings", lambda: show_settings(instance))
        if instance.domain != "embedding":
            button("Benchmark…", lambda: ui.navigate.to(bench_path(instance.identifier, loaded=True)))
        button("Unload", lambda: _unload(instance))


async def _unload(instance: InstanceStatus) -> None:
    await backend().client.llm.unload(instance.identifier)
    monitor().look_now()
    notice(f"{instance.identifier} is unloaded.")


async def show_settings(instance: InstanceStatus) -> None:
    """Show the load settings in force in a dialog."""
    client = backend().client
    namespace = client.embedding if instance.domain == "embedding" else client.llm
    handle = next(each for each in await namespace.list_loaded() if each.identifier == instance.identifier)
    settings = await handle.get_load_settings()
    with open_dialog(f"Load settings of {instance.identifier}") as dialog:
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
