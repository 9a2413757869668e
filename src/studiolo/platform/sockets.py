"""Sockets."""

from __future__ import annotations

import socket
import sys


def allow_restart(listener: socket.socket) -> None:
    """Let a listener bind a port that a server which has just ended used; on Windows, let no other program share it."""
    if sys.platform == "win32":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
