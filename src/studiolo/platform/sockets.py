"""Sockets."""

from __future__ import annotations

import socket
import sys
from functools import lru_cache
from pathlib import Path

from .features import has

MAX_SOCKET_PATH_BYTES = 103
"""The longest path of a Unix socket: macOS takes 103 bytes, Linux 107."""


def allow_restart(listener: socket.socket) -> None:
    """Let a listener bind a port that a server which has just ended used; on Windows, let no other program share it."""
    if sys.platform == "win32":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


@lru_cache(maxsize=64)
def can_hold_sockets(folder: Path) -> bool:
    """Return whether Unix sockets can be made in ``folder``: its path is short enough, its file system has them."""
    if sys.platform == "win32" or not has("unix-sockets"):
        return False
    trial = folder / "00000.sock"
    if len(str(trial).encode(errors="surrogateescape")) > MAX_SOCKET_PATH_BYTES:
        return False
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(trial))
        trial.unlink()
    except OSError:
        return False
    return True
