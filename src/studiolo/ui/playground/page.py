"""The page of the playground."""

from __future__ import annotations

import asyncio

from nicegui import ui

from ...errors import StudioloError
from ..backend import backend
from ..element_groups import column, row
from ..elements import button, heading
from .side import Request, Side


async def build() -> None:
    """Make the page."""
    models = [each.model_key for each in await backend().client.llm.list_downloaded()]
    with column():
        heading("Playground", 1)
        ui.label("The same request, side by side on two models, or on one with two settings.").classes("st-dim")
        kinds = {"chat": "A message of a chat", "text": "Text that the model continues"}
        kind = ui.select(kinds, value="chat", label="The prompt is").props("outlined dense options-dense")
        kind.classes("st-wide")
        prompt = ui.textarea("Prompt").props("outlined autogrow stack-label").classes("st-wide")
        with row():
            run_button = button("Run", lambda: run(), kind="primary")
            stop_button = button("Stop", lambda: stop())
            shows_odds = ui.checkbox("Log-probabilities of the tokens")
        with ui.element("div").classes("st-sides"):
            sides = [Side("A", models, models[:1]), Side("B", models, [])]
    stop_button.disable()
    running: list[asyncio.Task[None]] = []

    async def run() -> None:
        chosen = [side for side in sides if side.model]
        text = prompt.value or ""
        if not text.strip() or not chosen:
            raise StudioloError("There is nothing to run", suggestion="Enter a prompt and choose a model.")
        request = Request(text, kind.value == "chat", bool(shows_odds.value))
        run_button.disable()
        stop_button.enable()
        running[:] = [asyncio.create_task(side.run(request), name=f"playground {side.name}") for side in chosen]
        try:
            await asyncio.wait(running)
        finally:
            running.clear()
            if not prompt.is_deleted:
                run_button.enable()
                stop_button.disable()

    def stop() -> None:
        for task in running:
            task.cancel()

    client = ui.context.client
    client.on_delete(stop)  # pyright: ignore[reportUnknownMemberType]
