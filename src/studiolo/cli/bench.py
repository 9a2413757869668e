"""``studiolo bench``: how fast a model is on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..benchmark import Figures

Model = Annotated[str, typer.Argument(help="A model; see studiolo ls.")]
PromptTokens = Annotated[int, typer.Option(min=1, help="Tokens of each prompt.")]
Tokens = Annotated[int, typer.Option(min=2, help="Tokens of each answer.")]

COLUMNS = ("SETTINGS", "PROMPT", "PROMPT TOK/S", "ANSWER", "ANSWER TOK/S", "TO THE FIRST")


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(bench)


def bench(
    model: Model,
    prompt_tokens: PromptTokens = 512,
    tokens: Tokens = 128,
    rounds: Annotated[int, typer.Option(min=1, help="How often each setting is measured.")] = 5,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A load setting; given again with other values, each is measured."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON with the figure of each round.")] = False,
) -> None:
    """Measure a model's speed, with one or several settings side by side."""
    import asyncio

    from ..benchmark import measure, variants
    from ..sdk.async_client import AsyncClient
    from .output import print_json, print_table, say

    configs = variants(_values(settings or []))

    async def measured() -> list[Figures]:
        size = {"prompt_tokens": prompt_tokens, "tokens": tokens, "rounds": rounds}
        async with AsyncClient() as client:
            return await measure(client, model, configs, **size, report=say)

    found = asyncio.run(measured())
    if json:
        print_json({"model": model, "settings": found})
        return
    print_table(COLUMNS, [row(figures, found[0]) for figures in found])


def row(figures: Figures, first: Figures) -> list[str]:
    """Return a line of the table; the last cell compares with ``first``."""
    from statistics import median

    from ..benchmark import described, spread

    return [
        described(figures.config),
        f"{median(figures.prompt_tokens):.0f}",
        spread(figures.prompt),
        f"{median(figures.tokens):.0f}",
        spread(figures.decode),
        f"{figures.gain(first):.2f}",
    ]


def _values(given: list[str]) -> dict[str, list[Any]]:
    """Return the values of each setting."""
    from .instances import setting_in

    found: dict[str, list[Any]] = {}
    for name, value in map(setting_in, given):
        found.setdefault(name, []).append(value)
    return found
