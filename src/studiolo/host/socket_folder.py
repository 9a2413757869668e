"""The private folder for the sockets of a host's engines."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from ..platform.features import has
from ..platform.file_locks import FileLock
from ..platform.file_status import is_own_folder
from ..platform.sockets import can_hold_sockets

PREFIX = "studiolo-sockets-"
LOCK_NAME = "host.lock"

SHORT_PLACES = ("/tmp",)
"""Where the folder is, if the path of the folder for temporary files is too long."""


class SocketFolder:
    """A folder for sockets, under the folder for temporary files. Folders of dead hosts are removed.

    Each host locks a file in its folder. The lock, not a process number, shows that a host lives: containers that share
    a folder for temporary files have process numbers of their own.

    It is not under the home folder: the path of a Unix socket has at most about 100 bytes, and a home folder can be
    deep, or be on a file system without sockets. Where that is so of the folder for temporary files, it is in another
    one; where there is none, engines listen on ports.
    """

    def __init__(self) -> None:
        self.path, self._lock = _make()
        self._left: list[tuple[Path, FileLock]] = []
        self._removed = False

    def existing(self) -> Path:
        """Return the folder; a new one if it is gone: programs delete what is old from the folder for temporary files.

        Raises:
            OSError: no folder can be made.
        """
        if not self._removed and not self._lock.in_place():
            self._left.append((self.path, self._lock))  # engines may still have sockets there
            self.path, self._lock = _make()
        return self.path

    def remove(self) -> None:
        """Delete the folder and all that is in it; safe to call twice."""
        self._removed = True
        for path, lock in (*self._left, (self.path, self._lock)):
            _remove(path, lock)


def _make() -> tuple[Path, FileLock]:
    """Make a folder that only this user can look into, and lock it."""
    bases = _bases()
    for base in bases if has("unix-sockets") else []:
        with contextlib.suppress(OSError):
            _remove_folders_of_dead_hosts(base)
            path, lock = _make_in(base)
            if can_hold_sockets(path):
                return path, lock
            _remove(path, lock)
    _remove_folders_of_dead_hosts(bases[0])
    return _make_in(bases[0])


def _make_in(base: Path) -> tuple[Path, FileLock]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base))
        with contextlib.suppress(FileNotFoundError):  # another host took the folder for a dead one's
            lock = FileLock.try_acquire(path / LOCK_NAME)
            if lock is not None:
                return path, lock


def _bases() -> list[Path]:
    """Return the folders for temporary files, the one in force first."""
    named = [tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR"), *SHORT_PLACES]
    return [Path(each) for each in dict.fromkeys(named) if each and os.access(each, os.W_OK | os.X_OK)]


def _remove_folders_of_dead_hosts(base: Path) -> None:
    for folder in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another host removes it, too
            if not is_own_folder(folder):
                continue
            if not (folder / LOCK_NAME).exists():
                folder.rmdir()  # a host that died before it locked the folder has left it empty
            elif (lock := FileLock.try_acquire(folder / LOCK_NAME, create=False)) is not None:
                _remove(folder, lock)


def _remove(folder: Path, lock: FileLock) -> None:
    if not is_own_folder(folder):  # deleted, and its name is another user's now
        lock.release()
        return
    for path in folder.glob("*"):
        if path.name != LOCK_NAME:
            with contextlib.suppress(OSError):
                path.unlink()
    lock.release(delete=True)
    shutil.rmtree(folder, ignore_errors=True)
