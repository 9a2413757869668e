"""``studiolo serve``."""

from __future__ import annotations

from typing import Annotated

import typer

from .server import HostOption, LoadOption, ModelOption, PortOption, SdkPortOption, TokenFileOption, serve_options


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(serve)


def serve(
    host: HostOption = None,
    port: PortOption = None,
    model: ModelOption = None,
    load: LoadOption = None,
    sdk_port: SdkPortOption = None,
    token_file: TokenFileOption = None,
    background: Annotated[bool, typer.Option("--background", hidden=True)] = False,
) -> None:
    """Serve models to LM Studio's SDKs and to studiolo's own."""
    if background:
        import sys

        from ..server.daemon_log import StampedLines

        sys.stdout = sys.stderr = StampedLines(sys.stderr)
    from ..server.serve import ServeOptions
    from ..server.serve import serve as run
    from .output import fetch_progress, say

    with fetch_progress() as show:
        status = run(
            ServeOptions(
                host=host,
                port=port,
                load=load is not False,
                model=model,
                sdk_port=sdk_port is not False,
                token_file=token_file,
                background=serve_options(host, port, model, load, sdk_port, token_file) if background else None,
            ),
            say,
            lambda name, update: show(name, update.downloaded_bytes, update.total_bytes),
        )
    raise typer.Exit(status)
