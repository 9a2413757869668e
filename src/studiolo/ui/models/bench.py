"""The page that measures how fast a model is, with several load settings side by side, as ``studiolo bench`` does."""

from __future__ import annotations

from statistics import median
from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from ...benchmark import Figures, described, spread
from ...errors import ConfigError
from ..backend import backend
from ..element_groups import column, fact, note, panel, row, table
from ..elements import button, heading
from .benchmarks import Benchmark, begin_benchmark, benchmarks, watchers
from .compared_settings import ComparedSettings

MOST = {"prompt_tokens": 100_000, "tokens": 10_000, "rounds": 100}
"""The largest sizes."""

COLUMNS = (
    *("Model", "Settings", "Prompt tokens", "Prompt tokens/s", "Answer tokens", "Answer tokens/s"),
    *("Rounds", "To the first"),
)


def bench_path(model: str, *, loaded: bool = False) -> str:
    """Return the path of the page that measures a model, below the pages' own."""
    return f"/models/bench?{urlencode({'loaded' if loaded else 'model': model})}"


async def build() -> None:
    """Make the page. The query names the model."""
    query = ui.context.client.request.query_params
    loaded, key = query.get("loaded"), query.get("model", "")
    if loaded is not None:
        handles = {each.identifier: each for each in await backend().client.llm.list_loaded()}
        key = (await handles[loaded].get_info()).model_key if loaded in handles else ""
    models = await backend().client.system.list_library()
    is_on_disk = any(key in (each.model_key, each.group) for each in models if each.type != "embedding")
    name, exists = (key, is_on_disk) if loaded is None else (loaded, bool(key))
    with column():
        heading(f"Benchmark of {name}" if exists else "No such model", 1)
        if exists:
            _make_form(name, loaded is not None)
            if loaded is not None and is_on_disk:
                ui.link("Measure the model on disk, with load settings side by side", bench_path(key))
        else:
            ui.label("There is no model of this name. It may have been unloaded or removed.")
        ui.link("Models", "/models")
        _results_section()


def _make_form(name: str, is_loaded: bool) -> None:
    fact(
        "It is measured as it is loaded, with the settings in force."
        if is_loaded
        else "It is loaded for each round, with its own settings and a context that is just long enough, and unloaded."
    )
    fact("Other programs and clients should rest meanwhile.")
    with ui.element("div").classes("st-form"):
        fields: dict[str, Any] = {
            "prompt_tokens": ui.number("Tokens of each prompt", value=512, min=1, max=MOST["prompt_tokens"]),
            "tokens": ui.number("Tokens of each answer", value=128, min=2, max=MOST["tokens"]),
            "rounds": ui.number("Rounds", value=5, min=1, max=MOST["rounds"]),
        }
    for made in fields.values():
        made.props("outlined dense stack-label step=1").classes("st-wide")
    compared = None if is_loaded else ComparedSettings()

    def start() -> None:
        size: dict[str, int] = {}
        for each, made in fields.items():
            least = 2 if each == "tokens" else 1
            if made.value is None or not least <= made.value <= MOST[each]:
                raise ConfigError(f"{made.props['label']}: from {least:,} to {MOST[each]:,}")
            size[each] = int(made.value)
        configs: list[dict[str, Any]] = [{}] if compared is None else compared.configs()
        begin_benchmark(Benchmark(name, is_loaded, configs, size["prompt_tokens"], size["tokens"], size["rounds"]))

    with row():
        button("Measure", start, kind="primary")


def _results_section() -> None:
    """Make the part with the measurement that runs, and those that have ended. It follows them."""
    heading("Results")
    place = panel()
    shown: list[tuple[int, str]] = []
    lines: list[_Line] = []

    def refresh() -> None:
        if place.is_deleted:
            return
        now = [(each.number, each.state) for each in benchmarks()]
        if now == shown and place.default_slot.children:
            for line in lines:
                line.refresh()
            return
        shown[:] = now
        place.clear()
        with place:
            if not now:
                note("Nothing has been measured since the pages were started.")
            lines[:] = [_Line(each) for each in benchmarks() if each.state != "done"]
            done = [each for each in benchmarks() if each.state == "done"]
            if rows := [_cells(each, figures) for each in done for figures in each.figures]:
                table(COLUMNS, rows, "Results")
                fact("Tokens a second: the median of the rounds, and the least and the largest in parentheses.")
                fact("To the first: how many times as fast as the first settings, prompt and answer together.")

    refresh()
    watchers.add_page(refresh)


class _Line:
    """The line of a measurement without a result."""

    def __init__(self, benchmark: Benchmark) -> None:
        self._benchmark = benchmark
        with row() as line:
            line.props["role"] = "group"
            line.props["aria-label"] = f"Benchmark of {benchmark.model}"
            ui.label(benchmark.model).classes("st-grow st-mono")
            self._about = fact("").props("role=status").classes("st-pre-line")
            if benchmark.state == "running":
                button("Cancel", benchmark.cancel)
            self._bar = ui.linear_progress(0.0, show_value=False).classes("st-wide")
            self._bar.props["aria-label"] = f"Progress of the benchmark of {benchmark.model}"
            self._bar.set_visibility(benchmark.state == "running")
        self.refresh()

    def refresh(self) -> None:
        """Show what has changed."""
        self._about.set_text(_about(self._benchmark))
        self._bar.set_value(round(self._benchmark.share, 3))


def _about(benchmark: Benchmark) -> str:
    match benchmark.state:
        case "running":
            return benchmark.now or "begins"
        case "cancelled":
            return "cancelled"
        case _:
            return benchmark.fault


def _cells(benchmark: Benchmark, figures: Figures) -> list[str]:
    return [
        benchmark.model,
        "as it is loaded" if benchmark.is_loaded else described(figures.config),
        f"{median(figures.prompt_tokens):.0f}",
        spread(figures.prompt),
        f"{median(figures.tokens):.0f}",
        spread(figures.decode),
        str(benchmark.rounds),
        f"{figures.gain(benchmark.figures[0]):.2f}",
    ]
