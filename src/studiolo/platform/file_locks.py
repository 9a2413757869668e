"""Locks of files, held by one process at a time. The system frees them when their holder dies."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .features import has

_LOCKED_BYTE = 0x7FFF0000
"""The byte that is locked where byte ranges are: other processes cannot read it, so that it lies beyond any content."""


class FileLock:
    """A file that this process holds locked. Made by :meth:`try_acquire`."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self.path = path

    @classmethod
    def try_acquire(cls, path: Path, *, create: bool = True) -> FileLock | None:
        """Lock the file at ``path``.

        Parameters:
            create: create the file if there is none.

        Returns:
            ``None`` if another holder, in this process or in another one, has it.

        Raises:
            OSError: the file cannot be opened.
        """
        file = path.open("ab" if create else "r+b")
        try:
            if try_lock(file) and is_at(file, path):  # else its holder has just deleted it
                return cls(file, path)
        except BaseException:
            file.close()
            raise
        file.close()
        return None

    def in_place(self) -> bool:
        """Return whether the locked file is still at its path: another program may have deleted or replaced it."""
        return is_at(self._file, self.path)

    def release(self, *, delete: bool = False) -> None:
        """Release the lock; safe to call twice.

        Parameters:
            delete: delete the file, too.
        """
        if not delete:
            self._file.close()
        elif has("rename-open-files"):
            self.path.unlink(missing_ok=True)  # while it is locked, so that nobody locks a file that is deleted
            self._file.close()
        else:
            self._file.close()
            with contextlib.suppress(OSError):  # another holder has it open
                self.path.unlink(missing_ok=True)


def try_lock(file: BinaryIO) -> bool:
    """Lock an open file until it is closed, by this process and those that inherit it (on Windows by this process).

    Returns:
        Whether the lock is held; ``False`` if another holder has it.
    """
    if sys.platform == "win32" or not has("file-locks"):
        return _try_lock_range(file)
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_at(file: BinaryIO, path: Path) -> bool:
    """Return whether an open file is the one at ``path``: it may have been deleted or replaced."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _try_lock_range(file: BinaryIO) -> bool:
    if TYPE_CHECKING:
        assert sys.platform == "win32"
    import msvcrt

    number = file.fileno()
    position = os.lseek(number, 0, os.SEEK_CUR)
    os.lseek(number, _LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    finally:
        os.lseek(number, position, os.SEEK_SET)
    return True
