"""The sockets that a server listens on."""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import Any

from ..addresses import bracketed, is_loopback
from ..errors import PortInUseError
from ..platform.sockets import allow_restart
from ..sdk.discovery import SDK_PORTS, is_server

LOOPBACK = "127.0.0.1"

ANSWER_LIMIT_SEC = 5.0
"""What holds a port, and has not said in this time that it is a server of ours, is another program."""


def resolves_to_loopback(host: str) -> bool:
    """Return whether every address of ``host`` is a loopback address; blocks while the name is looked up.

    A name that cannot be looked up counts as one if it is ``localhost`` or below it.
    """
    try:
        return all(is_loopback(str(address[0]).partition("%")[0]) for *_, address in _addresses(host, 0))
    except (OSError, UnicodeError):
        return is_loopback(host)


async def listen(host: str, port: int) -> list[socket.socket]:
    """Listen at every address of ``host``, and return the sockets; port 0 means any free one, the same for all.

    Raises:
        PortInUseError: the address is in use, or is not one of this machine.
    """
    try:
        return _bind_all(host, port)
    except (OSError, UnicodeError) as error:
        if not isinstance(error, OSError) or error.errno != errno.EADDRINUSE:
            cause = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise PortInUseError(f"{bracketed(host)}:{port} cannot be listened on", cause=cause) from None
    if await is_server(f"{bracketed(host)}:{port}", ANSWER_LIMIT_SEC):
        raise PortInUseError(
            f"A server already runs at {bracketed(host)}:{port}",
            suggestion="Use that one, stop it first, or choose another port with --port.",
        )
    raise PortInUseError(
        f"The port {port} of {host} is taken by another program", suggestion="Choose another with --port."
    )


def listen_for_sdk(sockets: list[socket.socket], port: int) -> int | None:
    """Listen on the first free port among those where LM Studio's clients look, and return it."""
    for candidate in SDK_PORTS:
        if candidate == port:
            return port
        with contextlib.suppress(OSError):
            sockets += _bind_all(LOOPBACK, candidate)
            return candidate
    return None


def _addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys(found))


def _bind_all(host: str, port: int) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    fault: OSError | None = None
    try:
        for family, kind, protocol, _, address in _addresses(host, port):
            chosen = listeners[0].getsockname()[1] if listeners else port
            try:
                listeners.append(_bind(family, kind, protocol, (address[0], chosen, *address[2:]), host))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise
                fault = error  # such as IPv6 on a machine without it; another address may do
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    if not listeners and fault is not None:
        raise fault
    return listeners


def _bind(family: Any, kind: Any, protocol: int, address: Any, host: str) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        allow_restart(listener)
        if family == socket.AF_INET6 and host != "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(1024)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
