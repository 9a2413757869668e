"""The log of the server in the background: each line with its time, of bounded size."""

from __future__ import annotations

import io
import logging
import os
import re
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from ..paths import Home

MAX_LOG_BYTES = 8 << 20
"""A larger log is put aside, and takes the place of the one put aside before."""

CHECK_SEC = 2.0
"""How often a server looks how large its log is."""

_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (.*)", re.DOTALL)

_log = logging.getLogger("studiolo.daemon")


def log_path(home: Home) -> Path:
    return home.logs / "server.log"


def old_log_path(home: Home) -> Path:
    """The older part of the log."""
    return home.logs / "server.old.log"


def now() -> str:
    """The time, as the log gives it: ISO 8601, UTC, in milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def split_stamp(line: str) -> tuple[str | None, str]:
    """The time of a line of the log, ``None`` where it has none, and the rest of it."""
    match = _STAMP.fullmatch(line)
    return (match[1], match[2]) if match else (None, line)


class StampedLines(io.TextIOBase):
    """A text stream that puts the time before each line, and passes on whole lines alone. Safe to use from any thread.

    Parameters:
        out: what takes the lines.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._rest = ""
        self._lock = threading.Lock()

    def write(self, s: str, /) -> int:
        with self._lock:
            *lines, self._rest = (self._rest + s).split("\n")
            if lines:
                stamp = now()
                self._out.write("".join(f"{stamp} {line}\n" for line in lines))
                self._out.flush()
        return len(s)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._out.fileno()


def put_aside_if_large(home: Home) -> None:
    """Put a large log aside, before a server writes to it. Raises :class:`OSError`."""
    path = log_path(home)
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(old_log_path(home))


def rotate_log(home: Home) -> bool:
    """Put this process's log aside where it has become large, and go on in a new one. Returns whether it was.

    Nothing happens where standard output and error are not the log. Nothing is lost: no line goes to the old file once
    there is a new one at its place, so that a reader who has come to the end of the old one then has all of it.
    """
    path = log_path(home)
    try:
        now_there = path.stat()
        if now_there.st_size <= MAX_LOG_BYTES or not all(os.path.samestat(os.fstat(n), now_there) for n in (1, 2)):
            return False
        before, fresh = os.dup(2), path.with_suffix(".new")
        try:
            fresh.unlink(missing_ok=True)  # what is left of a rotation that was cut off
            with fresh.open("ab") as file:
                _write_to(file.fileno())
            try:
                path.replace(old_log_path(home))
                fresh.replace(path)
            except OSError:
                _write_to(before)
                raise
        finally:
            os.close(before)
    except OSError as error:
        _log.warning("%s cannot be put aside: %s", path, error)
        return False
    return True


def last_words(log: Path, start: int, count: int = 8) -> str:
    """What the log has from the byte ``start`` on, the last lines of it, without their times."""
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").strip().splitlines()
    return "\n".join(split_stamp(line)[1] for line in lines[-count:]).removeprefix("studiolo: ")


def _write_to(number: int) -> None:
    os.dup2(number, 1)
    os.dup2(number, 2)
