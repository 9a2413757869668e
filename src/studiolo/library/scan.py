"""Find the model files in folders."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from .file_stamps import FileStamps

Origin = Literal["home", "folder", "lmstudio", "huggingface", "ollama", "path"]
"""Where a file belongs: the home's models folder, a further folder of the settings, another program, or nowhere (it is
named by its path)."""

_MAX_REPORTED = 100

_log = logging.getLogger("studiolo.library")
_reported: set[str] = set()
"""The paths with names that cannot be decoded that were logged."""

_SHARD = re.compile(r"-(?P<index>\d{5})-of-(?P<count>\d{5})$")


class File(NamedTuple):
    """A GGUF file on disk.

    ``relative_path`` is relative to the scanned folder; ``tag`` and ``projector`` are from Ollama's manifest.
    """

    path: Path
    relative_path: str
    size_bytes: int
    mtime_ns: int
    identity: tuple[int, int]
    """Device and inode: the same for all names of one file."""
    origin: Origin
    publisher: str
    tag: str | None = None
    projector: Path | None = None


class Found(NamedTuple):
    """A model: one file, or the shards of one."""

    parts: tuple[File, ...]
    missing: tuple[int, ...] = ()
    """The numbers of the missing shards."""
    shards: int = 1
    """The number of shards of the complete model."""

    @property
    def first(self) -> File:
        return self.parts[0]


def scan(folder: Path, origin: Origin, stamps: FileStamps) -> list[File]:
    """Return the GGUF files under ``folder`` at any depth: real ones first, then those behind symbolic links.

    Each folder is visited once (a real one rather than a link to it). Entries that are hidden, broken or unreadable,
    or whose name is not in the encoding of this system, are skipped; of the last, model files are logged once.

    Parameters:
        folder: the folder.
        origin: where its files belong.
        stamps: keeps what was looked at.
    """
    seen: set[tuple[int, int]] = set()
    real: list[File] = []
    linked: list[File] = []
    links: list[tuple[str, str]] = []
    queue = [(os.fspath(folder), "")]
    in_links = False
    while queue or links:
        if not queue:
            in_links = True
        path, relative = queue.pop(0) if queue else links.pop(0)
        for entry in _entries(path, seen, stamps):
            try:
                if entry.is_symlink():
                    stamps.stat(entry.path)  # its target can change without a change of this folder
                if entry.is_dir():
                    (links if entry.is_symlink() else queue).append((entry.path, f"{relative}{entry.name}/"))
                elif entry.name.lower().endswith(".gguf") and entry.is_file():
                    status = entry.stat()
                    stamps.keep(entry.path, status)
                    file = found_file(Path(entry.path), f"{relative}{entry.name}", status, origin)
                    (linked if in_links or entry.is_symlink() else real).append(file)
            except OSError:
                continue
    return real + linked


def found_file(path: Path, relative_path: str, status: os.stat_result, origin: Origin) -> File:
    """Return the file at ``path``, whose status is ``status``."""
    return File(
        path,
        relative_path,
        status.st_size,
        status.st_mtime_ns,
        (status.st_dev, status.st_ino),
        origin,
        publisher_of(relative_path),
    )


def publisher_of(relative_path: str) -> str:
    """Return the first folder of ``relative_path``, or ``""``."""
    parts = PurePosixPath(relative_path).parts
    return parts[0] if len(parts) > 1 and parts[0] != "/" else ""


def once_each(files: Iterable[File]) -> list[File]:
    """Return each file under the first of its names. In the home's models folder all names stay: links are choices."""
    seen: set[tuple[int, int]] = set()
    kept: list[File] = []
    for file in files:
        if file.identity not in seen or file.origin == "home":
            seen.add(file.identity)
            kept.append(file)
    return kept


def without_shard(stem: str) -> str:
    """Return the name of a shard without its number: what all shards of a model have in common."""
    return _SHARD.sub("", stem)


def join_shards(files: Iterable[File]) -> list[Found]:
    """Return the models that ``files`` make: the shards (``-00001-of-00003``) of one folder are one model."""
    whole: list[Found] = []
    split: dict[tuple[Path, str, int], dict[int, File]] = {}
    for file in files:
        shard = _SHARD.search(file.path.stem) if file.tag is None else None
        count = int(shard["count"]) if shard else 1
        if shard is None or not 1 <= int(shard["index"]) <= count:
            whole.append(Found((file,)))
        else:
            place = (file.path.parent, file.path.stem[: shard.start()], count)
            split.setdefault(place, {})[int(shard["index"])] = file
    for (_, _, count), parts in split.items():
        missing = tuple(index for index in range(1, min(count, 9999) + 1) if index not in parts)
        whole.append(Found(tuple(parts[index] for index in sorted(parts)), missing, count))
    return sorted(whole, key=lambda found: (found.first.relative_path, str(found.first.path)))


def _entries(path: str, seen: set[tuple[int, int]], stamps: FileStamps) -> Iterator[os.DirEntry[str]]:
    status = stamps.stat(path)
    if status is None or (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    try:
        with os.scandir(path) as entries:
            visible = sorted((entry for entry in entries if _is_shown(entry)), key=lambda e: e.name)
    except OSError:
        return
    yield from visible


def _is_shown(entry: os.DirEntry[str]) -> bool:
    name = entry.name
    if name[0] == ".":
        return False
    if not any("\ud800" <= letter <= "\udfff" for letter in name):
        return True
    matters = name.lower().endswith(".gguf") or entry.is_dir(follow_symlinks=False)
    if matters and entry.path not in _reported and len(_reported) < _MAX_REPORTED:
        _reported.add(entry.path)
        _log.warning(
            "%s cannot be used: its name is not in the encoding of this system (%s)",
            ascii(entry.path),
            sys.getfilesystemencoding(),
        )
    return False
