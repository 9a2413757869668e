"""Discovery of the host: its address, its API token, and the transport to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from dataclasses import dataclass

import msgspec

from ..addresses import Address, normalized_name, parse_address
from ..credentials import ApiToken, parse_api_token
from ..errors import ConfigError
from ..struct_types import examined
from .tls import tls_context, tls_fault
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


@dataclass(frozen=True)
class ClientToken:
    """The API token of a client, which may be malformed: that matters only to a server that requires one.

    Parameters:
        token: the API token; ``None`` without one, or with a malformed one.
        fault: what is wrong with a malformed one.
    """

    token: ApiToken | None = None
    fault: str | None = None


def find_token(given: str | None) -> ClientToken:
    """Return the API token: ``given``, else the first one of the environment (``TOKEN_NAMES``). Empty ones are ignored.

    Raises:
        ConfigError: ``given`` is malformed.
    """
    if given is not None and given.strip():
        return ClientToken(parse_api_token(given, "The parameter api_token"))
    for name in TOKEN_NAMES:
        if (text := os.environ.get(name, "")).strip():
            try:
                return ClientToken(parse_api_token(text, f"The environment's {name}"))
            except ConfigError as error:
                return ClientToken(fault=str(error))
    return ClientToken()


async def find_transport(
    host: str | None, token: ClientToken = ClientToken(), authority: str | os.PathLike[str] | None = None
) -> Transport:
    """Return the transport to the host.

    ``host`` (or, without it, the environment's ``STUDIOLO_HOST``) is ``"embedded"`` or an address. Without either: a
    server that answers on this machine, else a host in this process. The ``token`` is for a server that requires one.

    Raises:
        ConfigError: the address is malformed, or the certificate authority cannot be used.
        ConnectionFailedError: no server answers at the address, or its certificate is not trusted.
    """
    named = host or os.environ.get("STUDIOLO_HOST")
    tls: ssl.SSLContext | None = None
    if not named:
        local = await find_local_server()
        address = None if local is None else parse_address(local)
    elif named.strip().lower() == EMBEDDED:
        address = None
    else:
        address = parse_address(named)
        tls = tls_context(authority) if address.tls else None
        address = await _answering(address, tls)
    if address is None:
        from .transports.embedded import EmbeddedTransport

        return EmbeddedTransport()
    from .transports.websocket import WebSocketTransport

    return WebSocketTransport(address, token.token, token_fault=token.fault, tls=tls)


async def _answering(address: Address, tls: ssl.SSLContext | None) -> Address:
    """Return the address at which the server of ``address`` answers: ``localhost`` may be IPv6 alone."""
    from .transports.websocket import unreachable

    try:
        if await _greets_within(address, NAMED_LIMIT_SEC, tls):
            return address
    except ssl.SSLError as error:
        raise unreachable(address, *tls_fault(error)) from None
    if normalized_name(address.host) == "localhost" and not address.tls:
        other = address._replace(host="::1")
        if await _greets_within(other, ANSWER_LIMIT_SEC):
            return other
    raise unreachable(address, f"No server answers there within {NAMED_LIMIT_SEC:.0f} s.")


async def find_local_server() -> str | None:
    """Return the address of a server that answers on this machine, or ``None``."""
    for port in (*SDK_PORTS, HTTP_PORT):
        address = f"127.0.0.1:{port}"
        if await is_server(address):
            return address
    return None


async def is_server(text: str, limit_sec: float = ANSWER_LIMIT_SEC) -> bool:
    """Return whether a server that speaks LM Studio's protocol answers at the address ``text``."""
    try:
        address = parse_address(text)
        return await _greets_within(address, limit_sec, tls_context(None) if address.tls else None)
    except (ConfigError, ssl.SSLError):
        return False


async def _greets_within(address: Address, limit_sec: float, tls: ssl.SSLContext | None = None) -> bool:
    """Return whether a server answers. Raise :class:`ssl.SSLError` if TLS fails."""
    try:
        async with asyncio.timeout(limit_sec):
            return await _greets(address, tls)
    except ssl.SSLError:
        raise
    except (OSError, TimeoutError, UnicodeError):
        return False


class _Greeting(msgspec.Struct):
    lmstudio: bool = False


async def _greets(address: Address, tls: ssl.SSLContext | None) -> bool:
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=tls)
    try:
        request = f"GET /lmstudio-greeting HTTP/1.1\r\nHost: {address.authority}\r\nConnection: close\r\n\r\n"
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
        return msgspec.json.decode(body[body.find(b"{") : body.rfind(b"}") + 1], type=examined(_Greeting)).lmstudio
    except msgspec.DecodeError:
        return False
