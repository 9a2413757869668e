"""The log of an engine: a file of bounded size with one writer, which receives what the process prints."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import BinaryIO

from ..platform.file_locks import is_at, try_lock

MAX_BYTES = 8 << 20
"""A log that is longer is trimmed."""

KEPT_BYTES = 1 << 20
"""The end of a log that trimming keeps."""

MAX_WRITERS = 100

MAX_LOGS = 100
"""Logs that a folder keeps at most: the oldest ones without a writer are deleted."""

TAIL_BYTES = 16384
SEARCHED_BYTES = 1 << 20


class LogFile:
    """A log that is appended to.

    The file is locked as long as a process writes to it, so that the engines of two hosts do not share one: the second
    one takes ``name.2.log``. If the logs' folder is not writable, the log is at ``otherwise``.
    """

    def __init__(self, path: Path, otherwise: Path) -> None:
        self.path, self._file = _open(path, otherwise)
        self._start = self.path.stat().st_size
        self.trim()

    def fileno(self) -> int:
        """Return the file descriptor, for the process that writes."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file. A process that inherited it continues to write, and keeps the lock."""
        self._file.close()

    def trim(self) -> None:
        """Drop the older part of a log that has become too long.

        The file stays the same, because the process writes to it: what is kept is copied to its beginning, then it is
        cut there. A line that comes between the last look and the cut, which is microseconds, is lost.
        """
        with contextlib.suppress(OSError):
            size = self.path.stat().st_size
            if size <= MAX_BYTES:
                return
            with self.path.open("rb") as reading, self.path.open("r+b", buffering=0) as writing:
                reading.seek(size - KEPT_BYTES)
                reading.readline()  # to the beginning of a line
                dropped = reading.tell()
                while chunk := reading.read(KEPT_BYTES):
                    writing.write(chunk)
                writing.truncate()
            self._file.seek(0, os.SEEK_END)  # without O_APPEND, the process would write where the end was
            self._start = max(self._start - dropped, 0)

    def tail(self, count: int) -> list[str]:
        """Return the last ``count`` lines that this process has written, without empty ones.

        Raises:
            OSError: the file cannot be read.
        """
        with self.path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(self._start, size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()][-count:]

    def search(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Return the first match in what this process has written, as far as one look reads.

        Raises:
            OSError: the file cannot be read.
        """
        with self.path.open("rb") as file:
            file.seek(self._start)
            return pattern.search(file.read(SEARCHED_BYTES))


def log_name(identifier: str) -> str:
    """Return the name of the log of an instance's engine."""
    plain = "".join(c if c.isalnum() or c in "-_.@" else "_" for c in identifier)
    return plain.encode(errors="replace")[:100].decode(errors="ignore") + ".log"


def prune(folder: Path, keep: int = MAX_LOGS) -> None:
    """Delete the oldest logs of ``folder`` beyond ``keep``, those that are written to excepted."""
    with contextlib.suppress(OSError):
        logs = sorted((path.stat().st_mtime_ns, path) for path in folder.glob("*.log"))
        excess = len(logs) - keep
        for _, path in logs:
            if excess <= 0:
                return
            with contextlib.suppress(OSError), path.open("ab") as file:
                if try_lock(file):
                    path.unlink()  # while it is held, so that nobody begins to write to it meanwhile
                    excess -= 1


def _open(path: Path, otherwise: Path) -> tuple[Path, BinaryIO]:
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, MAX_WRITERS):
            candidate = path if number == 1 else path.with_name(f"{path.stem}.{number}{path.suffix}")
            file = candidate.open("ab")
            if try_lock(file) and is_at(file, candidate):
                return candidate, file
            file.close()
    return otherwise, otherwise.open("ab")
