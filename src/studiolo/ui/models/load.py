"""The page that loads a model with a choice of settings. The estimate of its memory follows them."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from ...config import LoadConfig
from ...errors import StudioloError
from ...protocol.load_plan import LoadPlan
from ...units import size
from ..backend import backend
from ..element_groups import column, fact, panel, row, table
from ..elements import button, heading
from ..monitor import monitor
from ..notices import describe
from ..settings_form import SettingsForm
from .loaded import settings_table

FIRST = (
    "context_length",
    "max_parallel_predictions",
    "gpu",
    "flash_attention",
    "llama_k_cache_quantization_type",
    "llama_v_cache_quantization_type",
)
"""The settings that are shown first: what the memory depends on most."""


async def build() -> None:
    """Make the page. The query names the model."""
    key = ui.context.client.request.query_params.get("model", "")
    models = await backend().client.system.list_library()
    model = next((each for each in models if key in (each.model_key, each.group)), None)
    with column():
        heading(f"Load {key}" if model else "No such model", 1)
        if model is None:
            ui.label("The library has no model of this name. It may have been removed.")
            ui.link("Models", "/models")
            return
        client = backend().client
        _LoadForm(key, client.embedding if model.type == "embedding" else client.llm)


class _LoadForm:
    """The form.

    Parameters:
        namespace: the client's, which loads the model.
    """

    def __init__(self, key: str, namespace: Any) -> None:
        self._key = key
        self._namespace = namespace
        self._latest = 0
        heading("Memory")
        with panel() as self._panel:
            self._verdict = ui.label("Estimating…").props("role=status")
            self._parts = ui.element("div").classes("st-wide")
        heading("Settings")
        fact("What is empty comes from the model's table in config.toml, or is chosen for this machine.")
        self._form = SettingsForm(LoadConfig, FIRST, self._estimate)
        heading("Instance")
        with ui.element("div").classes("st-form"):
            self._identifier = (
                ui.input("Identifier", placeholder=key).props("outlined dense stack-label").classes("st-wide")
            )
            self._ttl = ui.number("Unload after idle seconds", min=1, placeholder="never")
            self._ttl.props("outlined dense stack-label").classes("st-wide")
        with row():
            self._button = button("Load", self._load, kind="primary")
            ui.link("Cancel", "/models")
        self._bar = ui.linear_progress(0.0, show_value=False).classes("st-wide")
        self._bar.props["aria-label"] = "Progress of the load"
        self._bar.set_visibility(False)
        ui.timer(0, self._estimate, once=True)

    async def _estimate(self) -> None:
        self._latest += 1
        mine = self._latest
        try:
            found: LoadPlan = await self._namespace.plan_load(self._key, self._form.values)
            plan, text = found, _verdict(found)
            self._form.show_fault(None)
        except StudioloError as error:
            plan, text = None, describe(error)
            self._form.show_fault(error)
        if mine != self._latest or self._panel.is_deleted:
            return
        self._verdict.set_text(text)
        self._verdict.classes(replace="st-pre-line" if plan and plan.fits else "st-pre-line st-bad")
        self._parts.clear()
        if plan is not None:
            with self._parts:
                _show(plan)

    async def _load(self) -> None:
        self._button.disable()
        self._bar.set_visibility(True)

        def report(progress: float) -> None:
            if not self._panel.is_deleted:
                self._bar.set_value(round(progress, 2))

        try:
            await self._namespace.load_new_instance(
                self._key,
                (self._identifier.value or "").strip() or None,
                config=self._form.values,
                ttl=self._ttl.value or None,
                on_load_progress=report,
            )
        finally:
            monitor().look_now()
            if not self._panel.is_deleted:
                self._button.enable()
                self._bar.set_visibility(False)
        if not self._panel.is_deleted:
            await monitor().look()
            ui.navigate.to("/models")


def _verdict(plan: LoadPlan) -> str:
    about = f"{size(plan.total_bytes)}, with {plan.context_length:,} tokens for each of {plan.max_parallel_predictions}"
    about += " predictions."
    granted = "" if plan.granted_bytes is None else f", which grants {size(max(plan.granted_bytes, 0))}"
    if plan.fits:
        return f"It fits: {about}\nThe guardrail is {plan.guardrail}{granted}."
    longest = plan.largest_context_length
    advice = f"A context of {longest:,} tokens would fit." if longest else "No context is short enough."
    return f"It does not fit: {about}\nThe guardrail is {plan.guardrail}{granted}. {advice}"


def _show(plan: LoadPlan) -> None:
    rest = plan.total_bytes - plan.weights_bytes - plan.kv_cache_bytes
    with row():
        fact(f"Weights {size(plan.weights_bytes)}")
        fact(f"KV cache {size(plan.kv_cache_bytes)}")
        fact(f"the rest {size(rest)}")
    table(
        ("Device", "Needed", "Free"),
        [(each.name, size(each.needed_bytes), size(each.available_bytes)) for each in plan.devices],
        "Memory by device",
    )
    with ui.expansion("Settings that would be in force").classes("st-wide"):
        settings_table(plan.settings)
