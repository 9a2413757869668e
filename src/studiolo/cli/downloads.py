"""``studiolo get`` and ``search``: models that can be fetched."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..library.download_options import DownloadOption

_FITS = {
    "fullGPUOffload": "on the GPU",
    "partialGPUOffload": "partly on the GPU",
    "fitWithoutGPU": "yes",
    "willNotFit": "no",
}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(get)
    app.command()(search)


def get(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A name in the catalog, owner/repo or owner/repo@quant on the Hugging Face hub, the address of a "
            "GGUF file, or a path. The default model without it."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; take what is recommended.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Show the choices, and fetch nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="With --list: print JSON.")] = False,
) -> None:
    """Fetch a model. A fetch that was interrupted is resumed."""
    from ..sdk.sync_client import Client
    from .output import fetch_progress, say

    name = _name(model)
    if show:
        _list(name, json)
        return
    name = _choose(name, ask=not yes and sys.stdin.isatty() and sys.stderr.isatty())
    with Client() as client:
        with fetch_progress() as progress:
            key = client.repository.download(
                name, lambda update: progress(name, update.downloaded_bytes, update.total_bytes)
            )
        say(f"{key} is in the library.")


def search(
    term: Annotated[str, typer.Argument(help="Words of the model's name.")],
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many to find at most.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look for models that can be fetched, in the catalog and on the Hugging Face hub."""
    import asyncio

    from ..library.catalog import Catalog
    from ..library.search import search as look
    from ..paths import Home
    from ..units import size
    from .output import print_json, print_table, say
    from .standard_streams import decoded

    term = decoded(term, "The term")
    results = asyncio.run(look(term, limit, Catalog.load(Home.default().catalog)))
    if json:
        print_json(results.hits)
    elif results.hits:
        rows = [
            (
                hit.identifier,
                hit.source,
                "-" if hit.size_bytes is None else size(hit.size_bytes),
                "-" if hit.downloads is None else f"{hit.downloads:,}",
                " ".join(filter(None, (hit.description, "(gated)" if hit.gated else ""))) or "-",
            )
            for hit in results.hits
        ]
        print_table(("MODEL", "SOURCE", "SIZE", "DOWNLOADS", "ABOUT"), rows)
    else:
        say(f"nothing was found for {term!r}.")
    if results.note:
        say(results.note)


def _name(model: str | None) -> str:
    """What to fetch: a name as it is, a path of a file that exists as an absolute one."""
    from pathlib import Path

    from ..library.catalog import Catalog
    from ..paths import Home

    if model is None:
        default = Catalog.load(Home.default().catalog).default()
        return default.name if default else ""
    if model.lower().endswith(".gguf") and "://" not in model and Path(model).expanduser().is_file():
        return str(Path(model).expanduser().absolute())
    return model


def _options(name: str) -> list[DownloadOption]:
    import asyncio

    from ..library import Library
    from ..paths import Home

    async def look() -> list[DownloadOption]:
        library = Library(Home.default())
        try:
            return await library.download_options(name)
        finally:
            await library.close()

    return asyncio.run(look())


def _list(name: str, json: bool) -> None:
    from .output import print_json, print_table

    options = _options(name)
    if json:
        print_json([{"path": option.path, "vision": option.vision, **_public(option)} for option in options])
    else:
        print_table(*_table(options))


def _public(option: DownloadOption) -> dict[str, object]:
    fields = ("identifier", "name", "quantization", "size_bytes", "fit", "recommended")
    return {field: getattr(option, field) for field in fields}


def _table(options: list[DownloadOption]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    from ..units import size

    rows = [
        (
            str(number),
            option.quantization or "-",
            size(option.size_bytes) if option.size_bytes else "-",
            _FITS[option.fit] if option.size_bytes else "-",
            option.identifier + (" (recommended)" if option.recommended and len(options) > 1 else ""),
        )
        for number, option in enumerate(options, 1)
    ]
    return ("", "QUANT", "SIZE", "FITS", "NAME"), rows


def _choose(name: str, *, ask: bool) -> str:
    """The option to fetch, of those that a repository on the hub offers; other names are the host's to understand."""
    from ..errors import DownloadError
    from ..library.catalog import Catalog
    from ..library.download_references import HubReference, parse
    from ..paths import Home
    from ..units import size
    from .output import print_table, say

    if Catalog.load(Home.default().catalog).find(name) or not isinstance(parse(name), HubReference):
        return name
    try:
        options = _options(name)
    except DownloadError:
        return name  # the host may have it already, or reach what this program cannot; else it says why not
    best = next((number for number, option in enumerate(options) if option.recommended), 0)
    if len(options) > 1:
        print_table(*_table(options), file=sys.stderr)
        if ask:
            best = _ask(best + 1, len(options)) - 1
    chosen = options[best]
    if not chosen.fits:
        say(f"{chosen.identifier} ({size(chosen.size_bytes)}) needs more memory than this machine has free.")
    return chosen.identifier


def _ask(default: int, highest: int) -> int:
    while True:
        number: int = typer.prompt("Which one?", default=default, type=int, err=True)
        if 1 <= number <= highest:
            return number
        typer.echo(f"Give a number from 1 to {highest}.", err=True)
