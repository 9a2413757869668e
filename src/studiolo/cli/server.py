"""``studiolo server``: the server in the background."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .server_options import with_serve_options

if TYPE_CHECKING:
    from ..server.daemon import Stopped
    from ..server.serve_options import ServeOptions

server = typer.Typer(help="Run the server in the background.", no_args_is_help=True)

NowOption = Annotated[bool, typer.Option("--now", help="Do not wait for the predictions that run.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(server, name="server")


@server.command()
@with_serve_options
def start(options: ServeOptions) -> None:
    """Start it; does nothing where it runs already."""
    from ..paths import Home
    from ..server.daemon import start_daemon
    from .output import say

    record, started = start_daemon(Home.default(), options)
    if started:
        say(f"the server runs at {record.address}, process {record.pid}; studiolo log shows what it says.")
    else:
        say(f"the server runs already at {record.address}, process {record.pid}.")


@server.command()
def stop(now: NowOption = False) -> None:
    """Stop it, when the predictions that run have ended. It is killed where it does not stop in time."""
    from ..paths import Home
    from ..server.daemon import stop_daemon
    from .output import say

    stopped = stop_daemon(Home.default(), now=now)
    say("no server runs in the background." if stopped is None else _describe(stopped))


@server.command()
@with_serve_options
def restart(options: ServeOptions, now: NowOption = False) -> None:
    """Stop it and start it again, with the options that it had where none are given."""
    from ..paths import Home
    from ..server.daemon import restart_daemon
    from .output import say

    record, stopped = restart_daemon(Home.default(), options, now=now)
    if stopped is not None and stopped.killed_after_sec is not None:
        say(_describe(stopped))
    say(f"the server runs at {record.address}, process {record.pid}.")


@server.command()
def status(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print whether it runs. Exit status: 0 where it does, 1 where it does not."""
    from ..paths import Home
    from ..server.daemon_log import log_path
    from ..server.daemon_record import running_daemon
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


@server.command()
def token(
    file: Annotated[Path, typer.Argument(help="The file; made where there is none.")],
    name: Annotated[str, typer.Option(help="What it is for, as the page of the server lists it.")] = "",
) -> None:
    """Make an API token, add it to a file for --token-file, and print it."""
    from ..server.token_file import add_api_token

    print(add_api_token(file, name))


def _describe(stopped: Stopped) -> str:
    if stopped.killed_after_sec is None:
        return f"the server at {stopped.record.address} is stopped."
    return (
        f"the server at {stopped.record.address}, process {stopped.record.pid}, did not end within "
        f"{stopped.killed_after_sec:g} s and was killed."
    )
