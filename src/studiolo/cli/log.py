"""``studiolo log``: what the server and the engines have said."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

POLL_SEC = 0.2
READ_BYTES = 4 << 20
"""The end of a log that is looked at for its last lines."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(log)


def log(
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is added.")] = False,
    instance: Annotated[str | None, typer.Option(help="The engine of this instance alone.")] = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="The last lines of each log.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> None:
    """Show what the server in the background and the engines have said."""
    from ..paths import Home
    from .output import say

    folder = Home.default().logs
    logs = {path: Tail(path, instance) for path in _logs(folder, instance)}
    if not logs and not follow:
        say(f"there is no log{f' of {instance!r}' if instance else ''} in {folder}.")
        raise typer.Exit(1)
    for tail in logs.values():
        _show(tail.name, tail.last(lines), json)
    while follow:
        time.sleep(POLL_SEC)
        for path in _logs(folder, instance):
            tail = logs.setdefault(path, Tail(path, instance))
            _show(tail.name, tail.added(), json)


class Tail:
    """A log file that may grow, shrink and be replaced."""

    def __init__(self, path: Path, instance: str | None) -> None:
        self.path = path
        self.name = instance or path.stem
        self._position = 0
        self._rest = b""

    def last(self, count: int) -> list[str]:
        """The last ``count`` lines; :meth:`added` goes on from there."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(size - READ_BYTES, 0))
                content = file.read()
        except OSError:
            return []
        self._position = size
        return [line.decode(errors="replace") for line in deque(content.splitlines(), maxlen=count)]

    def added(self) -> list[str]:
        """The lines that have come since."""
        try:
            with self.path.open("rb") as file:
                if file.seek(0, 2) < self._position:  # its older part was dropped
                    self._position, self._rest = 0, b""
                file.seek(self._position)
                content = file.read(READ_BYTES)
        except OSError:
            return []
        self._position += len(content)
        *lines, self._rest = (self._rest + content).split(b"\n")
        return [line.decode(errors="replace") for line in lines]


def _logs(folder: Path, instance: str | None) -> Iterator[Path]:
    from ..host.instances import log_name

    for path in sorted(folder.glob("*.log")):
        # The second and further hosts that use an identifier write to NAME.2.log and so on.
        name, _, number = path.stem.rpartition(".")
        plain = name if name and number.isdigit() else path.stem
        if instance is None or log_name(instance) in (path.name, f"{plain}.log"):
            yield path


def _show(name: str, lines: list[str], json: bool) -> None:
    import msgspec

    for line in lines:
        print(msgspec.json.encode({"source": name, "line": line}).decode() if json else f"[{name}] {line}", flush=True)
