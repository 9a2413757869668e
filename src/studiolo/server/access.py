"""Which requests are answered at all: a page of another site must not reach the server through its user's browser.

A browser sends the ``Origin`` of the page with every WebSocket upgrade and every request that could read an answer. A
page whose DNS name has been changed to the address of the server (DNS rebinding) sends that name as ``Host``. Both are
checked before anything else of a request is looked at, on every path.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

import msgspec
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from ..addresses import is_ip_address, is_loopback, normalized_name
from ..errors import ConfigError

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^\s\[\]:/?#@\\]*)(?::(\d{1,5}))?", re.IGNORECASE)
_HOST = re.compile(r"(\[[0-9a-fA-F:.%\w]+\]|[^\s\[\]:/?#@\\]+)(?::\d{1,5})?")
_HEADER_NAMES = re.compile(r"[A-Za-z0-9, _-]{1,1000}")
_WEB_PORTS = {"http": "80", "https": "443"}

_PREFLIGHT_SEC = 600
_MAX_LOGGED = 100
"""Foreign origins and hosts that are logged, once each."""

_log = logging.getLogger("studiolo.server")


class AccessRules:
    """The origins and the names of the server that are accepted.

    Parameters:
        bind_host: the bind address; it is accepted as a name of the server.
        allow_origins: further origins, such as ``https://chat.example``; ``SCHEME://*`` for every page of a scheme that
            is not of the web, such as ``vscode-webview``.
        allow_hosts: further names of the server.

    Raises:
        ConfigError: one of them is malformed.
    """

    def __init__(self, bind_host: str, allow_origins: Iterable[str] = (), allow_hosts: Iterable[str] = ()) -> None:
        self._names = {normalized_name(bind_host), *map(_host_name, allow_hosts)}
        self._origins = {_allowed_origin(origin) for origin in allow_origins}

    def host_fault(self, values: list[str]) -> str | None:
        """Return why a request with these ``Host`` headers is refused; ``None`` if it is not."""
        if len(values) != 1:
            return "A request needs one Host header."
        match = _HOST.fullmatch(values[0].strip())
        name = normalized_name(match[1]) if match else ""
        if name and (is_ip_address(name) or is_loopback(name) or name in self._names):
            return None
        return (
            f"This server is not accepted under the name {_shown(values[0])}. If the name is its own, allow it with "
            "--allow-host NAME, or server.allow_hosts in config.toml."
        )

    def origin_fault(self, values: list[str], host: str) -> str | None:
        """Return why a request with these ``Origin`` headers is refused; ``None`` if it is not.

        Parameters:
            values: the headers.
            host: the ``Host`` header, which has been accepted: its own pages are not foreign.
        """
        if not values:
            return None
        origin = _normalized_origin(values[0]) if len(values) == 1 else None
        if origin is not None:
            scheme, name, port = origin
            of_web = scheme in _WEB_PORTS
            if of_web and (is_loopback(name) or name in self._names or (name, port) == _authority(host, scheme)):
                return None
            if origin in self._origins or (not of_web and (scheme, "*", "") in self._origins):
                return None
        return (
            f"Pages of the origin {_shown(', '.join(values))} may not use this server. If they are trusted, allow them "
            "with --allow-origin ORIGIN, or server.allow_origins in config.toml."
        )


def guarded(app: ASGIApp, rules: AccessRules) -> ASGIApp:
    """Return an app that answers requests of foreign pages with 403, and all others by ``app``.

    Pages of accepted origins may read the answers.
    """
    logged: set[str] = set()

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        hosts, origins = _headers(scope, b"host"), _headers(scope, b"origin")
        fault = rules.host_fault(hosts) or rules.origin_fault(origins, hosts[0])
        if fault is None and not origins and _is_embedded_elsewhere(scope):
            fault = "A page of another site embeds this address."
        if fault is not None:
            if fault not in logged and len(logged) < _MAX_LOGGED:
                logged.add(fault)
                _log.warning("refused a request: %s", fault)
            await _refuse(scope, send, fault)
        elif scope["type"] == "http" and origins:
            await _answer_page(app, scope, receive, send, origins[0])
        else:
            await app(scope, receive, send)

    return guard


def is_own_page(scope: Scope) -> bool:
    """Return whether a request is of a page of this very address, or of no page: a program, or an address entered.

    Stricter than :class:`AccessRules`, for requests with cookies: a page at another port of this machine may be another
    user's, and its requests have this one's cookies.
    """
    origins, hosts = _headers(scope, b"origin"), _headers(scope, b"host")
    if not origins:
        return _headers(scope, b"sec-fetch-site") in ([], ["same-origin"], ["none"]) or _headers(
            scope, b"sec-fetch-mode"
        ) == ["navigate"]
    origin = _normalized_origin(origins[0]) if len(origins) == 1 else None
    return origin is not None and origin[0] in _WEB_PORTS and origin[1:] == _authority(hosts[0], origin[0])


def _is_embedded_elsewhere(scope: Scope) -> bool:
    """Return whether a page of another site makes the browser send this request without an origin, as for an image."""
    site, mode = _headers(scope, b"sec-fetch-site"), _headers(scope, b"sec-fetch-mode")
    return site == ["cross-site"] and mode != ["navigate"]


async def _answer_page(app: ASGIApp, scope: HTTPScope, receive: Receive, send: Send, origin: str) -> None:
    readable = [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]
    if scope["method"] == "OPTIONS" and _headers(scope, b"access-control-request-method"):
        wanted = _headers(scope, b"access-control-request-headers")
        names = wanted[0] if wanted and _HEADER_NAMES.fullmatch(wanted[0]) else "authorization, content-type"
        headers = [
            *readable,
            (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
            (b"access-control-allow-headers", names.encode()),
            (b"access-control-max-age", str(_PREFLIGHT_SEC).encode()),
        ]
        if _headers(scope, b"access-control-request-private-network"):
            headers.append((b"access-control-allow-private-network", b"true"))
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return

    async def send_readable(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *readable]
        await send(message)

    await app(scope, receive, send_readable)


async def _refuse(scope: Scope, send: Send, fault: str) -> None:
    if scope["type"] == "websocket":  # a server answers an upgrade that is closed before it is accepted with 403
        await send({"type": "websocket.close", "code": 1008, "reason": None})
        return
    body = msgspec.json.encode({"error": {"message": fault, "code": 403}})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _normalized_origin(text: str) -> tuple[str, str, str] | None:
    """Return scheme, host and port of an origin; ``None`` for ``null`` and whatever is not an origin."""
    match = _ORIGIN.fullmatch(text.strip())
    if match is None:
        return None
    scheme = match[1].lower()
    return scheme, normalized_name(match[2]), match[3] or _WEB_PORTS.get(scheme, "")


def _authority(host: str, scheme: str) -> tuple[str, str]:
    name, colon, port = host.strip().rpartition(":")
    if not colon or "]" in port:
        name, port = host.strip(), _WEB_PORTS[scheme]
    return normalized_name(name), port


def _allowed_origin(text: str) -> tuple[str, str, str]:
    origin = _normalized_origin(text.strip().removesuffix("/"))
    if origin is None or not origin[1] or (origin[1] == "*" and origin[0] in _WEB_PORTS):
        raise ConfigError(
            f"{text!r} is not an origin that can be allowed",
            cause='An origin is a scheme and a host, and a port if it is not the usual one: "https://chat.example".',
            suggestion='Give each origin. For the pages of a program: "vscode-webview://*".',
        )
    return origin


def _host_name(text: str) -> str:
    if (match := _HOST.fullmatch(text.strip())) is None or match[1] != text.strip() or "*" in text:
        raise ConfigError(
            f"{text!r} is not a name of the server that can be allowed",
            suggestion='Give a name without scheme and port, such as "studiolo.example".',
        )
    return normalized_name(text.strip())


def _shown(text: str) -> str:
    return ascii(text[:200])
