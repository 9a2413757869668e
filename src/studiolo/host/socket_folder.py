"""The private folder for the sockets of a host's engines."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from ..platform.file_locks import FileLock

PREFIX = "studiolo-sockets-"
LOCK_NAME = "host.lock"


class SocketFolder:
    """A folder for sockets, under the folder for temporary files. Folders of dead hosts are removed.

    Each host locks a file in its folder. The lock, not a process number, shows that a host lives: containers that share
    a folder for temporary files have process numbers of their own.

    It is not under the home folder: the path of a Unix socket has at most about 100 bytes, and a home folder can be
    deep, or be on a file system without sockets.
    """

    def __init__(self) -> None:
        _remove_folders_of_dead_hosts()
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
            with contextlib.suppress(FileNotFoundError):  # another host took the folder for a dead one's
                lock = FileLock.try_acquire(self.path / LOCK_NAME)
                if lock is not None:
                    self._lock = lock
                    return

    def remove(self) -> None:
        """Delete the folder and all that is in it; safe to call twice."""
        _remove(self.path, self._lock)


def _remove_folders_of_dead_hosts() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or another host removes it, too
            if not (folder / LOCK_NAME).exists():
                folder.rmdir()  # a host that died before it locked the folder has left it empty
            elif (lock := FileLock.try_acquire(folder / LOCK_NAME, create=False)) is not None:
                _remove(folder, lock)


def _remove(folder: Path, lock: FileLock) -> None:
    for path in folder.glob("*"):
        if path.name != LOCK_NAME:
            with contextlib.suppress(OSError):
                path.unlink()
    lock.release(delete=True)
    shutil.rmtree(folder, ignore_errors=True)
