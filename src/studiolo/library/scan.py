"""Find the model files in folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

Origin = Literal["home", "folder", "lmstudio", "huggingface", "ollama", "path"]
"""Whose a file is: the home's models folder, a further folder of the settings, another program's, or a bare path."""

_SHARD = re.compile(r"-(?P<index>\d{5})-of-(?P<count>\d{5})$")


class File(NamedTuple):
    """A GGUF file on disk.

    ``relative_path`` goes by the folder that was scanned; ``tag`` and ``projector`` are what Ollama's store says of it.
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
    """The numbers of the shards that are not there."""
    shards: int = 1
    """How many there should be."""

    @property
    def first(self) -> File:
        return self.parts[0]


def scan(folder: Path, origin: Origin) -> list[File]:
    """The GGUF files under ``folder`` at any depth: real ones first, then those that links lead to.

    Symbolic links are followed, each folder is visited once (a real one rather than a link to it), and what is
    hidden, broken or unreadable, or has a name that is not UTF-8, is passed over.
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
        for entry in _entries(path, seen):
            try:
                if entry.is_dir():
                    (links if entry.is_symlink() else queue).append((entry.path, f"{relative}{entry.name}/"))
                elif entry.name.lower().endswith(".gguf") and entry.is_file():
                    file = found_file(Path(entry.path), f"{relative}{entry.name}", entry.stat(), origin)
                    (linked if in_links or entry.is_symlink() else real).append(file)
            except OSError:
                continue
    return real + linked


def found_file(path: Path, relative_path: str, status: os.stat_result, origin: Origin) -> File:
    """The file at ``path``, with what ``stat`` told of it."""
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
    """The first folder of ``relative_path``, or ``""``."""
    parts = PurePosixPath(relative_path).parts
    return parts[0] if len(parts) > 1 and parts[0] != "/" else ""


def once_each(files: Iterable[File]) -> list[File]:
    """Each file under the first of its names; in the home's own models folder, under all: a link there is a choice."""
    seen: set[tuple[int, int]] = set()
    kept: list[File] = []
    for file in files:
        if file.identity not in seen or file.origin == "home":
            seen.add(file.identity)
            kept.append(file)
    return kept


def without_shard(stem: str) -> str:
    """The name of a file, without extension, that is one of several shards: what the shards have in common."""
    return _SHARD.sub("", stem)


def join_shards(files: Iterable[File]) -> list[Found]:
    """The models that ``files`` make: shards (``-00001-of-00003``) that lie in one folder are one."""
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


def _entries(path: str, seen: set[tuple[int, int]]) -> Iterator[os.DirEntry[str]]:
    try:
        status = Path(path).stat()
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(path) as entries:
            visible = sorted((entry for entry in entries if _is_shown(entry.name)), key=lambda e: e.name)
    except OSError:
        return
    yield from visible


def _is_shown(name: str) -> bool:
    return name[0] != "." and not any("\ud800" <= letter <= "\udfff" for letter in name)
