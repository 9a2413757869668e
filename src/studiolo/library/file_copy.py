"""Put files into folders, on the same file system or on another, and find out beforehand whether that can be done."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..platform.file_status import share_no_further

_CHUNK = 8 << 20


def copy_into_place(source: Path, target: Path, on_copied: Callable[[int], object] = lambda _: None) -> None:
    """Copy under a hidden name, which listings skip, and rename when all of it is on the disk.

    Others can do no more with the copy than with ``source``.

    Raises:
        OSError: the system refused, or there is not enough space.
    """
    size = source.stat().st_size
    free = shutil.disk_usage(target.parent).free
    if size > free:
        raise OSError(errno.ENOSPC, f"It needs {size / 1e9:.2f} GB of disk, and {free / 1e9:.2f} GB are free")
    part = partial_name(target)
    try:
        with source.open("rb") as reader, part.open("wb") as writer:
            share_no_further(part, os.fstat(reader.fileno()))
            copied = 0
            while chunk := reader.read(_CHUNK):
                writer.write(chunk)
                copied += len(chunk)
                on_copied(copied)
            writer.flush()
            os.fsync(writer.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def partial_name(target: Path) -> Path:
    """Return the hidden name beside ``target`` under which it is written."""
    return target.with_name(f".{target.name}.part")


def check_target(target: Path) -> None:
    """Raise :class:`OSError` if ``target``, which may not exist yet, cannot be written. Leaves nothing behind."""
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    with contextlib.suppress(FileNotFoundError):
        partial_name(target).lstat()  # refuses names that are too long, and files where folders should be
    folder = target.parent
    while not folder.exists():  # the folder itself may be removed by another program, and is made when it is needed
        folder = folder.parent
    with tempfile.TemporaryFile(dir=folder):
        pass


def remove_empty(folder: Path, top: Path) -> None:
    """Remove ``folder`` if it is empty, and those above it up to ``top``, which stays."""
    with contextlib.suppress(OSError):
        while folder != top and folder.is_relative_to(top):
            folder.rmdir()
            folder = folder.parent
