"""The part of the page with the models on disk."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from nicegui import ui

from ...protocol.downloaded_models import LibraryModel
from ...units import size
from ..backend import backend
from ..element_groups import fact, note, open_dialog, panel, row, table
from ..elements import button, heading
from .bench import bench_path
from .downloads import downloads, watchers

SHOWN = 200
"""Models that are shown at once; a filter finds the others."""

_OWNERS = {"home": "studiolo", "lmstudio": "LM Studio", "huggingface": "Hugging Face", "ollama": "Ollama"}


async def disk_section() -> None:
    """Make it. It follows downloads that end."""
    models = await backend().client.system.list_library()
    heading("On disk")
    entry = ui.input("Filter", placeholder="Words of a name, an architecture, a quantization")
    entry.props("outlined dense stack-label clearable debounce=300").classes("st-wide")
    place = panel()
    done = _done()

    def show() -> None:
        words = (entry.value or "").casefold().split()
        found = [each for each in models if all(word in _searchable(each) for word in words)]
        place.clear()
        with place:
            if not found:
                note("No model matches." if models else "The library is empty: search for a model below.")
            for each in found[:SHOWN]:
                _make_row(each)
            if len(found) > SHOWN:
                fact(f"{len(found) - SHOWN} more: enter words to filter by.")

    async def read_again() -> None:
        nonlocal models
        models = await backend().client.system.list_library()
        if not place.is_deleted:
            show()

    def changed() -> None:
        nonlocal done
        if _done() != done:
            done = _done()
            ui.timer(0, read_again, once=True)

    entry.on_value_change(show)
    show()
    watchers.add_page(changed)


def _done() -> set[int]:
    return {each.number for each in downloads() if each.state == "done"}


def _searchable(model: LibraryModel) -> str:
    quantization = model.quantization.name if model.quantization else ""
    return " ".join(filter(None, (model.model_key, model.publisher, model.architecture, quantization))).casefold()


def _make_row(model: LibraryModel) -> None:
    with row() as line:
        line.props["role"] = "group"
        line.props["aria-label"] = model.model_key
        ui.label(model.model_key).classes("st-grow st-mono")
        for text in _facts(model):
            fact(text)
        with ui.element("div").classes("st-buttons"):
            if model.error is None:
                button("Load…", lambda: ui.navigate.to(load_path(model.model_key)))
                if model.type != "embedding" and not model.fits:
                    button("Benchmark…", lambda: ui.navigate.to(bench_path(model.model_key)))
            button("Details", lambda: _show_details(model))
        problem = model.error if not model.fits else "A LoRA adapter: models are loaded with it."
        if problem or model.note:
            ui.label(problem or model.note or "").classes("st-small st-wide")


def load_path(key: str) -> str:
    """Return the path of the page that loads a model, below the pages' own."""
    return f"/models/load?{urlencode({'model': key})}"


def _facts(model: LibraryModel) -> list[str]:
    found = [model.quantization.name if model.quantization else (model.variant or "").upper()]
    found += [model.params_string or "", size(model.size_bytes), *capabilities(model), _owner(model)]
    if model.variants:
        found.append("the default variant" if model.selected else "a variant")
    return [each for each in found if each]


def capabilities(model: LibraryModel) -> list[str]:
    """Return what a model can do, beyond text."""
    can = {
        "embeddings": model.type == "embedding",
        "vision": model.vision,
        "audio": model.audio,
        "tools": model.trained_for_tool_use,
        "decisions": bool(model.decides),
    }
    return [name for name, does in can.items() if does]


def _owner(model: LibraryModel) -> str:
    return f"from {_OWNERS.get(model.origin, 'a folder')}"


async def _show_details(model: LibraryModel) -> None:
    details = await backend().client.system.show_model(model.files[0] if model.files else model.model_key)
    facts = [
        ("Name", model.display_name),
        ("Publisher", model.publisher),
        ("Architecture", model.architecture),
        ("Parameters", f"{model.parameter_count:,}" if model.parameter_count else None),
        ("Context", f"{model.max_context_length:,} tokens" if model.max_context_length else None),
        ("Layers", model.block_count),
        ("Can", ", ".join(capabilities(model))),
        ("Size", f"{size(model.size_bytes)} ({model.size_bytes:,} bytes)"),
        ("From", _owner(model).removeprefix("from ")),
        *(("File", file) for file in model.files),
        ("Projector", model.mmproj),
        ("Variants", ", ".join(model.variants or [])),
        ("LoRA adapters", ", ".join(model.adapters or [])),
        ("Fits", ", ".join(model.fits or [])),
        ("Loaded as", ", ".join(model.loaded_as)),
    ]
    with open_dialog(model.model_key) as dialog:
        _table(facts, f"Facts about {model.model_key}")
        if details.header:
            with ui.expansion("Header of the file").classes("st-wide"):
                _table(sorted(details.header.items()), "Header of the file")
        if details.chat_template:
            with ui.expansion("Chat template").classes("st-wide"):
                template = ui.label(details.chat_template).classes("st-mono st-pre")
                template.props('tabindex=0 role=region aria-label="Chat template"')
        with row().classes("st-actions"):
            button("Close", dialog.close)


def _table(facts: Sequence[tuple[str, object]], label: str) -> None:
    table(("Name", "Value"), [(name, str(value)[:2000]) for name, value in facts if value not in (None, "")], label)
