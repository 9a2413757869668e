"""Find the model files under a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .model import is_model_file


class Found(NamedTuple):
    """A model file that a scan came upon."""

    path: Path
    relative_path: str
    size_bytes: int
    mtime_ns: int


def scan(folder: Path) -> list[Found]:
    """The model files under ``folder`` at any depth, by relative path.

    Symbolic links are followed, each folder is visited once (a real one rather than a link to it), and what is
    hidden, broken or unreadable is passed over.
    """
    seen: set[tuple[int, int]] = set()
    found: list[Found] = []
    links: list[tuple[str, str]] = []
    queue = [(os.fspath(folder), "")]
    while queue or links:
        path, relative = queue.pop(0) if queue else links.pop(0)
        for entry in _entries(path, seen):
            name = f"{relative}{entry.name}"
            try:
                if entry.is_dir():
                    (links if entry.is_symlink() else queue).append((entry.path, f"{name}/"))
                elif is_model_file(entry.name) and entry.is_file():
                    status = entry.stat()
                    found.append(Found(Path(entry.path), name, status.st_size, status.st_mtime_ns))
            except OSError:
                continue
    return sorted(found, key=lambda item: item.relative_path)


def _entries(path: str, seen: set[tuple[int, int]]) -> Iterator[os.DirEntry[str]]:
    try:
        status = Path(path).stat()
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(path) as entries:
            visible = sorted((entry for entry in entries if entry.name[0] != "."), key=lambda e: e.name)
    except OSError:
        return
    yield from visible
