"""What the commands share: tables, JSON, progress."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, TextIO

from ..units import duration, size

Show = Callable[[str, int, int], None]
"""Called with the name of a model, the bytes that are here, and the bytes in all."""

LINE_SECONDS = 20.0
"""Seconds between two lines about a fetch where standard error is not a terminal."""


def print_json(value: Any) -> None:
    """Print a value as JSON, for programs: in ASCII if standard output is not UTF-8."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    print(text if _shows_unicode() else _in_ascii(text))


def print_json_line(value: Any) -> None:
    """Print a value as JSON in one line, as :func:`print_json`."""
    import msgspec

    text = msgspec.json.encode(value).decode()
    print(text if _shows_unicode() else _in_ascii(text), flush=True)


def _shows_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")


def _in_ascii(json: str) -> str:
    """Return JSON with each other letter as ``\\uXXXX``; in JSON, they are in strings alone."""
    units = ("".join(f"\\u{unit:04x}" for unit in _utf16(letter)) if letter > "~" else letter for letter in json)
    return "".join(units)


def _utf16(letter: str) -> tuple[int, ...]:
    data = letter.encode("utf-16-be", "surrogatepass")
    return tuple(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], file: TextIO | None = None) -> None:
    """Print a table: plain columns, which people and pipes can both read. To stdout, or to ``file``."""
    lines = [[printable(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(len(row[i]) for row in lines) for i in range(len(columns))]
    for row in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), file=file)


def printable(text: str, keep: str = "") -> str:
    """``text`` without what could steer a terminal, save the letters in ``keep``: names come from files of anywhere."""
    return "".join(each if each.isprintable() or each in keep else f"\\x{ord(each):02x}" for each in text)


def say(text: str) -> None:
    """Print a message on standard error, apart from the output; nothing if nobody can read it any more."""
    with contextlib.suppress(OSError):
        print(f"studiolo: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def fetch_progress(verb: str = "fetching") -> Generator[Show, None, None]:
    """Show how a fetch goes: a bar with bytes, rate and time left on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        printed: dict[str, tuple[float, int]] = {}

        def announce(name: str, here: int, total: int) -> None:
            now = time.monotonic()
            if name not in printed:
                say(f"{verb} {name}" + (f" ({size(total)})" if total else ""))
            elif now - printed[name][0] >= LINE_SECONDS:
                rate = (here - printed[name][1]) / (now - printed[name][0])
                left = f", {duration((total - here) / rate)} left" if total and rate > 0 else ""
                say(f"{verb} {name}: {size(here)}{f' of {size(total)}' if total else ''}, {size(rate)}/s{left}")
            else:
                return
            printed[name] = (now, here)

        yield announce
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as SpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), SpeedColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    progress = Progress(*columns, console=Console(stderr=True))

    def show(name: str, here: int, total: int) -> None:
        if name not in tasks:
            progress.start()
            tasks[name] = progress.add_task(f"{verb} {name}", total=total or None)
        progress.update(tasks[name], completed=here, total=total or None)

    try:
        yield show
    finally:
        if tasks:
            progress.stop()


@contextlib.contextmanager
def load_progress(name: str, *, hidden: bool = False) -> Generator[Callable[[float], None] | None, None, None]:
    """Show how far a load is, 0 to 1: a bar on a terminal, nothing elsewhere or where it is ``hidden``."""
    if hidden or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"loading {name}", total=1.0)

        def show(done: float) -> None:
            progress.update(task, completed=done)

        yield show


@contextlib.contextmanager
def step_progress(verb: str) -> Generator[Callable[[int, int], None], None, None]:
    """Show how many of some steps are done: a bar on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        printed = 0.0

        def announce(done: int, total: int) -> None:
            nonlocal printed
            if time.monotonic() - printed >= LINE_SECONDS or done == total:
                printed = time.monotonic()
                say(f"{verb}: {done} of {total}")

        yield announce
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=Console(stderr=True))
    task = progress.add_task(verb, total=None)

    def show(done: int, total: int) -> None:
        progress.start()
        progress.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        progress.stop()
