"""``studiolo serve``."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(serve)


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 for any free one.")] = 1234,
    model: Annotated[
        str | None, typer.Option("-m", "--model", help="The model to load at once. Default: the one last used.")
    ] = None,
    load: Annotated[bool, typer.Option("--load/--no-load", help="Whether to load a model at once.")] = True,
) -> None:
    """Serve models to LM Studio's SDKs and to studiolo's own."""
    from ..server.serve import ServeOptions
    from ..server.serve import serve as run
    from .output import fetch_progress, say

    with fetch_progress() as show:
        status = run(
            ServeOptions(host=host, port=port, load=load, model=model),
            say,
            lambda name, update: show(name, update.downloaded_bytes, update.total_bytes),
        )
    raise typer.Exit(status)
