"""The log of the server in the background: a time before each line, rotated when it is large."""

from __future__ import annotations

import io
import logging
import os
import re
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from ..paths import Home
from ..platform.features import has

MAX_LOG_BYTES = 8 << 20
"""A larger log is rotated: it becomes ``server.old.log``, in place of the one before."""

CHECK_SEC = 2.0
"""Seconds between two looks at the size of a server's log."""

_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (.*)", re.DOTALL)

_log = logging.getLogger("studiolo.daemon")


def log_path(home: Home) -> Path:
    """Return the path of the log."""
    return home.logs / "server.log"


def old_log_path(home: Home) -> Path:
    """Return the path of the log's older part."""
    return home.logs / "server.old.log"


def now() -> str:
    """Return the time in the form of the log: ISO 8601, UTC, with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def split_stamp(line: str) -> tuple[str | None, str]:
    """Split a line of the log into its time (``None`` if it has none) and its text."""
    match = _STAMP.fullmatch(line)
    return (match[1], match[2]) if match else (None, line)


class StampedLines(io.TextIOBase):
    """A text stream that writes the time before each line, and whole lines only. Thread-safe.

    Parameters:
        out: the stream that the lines are written to.
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


def rotate_if_large(home: Home) -> None:
    """Rotate a large log that no server writes to. Raises :class:`OSError`."""
    path = log_path(home)
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(old_log_path(home))


def rotate_log(home: Home) -> bool:
    """Rotate the log that this process writes to, if it is large. Returns whether it was rotated.

    Nothing happens if standard output and error are not the log. No line is lost: none goes to the old file once a new
    one is in its place, so that a reader who has reached the end of the old one then has read all of it. Where open
    files cannot be renamed, the log is copied and truncated; a line that comes between the two is lost.
    """
    path = log_path(home)
    try:
        now_there = path.stat()
        if now_there.st_size <= MAX_LOG_BYTES or not all(os.path.samestat(os.fstat(n), now_there) for n in (1, 2)):
            return False
        if has("rename-open-files"):
            _replace(path, old_log_path(home))
        else:
            _copy_and_truncate(path, old_log_path(home))
    except OSError as error:
        _log.warning("%s cannot be rotated: %s", path, error)
        return False
    return True


def _replace(path: Path, old: Path) -> None:
    before, new = os.dup(2), path.with_suffix(".new")
    try:
        new.unlink(missing_ok=True)  # left by a rotation that was cut off
        with new.open("ab") as file:
            _write_to(file.fileno())
        try:
            path.replace(old)
            new.replace(path)
        except OSError:
            _write_to(before)
            raise
    finally:
        os.close(before)


def _copy_and_truncate(path: Path, old: Path) -> None:
    shutil.copyfile(path, old)
    os.truncate(path, 0)
    for number in (1, 2):
        os.lseek(number, 0, os.SEEK_END)  # without O_APPEND, the next line would be written where the end was


def last_lines(log: Path, start: int, count: int = 8) -> str:
    """Return the last lines of the log after the byte ``start``, without their times."""
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").strip().splitlines()
    return "\n".join(split_stamp(line)[1] for line in lines[-count:]).removeprefix("studiolo: ")


def _write_to(number: int) -> None:
    os.dup2(number, 1)
    os.dup2(number, 2)
