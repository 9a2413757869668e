"""``studiolo log``: what the server and the engines have said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..paths import Home

POLL_SEC = 0.2
KEPT = "\t"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(log)


def log(
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Continue with what is added.")] = False,
    instance: Annotated[str | None, typer.Option(help="The engine of this instance alone.")] = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="The last lines of each log.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> None:
    """Show what the server in the background and the engines have said."""
    from ..paths import Home
    from ..server.daemon_log import log_path, now, old_log_path
    from .log_tail import Tail
    from .output import say

    home = Home.default()
    tails = {path: Tail(path) for path in _logs(home, instance)}
    if not tails and not follow:
        say(f"there is no log{f' of {instance!r}' if instance else ''} in {home.logs}.")
        raise typer.Exit(1)
    for path, tail in tails.items():
        shown = tail.last(lines, follow=follow)
        if path == log_path(home) and len(shown) < lines:
            shown = [*Tail(old_log_path(home)).last(lines - len(shown)), *shown]
        _show(_name(path, home, instance), shown, None, json)
    while follow:
        time.sleep(POLL_SEC)
        there = list(_logs(home, instance))
        for gone in tails.keys() - {*there, log_path(home)}:
            tails.pop(gone).close()
        for path in [path for path in tails if path not in there] + there:
            tail = tails.setdefault(path, Tail(path))
            _show(_name(path, home, instance), tail.added(), now(), json)


def _logs(home: Home, instance: str | None) -> Iterator[Path]:
    from ..engines.log_file import log_name
    from ..server.daemon_log import log_path

    if instance is None:
        if log_path(home).exists():
            yield log_path(home)
        yield from sorted(home.logs.glob("mcp-*.log"))
    for path in sorted(home.engine_logs.glob("*.log")):
        # The second and further hosts that use an identifier write to NAME.2.log and so on.
        name, _, number = path.stem.rpartition(".")
        plain = name if name and number.isdigit() else path.stem
        if instance is None or log_name(instance) in (path.name, f"{plain}.log"):
            yield path


def _name(path: Path, home: Home, instance: str | None) -> str:
    """What a log is called: of an engine by the instance, apart from the names that other logs have."""
    if instance is not None:
        return instance
    taken = path.parent == home.engine_logs and (path.stem == "server" or path.stem.startswith("mcp-"))
    return f"engines/{path.stem}" if taken else path.stem


def _show(name: str, lines: list[str], read_at: str | None, json: bool) -> None:
    from ..server.daemon_log import split_stamp
    from .output import print_json_line, printable

    for line in lines:
        if json:
            time, text = split_stamp(line)
            print_json_line({"source": name, "time": time or read_at, "line": text})
        else:
            print(f"[{name}] {printable(line, KEPT)}", flush=True)
