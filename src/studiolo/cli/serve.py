"""``studiolo serve``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .server_options import with_serve_options

if TYPE_CHECKING:
    from ..server.serve_options import ServeOptions


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(serve)


@with_serve_options
def serve(
    options: ServeOptions,
    background: Annotated[bool, typer.Option("--background", hidden=True)] = False,
) -> None:
    """Serve models to LM Studio's SDKs and to studiolo's own."""
    if background:
        import sys

        from ..server.daemon_log import StampedLines

        sys.stdout = sys.stderr = StampedLines(sys.stderr)
    from ..server.serve import serve as run
    from .output import fetch_progress, say

    with fetch_progress() as show:
        status = run(
            options,
            say,
            lambda name, update: show(name, update.downloaded_bytes, update.total_bytes),
            in_background=background,
        )
    raise typer.Exit(status)
