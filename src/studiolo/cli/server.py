"""``studiolo server``: the server in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..paths import Home

server = typer.Typer(help="Run the server in the background.", no_args_is_help=True)

HostOption = Annotated[str | None, typer.Option(help="The address to listen on. Default: 127.0.0.1.")]
PortOption = Annotated[
    int | None, typer.Option(min=0, max=65535, help="The port to listen on; 0 for any free one. Default: 1234.")
]
ModelOption = Annotated[
    str | None, typer.Option("-m", "--model", help="The model to load at once. Default: the one last used.")
]
LoadOption = Annotated[bool | None, typer.Option("--load/--no-load", help="Whether to load a model at once.")]
SdkPortOption = Annotated[
    bool | None, typer.Option("--sdk-port/--no-sdk-port", help="Whether to listen where LM Studio's SDKs look, too.")
]
NowOption = Annotated[bool, typer.Option("--now", help="Do not wait for the predictions that run.")]

GRACE_SEC = 15.0
"""What a server gets beyond the time for its predictions, before it is killed."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(server, name="server")


@server.command()
def start(
    host: HostOption = None,
    port: PortOption = None,
    model: ModelOption = None,
    load: LoadOption = None,
    sdk_port: SdkPortOption = None,
) -> None:
    """Start it; does nothing where it runs already."""
    from ..paths import Home
    from ..server.daemon import running_daemon, start_daemon
    from .output import say

    home = Home.default()
    running = running_daemon(home)
    if running is not None:
        say(f"the server runs already at {running.address}, process {running.pid}.")
        return
    home.root.mkdir(parents=True, exist_ok=True)
    record = start_daemon(home, serve_options(host, port, model, load, sdk_port))
    say(f"the server runs at {record.address}, process {record.pid}; studiolo log shows what it says.")


@server.command()
def stop(now: NowOption = False) -> None:
    """Stop it, when the predictions that run have ended."""
    from ..paths import Home
    from ..server.daemon import stop_daemon
    from .output import say

    home = Home.default()
    record = stop_daemon(home, _limit(home), now=now)
    say("no server runs in the background." if record is None else f"the server at {record.address} is stopped.")


@server.command()
def restart(
    host: HostOption = None,
    port: PortOption = None,
    model: ModelOption = None,
    load: LoadOption = None,
    sdk_port: SdkPortOption = None,
    now: NowOption = False,
) -> None:
    """Stop it and start it again, with the options that it had where none are given."""
    from ..paths import Home
    from ..server.daemon import start_daemon, stop_daemon
    from .output import say

    home = Home.default()
    before = stop_daemon(home, _limit(home), now=now)
    options = serve_options(host, port, model, load, sdk_port)
    record = start_daemon(home, options or (before.options if before else []))
    say(f"the server runs at {record.address}, process {record.pid}.")


@server.command()
def status(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Tell whether it runs. Exit status: 0 where it does, 1 where it does not."""
    from ..paths import Home
    from ..server.daemon import log_path, running_daemon
    from .output import print_json

    home = Home.default()
    record = running_daemon(home)
    if json:
        print_json(
            {"running": False} if record is None else {"running": True, "pid": record.pid, "address": record.address}
        )
    elif record is None:
        print("No server runs in the background. Start one with: studiolo server start")
    else:
        print(f"The server runs at {record.address}, process {record.pid}; its log is {log_path(home)}")
    raise typer.Exit(0 if record else 1)


def serve_options(
    host: str | None, port: int | None, model: str | None, load: bool | None, sdk_port: bool | None
) -> list[str]:
    """The options of ``studiolo serve`` that say the same; what is ``None`` is left out."""
    options: list[str] = []
    for name, value in (("--host", host), ("--port", port), ("--model", model)):
        if value is not None:
            options += [name, str(value)]
    if load is not None:
        options.append("--load" if load else "--no-load")
    if sdk_port is not None:
        options.append("--sdk-port" if sdk_port else "--no-sdk-port")
    return options


def _limit(home: Home) -> float:
    from ..settings import read_settings

    return read_settings(home.settings).server.drain_limit_sec + GRACE_SEC
