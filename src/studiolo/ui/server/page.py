"""The page of the server."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui

from ...protocol.system import HostInfo, InstanceStatus
from ...units import duration, size
from ..element_groups import column, fact, note, panel, row
from ..elements import heading
from ..history import Sample, history
from ..monitor import monitor
from .logs import log_section
from .plots import Plot
from .requests import requests_section
from .tokens import tokens_section

PLOTS: tuple[tuple[str, Callable[[Sample], float], Callable[[float], str]], ...] = (
    ("Tokens a second", lambda sample: sample.tokens_per_second, lambda value: f"{value:.1f}"),
    ("Predictions that run", lambda sample: sample.running, lambda value: f"{value:.0f}"),
    ("Predictions that wait", lambda sample: sample.waiting, lambda value: f"{value:.0f}"),
    ("Memory of loaded models (estimated)", lambda sample: sample.memory_bytes, size),
)
"""The plots: what each shows, its value of a sample, and the value for people."""


async def build() -> None:
    """Make the page."""
    await monitor().look()
    with column():
        heading("Server", 1)
        _now_section()
        heading("The last hour")
        with ui.element("div").classes("st-form"):
            plots = [(Plot(title, shown), value) for title, value, shown in PLOTS]
        requests_section()
        await tokens_section()
        log_section()

    latest: Sample | None = None

    def refresh() -> None:
        nonlocal latest
        samples = [*history().samples]
        if samples and samples[-1] is not latest:
            latest = samples[-1]
            for plot, value in plots:
                plot.show([(sample.time, value(sample)) for sample in samples])

    refresh()
    monitor().show(refresh)


def _now_section() -> None:
    about = fact("")
    heading("Slots and queue")
    place = panel()
    shown: list[list[str]] | None = None

    def refresh() -> None:
        nonlocal shown
        info = monitor().latest
        if info is None or place.is_deleted:
            return
        about.set_text(_about(info))
        now = [_facts(each) for each in info.instances]
        if now == shown:
            return
        shown = now
        place.clear()
        with place:
            if not now:
                note("No model is loaded.")
            for each in now:
                _make_instance(*each)

    refresh()
    monitor().show(refresh)


def _about(info: HostInfo) -> str:
    machine = info.machine
    where = f", on {machine.processor} with {size(machine.memory_bytes)} of memory" if machine else ""
    return f"Up for {duration(info.uptime_sec)}{where}. Models are in {info.models_folder}"


def _facts(instance: InstanceStatus) -> list[str]:
    """Return the identifier of an instance, and what is shown beside it."""
    return [
        instance.identifier,
        instance.state,
        f"{instance.running} of {instance.parallel} slots in use",
        f"{len(instance.queue)} waiting",
        f"{history().rate(instance.identifier):.1f} tokens/s",
        f"{instance.generated_tokens:,} tokens generated",
        size(instance.memory_bytes or instance.size_bytes),
        *(f"{each.client or 'a client'} has waited for {duration(each.waited_sec)}" for each in instance.queue[:20]),
    ]


def _make_instance(identifier: str, *facts: str) -> None:
    with row() as line:
        line.props["role"] = "group"
        line.props["aria-label"] = identifier
        ui.label(identifier).classes("st-grow st-mono")
        for each in facts:
            fact(each)
