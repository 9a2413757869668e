"""``studiolo get`` and ``studiolo ls``: the models on disk."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(get)
    app.command("ls")(list_models)


def get(
    model: Annotated[str | None, typer.Argument(help="A name in the catalog; the default model without it.")] = None,
) -> None:
    """Fetch a model."""
    from ..library.catalog import Catalog
    from ..paths import Home
    from ..sdk.sync_client import Client
    from .output import fetch_progress, say

    default = Catalog.load(Home.default().catalog).default
    name = model or (default.name if default else "")
    with Client() as client:
        with fetch_progress() as show:
            key = client.repository.download(
                name, lambda update: show(name, update.downloaded_bytes, update.total_bytes)
            )
        say(f"{key} is in the library.")


def list_models(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models on disk."""
    from ..sdk.sync_client import Client
    from .output import print_json, print_table, say, size

    with Client() as client:
        models = client.list_downloaded_models()
    if json:
        print_json(models)
    elif not models:
        say("the library is empty. studiolo get fetches the default model.")
    else:
        rows = [
            (
                model.model_key,
                model.params_string or "-",
                model.quantization.name if model.quantization else "-",
                model.architecture or "-",
                str(model.max_context_length or "-"),
                size(model.size_bytes),
            )
            for model in models
        ]
        print_table(("MODEL", "PARAMS", "QUANT", "ARCH", "CONTEXT", "SIZE"), rows)
