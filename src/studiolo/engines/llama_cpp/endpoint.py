"""Where a llama-server listens."""

from __future__ import annotations

import itertools
import secrets
import socket
from pathlib import Path

from msgspec import Struct

from ...platform.sockets import can_hold_sockets

LOOPBACK = "127.0.0.1"

_numbers = itertools.count(1)


class Endpoint(Struct, frozen=True, kw_only=True):
    """A Unix socket, or a port of the loopback interface with a key. One of ``socket_path`` and ``url`` is set.

    Parameters:
        socket_path: the Unix socket.
        url: the address of the port.
        api_key: the key that requests to the port need.
    """

    socket_path: Path | None = None
    url: str | None = None
    api_key: str | None = None

    @classmethod
    def choose(cls, folder: Path, *, unix_sockets: bool = True) -> Endpoint:
        """Return a new Unix socket in ``folder``; a free port and a random key where there can be none.

        Parameters:
            unix_sockets: whether the server can listen on one.
        """
        return cls.unix_socket(folder) if unix_sockets and can_hold_sockets(folder) else cls.loopback()

    @classmethod
    def unix_socket(cls, folder: Path) -> Endpoint:
        """Return a new socket in ``folder``, at which nothing exists."""
        path = folder / f"{next(_numbers)}.sock"
        path.unlink(missing_ok=True)  # the server does not start on a file that exists
        return cls(socket_path=path)

    @classmethod
    def loopback(cls) -> Endpoint:
        """Return a port that is free now, and a random key."""
        with socket.socket() as listener:
            listener.bind((LOOPBACK, 0))
            port = int(listener.getsockname()[1])
        return cls(url=f"http://{LOOPBACK}:{port}", api_key=secrets.token_urlsafe(24))

    @property
    def hostname(self) -> str:
        """The path of the socket, or the address of the loopback interface: llama-server takes both as its host."""
        return LOOPBACK if self.socket_path is None else str(self.socket_path)

    @property
    def port(self) -> int | None:
        """The number of the port; ``None`` for a socket."""
        return int(self.url.rpartition(":")[2]) if self.url else None

    def remove(self) -> None:
        """Delete the socket's file, where there is one."""
        if self.socket_path is not None:
            self.socket_path.unlink(missing_ok=True)
