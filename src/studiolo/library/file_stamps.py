"""Notice changes on disk, so that folders are scanned again only when a scan would find something else."""

from __future__ import annotations

import os
import time
from pathlib import Path

RECENT_NS = 2_500_000_000
"""Age from which a time of change is trusted: a second change at the same time leaves it as it is, and some file
systems keep times of two seconds."""

_Stamp = tuple[int, ...]


class FileStamps:
    """The state of the files and folders that a scan looked at.

    The times of a folder say whether an entry was added, removed or renamed; those of a file, whether its content or
    its permissions changed.
    """

    def __init__(self) -> None:
        self._stamps: dict[str, _Stamp | None] = {}
        self._is_recent = False

    def stat(self, path: str | Path) -> os.stat_result | None:
        """Return the status of ``path`` and keep its stamp; ``None`` if there is no such file."""
        try:
            status = os.stat(path)  # noqa: PTH116  (called for each file of a library: Path.stat takes twice as long)
        except (OSError, ValueError):
            status = None
        self.keep(path, status)
        return status

    def keep(self, path: str | Path, status: os.stat_result | None) -> None:
        """Keep the stamp of ``path``, whose status is known. Call it before the content is read."""
        self._stamps[os.fspath(path)] = None if status is None else _stamp(status)
        if status is not None:
            changed = max(status.st_mtime_ns, status.st_ctime_ns)
            self._is_recent |= abs(time.time_ns() - changed) < RECENT_NS

    def are_current(self) -> bool:
        """Whether nothing has changed since. False as well if something had changed just before it was looked at."""
        return not self._is_recent and all(_now(path) == stamp for path, stamp in self._stamps.items())


def _now(path: str) -> _Stamp | None:
    try:
        return _stamp(os.stat(path))  # noqa: PTH116
    except (OSError, ValueError):
        return None


def _stamp(status: os.stat_result) -> _Stamp:
    return (
        status.st_mode,
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
