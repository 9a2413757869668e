"""The part of the page that searches for models that can be downloaded."""

from __future__ import annotations

from nicegui import ui

from ...protocol.repository import ModelSearchResultDownloadOptionData
from ...sdk.repository import AsyncAvailableModel
from ...units import size
from ..backend import backend
from ..element_groups import fact, panel, row
from ..elements import button, heading
from .downloads import begin_download

FITS = {
    "fullGPUOffload": "fits on the GPU",
    "partialGPUOffload": "fits partly on the GPU",
    "fitWithoutGPU": "fits in memory",
    "willNotFit": "does not fit in memory",
}
"""Whether a model fits this machine, for people."""


def search_section() -> None:
    """Make it."""
    heading("Get a model")
    entry = ui.input("Search the catalog and the Hugging Face hub", placeholder="Words of a name, or owner/repository")
    entry.props("outlined dense stack-label").classes("st-wide")
    with row():
        button("Search", lambda: search(), kind="primary")
        about = fact("")
        about.props["role"] = "status"
    place = ui.element("div").classes("st-wide")
    latest = 0

    async def search() -> None:
        nonlocal latest
        latest += 1
        mine = latest
        about.set_text("Searching…")
        try:
            found = await backend().client.repository.search_models((entry.value or "").strip() or None)
        except BaseException:
            about.set_text("")
            raise
        if mine != latest or place.is_deleted:
            return
        about.set_text(f"{len(found)} found." if found else "Nothing was found.")
        place.clear()
        with place:
            if found:
                with panel():
                    for each in found:
                        _make_row(each)

    entry.on("keydown.enter", search)


def _make_row(model: AsyncAvailableModel) -> None:
    result = model.search_result
    with ui.element("div").classes("st-wide"):
        with row() as line:
            line.props["role"] = "group"
            line.props["aria-label"] = result.identifier.identifier
            ui.label(result.identifier.identifier).classes("st-grow st-mono")
            fact("catalog" if result.staff_pick else "Hugging Face")
            choose = button("Choose…", lambda: show())
        place = ui.element("div").classes("st-indent")

    async def show() -> None:
        choose.disable()
        try:
            options = await model.get_download_options()
        finally:
            choose.enable()
        if place.is_deleted:
            return
        place.clear()
        with place:
            for option in options:
                _make_option(option.info)


def _make_option(option: ModelSearchResultDownloadOptionData) -> None:
    with row() as line:
        line.props["role"] = "group"
        line.props["aria-label"] = option.download_identifier
        ui.label(option.quantization or option.name).classes("st-grow")
        if option.size_bytes:
            fact(size(option.size_bytes))
            fact(FITS[option.fit_estimation])
        if option.recommended:
            fact("recommended")
        kind = "primary" if option.recommended else "plain"
        button("Download", lambda: _download(option.download_identifier), kind=kind)


def _download(name: str) -> None:
    begin_download(name)
