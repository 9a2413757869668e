"""``studiolo runtime``: the engines of this machine, and a llama-server that is built for it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..runtimes.build import Report
    from ..runtimes.record import Runtime
    from .runtime_comparison import Comparison
    from .runtime_listing import Listed

runtime = typer.Typer(help="List, add, build, select and remove engines.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="Its name; see studiolo runtime ls.")]


class BackendName(StrEnum):
    """What a build computes with beside the processor."""

    cpu = "cpu"
    vulkan = "vulkan"
    cuda = "cuda"
    rocm = "rocm"
    metal = "metal"


class When(StrEnum):
    """When a runtime that was built is selected."""

    always = "always"
    faster = "faster"
    never = "never"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(runtime, name="runtime")


@runtime.command()
def ls(json: Json = False) -> None:
    """List the engines: the bundled one, those that were added or built, and the one that config.toml names."""
    from ..paths import Home
    from .output import print_json, print_table
    from .runtime_listing import list_engines

    engines = list_engines(Home.named())
    if json:
        print_json(engines)
        return
    columns = ("", "NAME", "VERSION", "DEVICES", "INSTRUCTION SETS", "BINARY")
    print_table(columns, [_row(each) for each in engines])


def _row(engine: Listed) -> list[str]:
    devices = "; ".join(engine.devices) or "processor"
    sets = " ".join(engine.instruction_sets) or "-"
    place = engine.binary or "-"
    return [
        "*" if engine.selected else "",
        engine.name,
        engine.version or "-",
        engine.problem or devices,
        sets,
        place,
    ]


@runtime.command()
def add(
    path: Annotated[Path, typer.Argument(help="A llama-server.")],
    name: Annotated[str | None, typer.Option(help="What to call it. Default: its folder's name.")] = None,
    model: Annotated[str | None, typer.Option(help="The model to try it with. Default: the smallest LLM.")] = None,
    select: Annotated[bool, typer.Option("--select", help="Select it, too.")] = False,
    json: Json = False,
) -> None:
    """Check a llama-server of your own, and record it: it runs, names its version and devices, and answers."""
    import asyncio

    from ..paths import Home
    from ..runtimes.inspection import inspected
    from ..runtimes.record import binary_of, check_free, check_name, keep
    from ..settings import EngineSettings
    from .output import print_json, say
    from .runtime_selection import select_runtime, smallest_model, try_engine

    home = Home.default()
    chosen = check_name(name or _name_for(path))
    check_free(home, chosen)
    found = asyncio.run(inspected(chosen, path))
    tried = asyncio.run(smallest_model(home, model))
    if tried is None:
        say("the library has no model to try it with; it was only run for its version and devices.")
    else:
        binary = str(binary_of(home, found))
        text = asyncio.run(try_engine(home, EngineSettings(name="llama-server", llama_server=binary), tried))
        say(f"it answers with {tried}: {text!r}")
    keep(home, found)
    if select:
        select_runtime(home, chosen)
    if json:
        print_json(found)
    else:
        _describe(found)
        _say_selected(chosen, select)


@runtime.command()
def select(name: Name) -> None:
    """Use an engine for each load from now on: it is written to config.toml."""
    from ..paths import Home
    from .output import say
    from .runtime_selection import select_runtime

    home = Home.default()
    left = select_runtime(home, name)
    say(f"{name} runs models from the next load on: {home.settings} has it now.")
    if left is not None:
        say(f"config.toml named {left} before; to keep it: studiolo runtime add {left}")


@runtime.command()
def remove(name: Name) -> None:
    """Remove a runtime. One that was built is deleted; of one that was added, the record alone."""
    from ..paths import Home
    from ..runtimes.record import remove as remove_record
    from .output import say
    from .runtime_selection import check_not_selected

    home = Home.default()
    check_not_selected(home, name)
    remove_record(home, name)
    say(f"{name} is removed.")


@runtime.command()
def build(
    backend: Annotated[BackendName, typer.Option(help="What it computes with.")] = BackendName.cpu,
    name: Annotated[str | None, typer.Option(help="What to call it. Default: the backend's name.")] = None,
    select: Annotated[When, typer.Option(help="When to select it.")] = When.faster,
    model: Annotated[str | None, typer.Option(help="The model to measure. Default: the smallest LLM.")] = None,
    rounds: Annotated[int, typer.Option(min=3, help="How often each engine is measured.")] = 5,
    jobs: Annotated[int | None, typer.Option(min=1, help="Compilers at once. Default: one a processor.")] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="How long the compilation may take.")] = 180.0,
    source: Annotated[Path | None, typer.Option(help="An archive or a folder of llama.cpp's source.")] = None,
    cmake: Annotated[
        list[str] | None, typer.Option("--cmake", metavar="-DNAME=VALUE", help="A further option of CMake.")
    ] = None,
    json: Json = False,
) -> None:
    """Build a llama-server for this processor, and select it where it is faster and answers the same.

    An interrupted build continues where it was when the same command is given again.
    """
    import asyncio

    from ..paths import Home
    from ..platform.processors import usable_processors
    from ..runtimes.build import Order
    from ..runtimes.build import build as build_runtime
    from .output import print_json

    home = Home.default()
    order = Order(
        name=name or backend.value,
        backend=backend.value,
        jobs=jobs or usable_processors().count,
        limit_sec=minutes * 60,
        source=source,
        flags=tuple(cmake or ()),
    )
    with _progress() as report:
        made = asyncio.run(build_runtime(home, order, report))
    comparison = None
    selected = select is When.always
    if select is When.faster:
        comparison = _measured(home, made, model, rounds)
        selected = comparison is not None and comparison.is_better()
    if selected:
        from .runtime_selection import select_runtime

        select_runtime(home, made.name)
    if json:
        gains = dict(zip(("prompt", "decode", "total"), comparison.gains(), strict=True)) if comparison else None
        print_json({"runtime": made, "comparison": comparison, "gains": gains, "selected": selected})
        return
    _describe(made)
    if comparison is not None:
        _describe_comparison(comparison)
    _say_selected(made.name, selected)


def _progress() -> Any:
    """Show how a build goes: the steps, the download, and the share that is compiled."""
    import contextlib
    from collections.abc import Generator

    from ..runtimes.build import Report
    from .output import fetch_progress, say, step_progress

    @contextlib.contextmanager
    def shown() -> Generator[Report]:
        with fetch_progress() as fetched, step_progress("compiling") as compiled:
            yield Report(
                step=say,
                on_bytes=lambda here, total: fetched("the source of llama.cpp", here, total),
                compiled=compiled,
            )

    return shown()


def _measured(home: Any, made: Runtime, model: str | None, rounds: int) -> Comparison | None:
    """Compare a runtime that was built with the engine in force; ``None`` where there is no model."""
    import asyncio

    from ..runtimes.record import binary_of
    from ..settings import EngineSettings, read_settings
    from .output import say
    from .runtime_comparison import compare
    from .runtime_selection import smallest_model

    tried = asyncio.run(smallest_model(home, model))
    if tried is None:
        say("the library has no model to measure it with: fetch one with studiolo get, and select it by hand.")
        return None
    say(f"measuring {tried} with it and with the engine in force; other programs should rest meanwhile.")
    after = EngineSettings(name="llama-server", llama_server=str(binary_of(home, made)))
    return compare(home, read_settings(home.settings).engine, after, tried, rounds=rounds, report=say)


def _describe(made: Runtime) -> None:
    print(f"{made.name}: version {made.version}")
    print(f"instruction sets: {' '.join(made.instruction_sets) or 'it does not say'}")
    print(f"devices beside the processor: {'; '.join(made.devices) or 'none'}")
    if not made.llguidance:
        print("It is built without llguidance: JSON schemas are held to with its own grammars, as far as they reach.")


def _describe_comparison(comparison: Comparison) -> None:
    from ..benchmark import spread

    prompt, decode, total = comparison.gains()
    before, after, answers = comparison.before, comparison.after, comparison.answers
    rows = (("prompts", prompt, after.prompt, before.prompt), ("answers", decode, after.decode, before.decode))
    for what, gain, now, then in rows:
        print(f"{what}: {gain:.2f} times as fast: {spread(now)} tokens a second, {spread(then)} before")
    print(f"a prompt with its answer: {total:.2f} times as fast")
    print(
        f"the same at temperature 0: {'yes' if answers.same else 'no'}; {answers.compared} of {answers.tokens} tokens"
        f" compared, {answers.near_ties} answers part at a near tie, {answers.others} elsewhere; log-probabilities"
        f" differ by {answers.mean_difference:.4f} on average, {answers.largest_difference:.4f} at most"
    )


def _say_selected(name: str, selected: bool) -> None:
    from .output import say

    said = "is selected for each load from now on" if selected else "is not selected"
    say(f"{name} {said}." if selected else f"{name} {said}; to use it: studiolo runtime select {name}")


def _name_for(path: Path) -> str:
    """Return a name for a binary: the first folder above it that says something."""
    usual = {"bin", "build", "Release", ""}
    said = [parent.name for parent in path.expanduser().absolute().parents if parent.name not in usual]
    return said[0] if said else "own"
