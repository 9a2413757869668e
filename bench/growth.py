"""How costs grow: with the prompt, the filled context, clients, loaded models, and the files of the library."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import studiolo
from studiolo.library import Library
from studiolo.paths import Home

from . import texts
from .library import write_models
from .measure import Ask, Spread, take
from .processes import serving, wheel_server
from .rows.clients import throughput
from .rows.long_prompts import both as beside_prompts
from .rows.streams import FILL_TOKENS, JUDGED, LONG, REFERENCE, reading
from .rows.streams import prompts as measured_prompts
from .run import Run
from .streams import llama_server, studiolo_sdk

SHORT = 20


@dataclass(frozen=True)
class Curve:
    """Figures over a growing number.

    Parameters:
        key: the name of the plot's file.
        x, y: what the axes are, with units.
        lines: by name, the points: x, y.
        logarithmic: whether the axis of y is; x always is.
    """

    key: str
    title: str
    x: str
    y: str
    lines: dict[str, list[tuple[float, float]]]
    logarithmic: bool = False

    def json(self) -> dict[str, Any]:
        """Return the form in the results file."""
        rounded = {name: [(x, float(f"{y:.4g}")) for x, y in points] for name, points in self.lines.items()}
        return {**vars(self), "lines": rounded}


def prompts(run: Run) -> list[Curve]:
    """Measure the time of a prompt by its length, and the speed of the answer by what is in the context."""
    ways = run.ways()
    reads: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    decodes: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    known = run.shared(measured_prompts)
    for length in sorted({*run.size.lengths, *known}):
        chosen = [way for way in ways if length < LONG or way != JUDGED[0]]
        found = known.get(length) or run.alternate(
            {
                way: lambda number, way=way, n=length: reading(ways[way], n, ("growth", number), FILL_TOKENS)
                for way in chosen
            },
            6,
            most=4,
        )
        for way in ways.keys() & found.keys():
            samples = found[way]
            tokens = samples[0].ended.prompt or length
            reads[way].append((tokens, statistics.median(each.first for each in samples)))
            decodes[way].append((tokens, statistics.median(each.decode_rate for each in samples)))
    longest = run.shared(beside_prompts)["own"]
    if longest.alone is not None:
        reads["SDK, through the server"].append((longest.tokens, longest.alone))
    return [
        Curve("prompt_length", "Time to first token by prompt", "prompt, tokens", "seconds", reads, logarithmic=True),
        Curve("context_fill", "Decode by filled context", "context, tokens", "tokens/s", decodes),
    ]


def clients(run: Run) -> list[Curve]:
    """Return the throughput by clients."""
    lines = {
        name: [
            (count, Spread.of(each.rate for each in found[side]).median)
            for count, found in run.shared(throughput).items()
        ]
        for name, side in ((REFERENCE, "reference"), ("through the server", "own"))
    }
    return [Curve("clients", "Total throughput by clients", "clients", "tokens/s", lines)]


def models(run: Run) -> list[Curve]:
    """Measure the first token of one model while more are loaded: of one server, and of as many engines."""
    lines: dict[str, list[tuple[float, float]]] = {REFERENCE: [], "through the server": []}
    with ExitStack() as stack:
        server = stack.enter_context(serving())
        client = stack.enter_context(studiolo.Client(server.address))
        settings = {"max_parallel_predictions": 1, "context_length": 512}
        loaded: list[Any] = []
        wheels: list[Any] = []
        for count in run.size.models:
            while len(loaded) < count:
                loaded.append(client.llm.load_new_instance(run.model, f"model {len(loaded)}", config=settings))
                wheels.append(stack.enter_context(wheel_server(run.file, n_ctx=512)))
            sides = {REFERENCE: llama_server(wheels[0].connect), "through the server": studiolo_sdk(loaded[0])}
            found = run.alternate(
                {
                    name: lambda number, n=name, c=count, s=sides: (
                        take(s[n], Ask(texts.fresh(SHORT, ("models", n, c, number)), 2)).first
                    )
                    for name in sides
                },
                4,
            )
            for name, times in found.items():
                lines[name].append((count, 1000 * statistics.median(times)))
    return [Curve("models", "Time to first token by loaded models", "models", "ms", lines)]


def libraries(run: Run) -> list[Curve]:
    """Measure the listing of libraries of growing size, and a look-up by name."""
    names = ("first listing", "in a new process", "look-up by name")
    lines: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for count in run.size.libraries:
        with tempfile.TemporaryDirectory() as folder:
            home = Home(Path(folder))
            home.settings.write_text("[library]\nprograms = []\n")
            write_models(home, count, vocabulary=500)
            for name, seconds in zip(names, asyncio.run(_listings(home, count)), strict=True):
                lines[name].append((count, 1000 * seconds))
    return [Curve("library", "Library", "files", "ms", lines, logarithmic=True)]


async def _listings(home: Home, count: int) -> Sequence[float]:
    took: list[float] = []
    for _ in range(2):
        began = time.perf_counter()
        library = Library(home)
        found = await library.models()
        took.append(time.perf_counter() - began)
        if len(found) != count:
            raise RuntimeError(f"{len(found)} of {count} models are listed")
        key = found[count // 2].key
        began = time.perf_counter()
        await library.resolve(key)
        looked_up = time.perf_counter() - began
        await library.close()
    return [*took, looked_up]


CURVES = {"prompts": prompts, "clients": clients, "models": models, "libraries": libraries}
