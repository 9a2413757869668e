"""Discovery of the host: its address, its API token, and the transport to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re

import msgspec

from ..credentials import ApiToken, parse_api_token
from ..errors import ConfigError
from .transports.base import Transport

SDK_PORTS = (41343, 52993, 16141, 39414, 22931)
"""The ports on which LM Studio's clients look for a server on this machine, in this order."""

HTTP_PORT = 1234
"""The default port of the HTTP APIs."""

ANSWER_LIMIT_SEC = 1.0
NAMED_LIMIT_SEC = 10.0
"""The limit for a server that the user named: it may be busy."""

EMBEDDED = "embedded"

TOKEN_NAMES = ("STUDIOLO_API_TOKEN", "LM_API_TOKEN", "LMSTUDIO_API_TOKEN")
"""Environment variables with the API token: studiolo's, and those of LM Studio's clients."""


def find_token(given: str | None) -> ApiToken | None:
    """Return the API token: ``given``, else the first one of the environment (``TOKEN_NAMES``).

    Raises:
        ConfigError: it is malformed.
    """
    if given is not None:
        return parse_api_token(given, "The parameter api_token")
    for name in TOKEN_NAMES:
        if text := os.environ.get(name):
            return parse_api_token(text, f"The environment's {name}")
    return None


async def find_transport(host: str | None, token: ApiToken | None = None) -> Transport:
    """Return the transport to the host.

    ``host`` (or, without it, the environment's ``STUDIOLO_HOST``) is ``"embedded"`` or ``"host:port"``. Without either:
    a server that answers on this machine, else a host in this process. The ``token`` is for a server that requires one.

    Raises:
        ConfigError: the address is malformed.
        ConnectionFailedError: no server answers at the address.
    """
    named = host or os.environ.get("STUDIOLO_HOST")
    if named:
        address = check_address(named)
        if address != EMBEDDED and not await is_server(address, NAMED_LIMIT_SEC):
            from .transports.websocket import unreachable

            raise unreachable(address, f"No server answers there within {NAMED_LIMIT_SEC:.0f} s.")
    else:
        address = await find_local_server() or EMBEDDED
    if address == EMBEDDED:
        from .transports.embedded import EmbeddedTransport

        return EmbeddedTransport()
    from .transports.websocket import WebSocketTransport

    return WebSocketTransport(address, token)


def check_address(text: str) -> str:
    """Return ``text`` as ``host:port`` or ``embedded``; a prefix ``http://`` or ``ws://`` is allowed."""
    address = re.sub(r"^(https?|wss?)://", "", text.strip()).rstrip("/")
    if address == EMBEDDED:
        return address
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536 or "/" in host:
        raise ConfigError(
            f"{text!r} is not the address of a host", suggestion='Use "host:port", or "embedded" for none.'
        )
    return address


async def find_local_server() -> str | None:
    """Return the address of a server that answers on this machine, or ``None``."""
    for port in (*SDK_PORTS, HTTP_PORT):
        address = f"127.0.0.1:{port}"
        if await is_server(address):
            return address
    return None


async def is_server(address: str, limit_sec: float = ANSWER_LIMIT_SEC) -> bool:
    """Return whether a server that speaks LM Studio's protocol answers at ``address``."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(limit_sec):
            return await _greets(host.strip("[]"), int(port))
    except (OSError, TimeoutError):
        return False


class _Greeting(msgspec.Struct):
    lmstudio: bool = False


async def _greets(host: str, port: int) -> bool:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        request = f"GET /lmstudio-greeting HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        answer = await reader.read(65536)
        while not answer.endswith(b"}") and (more := await reader.read(65536)):
            answer += more
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        return False
    try:
        return msgspec.json.decode(body[body.find(b"{") : body.rfind(b"}") + 1], type=_Greeting).lmstudio
    except msgspec.DecodeError:
        return False
