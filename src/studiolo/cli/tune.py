"""``studiolo tune``: find the load settings with which a model is fastest on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .bench import COLUMNS, Model, PromptTokens, Tokens, row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ..benchmark import Figures
    from ..sdk.async_client import AsyncClient

LEAST_GAIN = 1.03
"""Settings are changed for this at least: less is within what machines vary by."""


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(tune)


def tune(
    model: Model,
    prompt_tokens: PromptTokens = 512,
    tokens: Tokens = 128,
    rounds: Annotated[int, typer.Option(min=2, help="How often each setting is measured.")] = 4,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change no settings.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a model with other threads, batches and attention, and keep what is faster in config.toml."""
    import asyncio

    from ..paths import Home
    from ..sdk.async_client import AsyncClient
    from .output import print_json, print_table, say

    async def measured() -> tuple[str, list[list[Figures]], dict[str, Any]]:
        async with AsyncClient("embedded") as client:
            key = (await client.system.show_model(model)).model.model_key
            say(f"measuring {key}; other programs should rest meanwhile.")
            size = {"prompt_tokens": prompt_tokens, "tokens": tokens, "rounds": rounds}
            return key, *await search(client, key, size, say)

    key, steps, best = asyncio.run(measured())
    path = Home.named().settings
    if best and not dry_run:
        keep(path, key, best)
    if json:
        print_json({"model": key, "kept": best, "measured": steps})
    else:
        print_table(COLUMNS, [row(each, step[0]) for step in steps for each in step])
    if not best:
        say(f"no other setting is {LEAST_GAIN - 1:.0%} faster than those of {key}; they stay as they are.")
    elif dry_run:
        say(f"{key} is faster with {_listed(best)}. Nothing is changed.")
    else:
        say(f"{key} is faster with {_listed(best)}: {path} has it now, for each load from now on.")


def candidates(threads: int, cores: int) -> dict[str, list[Any]]:
    """Return the values of each load setting that are tried, in this order.

    Parameters:
        threads: the logical processors that the engine may use.
        cores: the physical ones.
    """
    numbers = {threads, threads - 1, cores, cores - 1, threads // 2}
    return {
        "cpu_thread_pool_size": sorted(number for number in numbers if 1 <= number <= threads),
        "batch_threads": sorted({threads, cores}),
        "flash_attention": [True, False],
        "physical_batch_size": [128, 256, 512, 1024],
    }


async def search(
    client: AsyncClient, model: str, size: Mapping[str, int], report: Callable[[str], None]
) -> tuple[list[list[Figures]], dict[str, Any]]:
    """Change one setting after the other, and keep each that is faster.

    Parameters:
        size: the sizes of :func:`studiolo.benchmark.measure`.
        report: called with what is measured now.

    Returns what was measured in each step, first the settings that it began with, and the settings at the end.
    """
    import psutil

    from ..benchmark import measure
    from ..platform.processors import usable_processors

    threads = usable_processors().count
    best: dict[str, Any] = {}
    steps: list[list[Figures]] = []
    for name, values in candidates(threads, min(psutil.cpu_count(logical=False) or threads, threads)).items():
        configs = [best, *({**best, name: value} for value in values)]
        found = await measure(client, model, configs, **size, report=report)
        steps.append(found)
        fastest = max(found, key=lambda figures: figures.gain(found[0]))
        if fastest.gain(found[0]) >= LEAST_GAIN:
            best = fastest.config
    return steps, best


def _listed(config: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {str(value).lower()}" for name, value in config.items())


def keep(path: Path, key: str, config: Mapping[str, Any]) -> None:
    """Write load settings of a model into a settings file; everything else in it, comments too, stays.

    Raises:
        ConfigError: the file is not valid, or cannot be written.
    """
    import tomlkit

    from ..settings_edit import edit_settings

    def change(document: Any) -> None:
        models: Any = document.setdefault("models", tomlkit.table(is_super_table=True))
        load: Any = models.setdefault(key, tomlkit.table()).setdefault("load", tomlkit.inline_table())
        load.update(config)

    edit_settings(path, change, _listed(config))
