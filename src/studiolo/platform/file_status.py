"""Files and folders: who can read them, what they take of the disk, what a URL calls them."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from .features import has


def can_be_read_by_others(status: os.stat_result) -> bool:
    """Return whether others than its owner can do something with a file; ``False`` where files have no such modes."""
    return has("file-modes") and bool(stat.S_IMODE(status.st_mode) & 0o077)


def is_own_folder(path: Path) -> bool:
    """Return whether ``path`` is a folder, no link to one, and belongs to this user, where folders have owners."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and (sys.platform == "win32" or status.st_uid == os.geteuid())


def append_privately(path: Path) -> BinaryIO:
    """Open a file to read it and to append to it. If there is none, it is created for its owner alone."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    if sys.platform == "win32":
        flags |= os.O_BINARY
    return os.fdopen(os.open(path, flags, 0o600), "ab+")


def create_files_privately() -> None:
    """Create all further files and folders of this process, and of programs that it becomes, for their owner alone."""
    os.umask(0o077)


def share_no_further(path: Path, original: os.stat_result) -> None:
    """Take from others what they may not do with the file that ``path`` becomes a copy of."""
    if has("file-modes"):
        path.chmod(stat.S_IMODE(path.stat().st_mode & original.st_mode) | 0o600)


def flush_file(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    with path.open("r+b") as file:  # Windows flushes no file that is open to be read alone
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk, where a program can (not on Windows)."""
    if sys.platform == "win32":
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def allocated_bytes(status: os.stat_result) -> int:
    """Return the bytes of the disk that a file takes; its size where the system does not say."""
    if sys.platform == "win32":
        return status.st_size
    return status.st_blocks * 512


def free_bytes(folder: Path) -> int:
    """Return the bytes that this user can still write to the disk of ``folder``."""
    return shutil.disk_usage(folder).free


def path_of_url(url: str) -> Path:
    """Return the path that a ``file:`` URL names."""
    path = unquote(urlsplit(url).path)
    if sys.platform == "win32":  # file:///C:/folder
        path = path.removeprefix("/")
    return Path(path)
