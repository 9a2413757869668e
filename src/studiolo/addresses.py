"""Network addresses: of servers that clients name, and of the interfaces that a server binds to."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from .errors import ConfigError

HTTPS_PORT = 443

_SCHEMES = {"http": False, "ws": False, "https": True, "wss": True}
"""The schemes of an address, and whether each stands for TLS."""

_UNSPECIFIED = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses that a server binds to and no client connects to, and the ones to connect to instead."""

_NAME = re.compile(r"(?=.{1,253}\.?\Z)(?:[\w-]{1,63}\.)*[\w-]{1,63}\.?")


class Address(NamedTuple):
    """The address of a server."""

    host: str
    """A name or an IP address, without brackets."""
    port: int
    tls: bool = False

    @property
    def authority(self) -> str:
        """``host:port``, with brackets around an IPv6 address."""
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"http{'s' if self.tls else ''}://{self.authority}"

    def __str__(self) -> str:
        return self.url if self.tls else self.authority


def parse_address(text: str) -> Address:
    """Return the address ``text``: ``host:port``, with ``http://``, ``ws://``, ``https://`` or ``wss://`` if wanted.

    Only ``https`` and ``wss`` have a default port, 443. ``0.0.0.0`` and ``::`` become the loopback address.

    Raises:
        ConfigError: it is malformed. The error does not repeat a user name or password.
    """
    scheme, separator, rest = text.strip().rpartition("://")
    tls = _SCHEMES.get(scheme.lower()) if separator else False
    if "@" in text:
        raise _malformed(
            text.rpartition("@")[2], "It has a user name or a password.", "Pass an API token as api_token."
        )
    if tls is None:
        raise _malformed(text, f"The scheme {scheme!r} is unknown.", "Use http:// or https://, or no scheme.")
    authority, _, path = rest.partition("/")
    if path or "?" in authority or "#" in authority:
        raise _malformed(text, "It has a path.", f'Use "{scheme}{separator}{authority}".')
    if (match := re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", authority)) is not None:
        host, port = match[1], match[2]
        if not _is_ip(host, 6):
            raise _malformed(text, f"{host!r} is not an IPv6 address.")
    elif authority.count(":") > 1:
        host, _, port = authority.rpartition(":")
        hint = f'Use "[{host}]:{port}".' if _is_ip(host, 6) and port.isdecimal() else 'Use "[::1]:1234".'
        raise _malformed(text, "An IPv6 address is written in brackets.", hint)
    else:
        host, colon, port = authority.partition(":")
        port = port if colon else None
        if not _is_name(host):
            raise _malformed(text, f"{host!r} is not the name of a computer." if host else "It names no computer.")
    if port is None and tls:
        port = str(HTTPS_PORT)
    if not port or not (port.isascii() and port.isdecimal()) or not 0 < int(port[:6]) < 65536:
        raise _malformed(text, "It has no port, or one that is not a number from 1 to 65535.")
    return Address(_UNSPECIFIED.get(host, host), int(port), tls)


def parse_bind_host(text: str) -> str:
    """Return the bind address ``text``, a name or an IP address, without brackets.

    Raises:
        ConfigError: it has a scheme or a port, or is malformed.
    """
    host = text.strip()
    if host.startswith("[") and host.endswith("]") and _is_ip(host[1:-1], 6):
        host = host[1:-1]
    if _is_ip(host) or _is_name(host):
        return host
    raise ConfigError(
        f"{text.rpartition('@')[2]!r} is not an address to listen on",
        cause="It is the name or the IP address of this machine, without scheme and port.",
        suggestion='Use --host 127.0.0.1, --host "::1" or a name of this machine, and --port for the port.',
    )


def bracketed(host: str) -> str:
    """Return a host as in URLs: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def normalized_name(host: str) -> str:
    """Return a host in lower case, without brackets and the dot of a fully qualified name."""
    host = host.lower()
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host.removesuffix(".")


def is_ip_address(host: str) -> bool:
    """Return whether a host is an IP address, in the form of :func:`normalized_name`."""
    return _is_ip(host)


def is_loopback(host: str) -> bool:
    """Return whether a host is ``localhost``, a name below it, or a loopback IP address, for everyone who uses it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_ip(host: str, version: int | None = None) -> bool:
    try:
        return ipaddress.ip_address(host).version == version or version is None
    except ValueError:
        return False


def _is_name(host: str) -> bool:
    return _NAME.fullmatch(host) is not None


def _malformed(text: str, cause: str, suggestion: str | None = None) -> ConfigError:
    return ConfigError(
        f"{text[:200]!r} is not the address of a host",
        cause=cause,
        suggestion=suggestion or 'Use "host:port", or "embedded" for none.',
    )
