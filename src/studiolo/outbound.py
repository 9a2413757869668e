"""Addresses that a server connects to because a client names them: only those that its settings allow.

A name is resolved once, every address of the answer is checked, and the connection is made to those addresses: a name
that means something else a moment later (DNS rebinding) changes nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Literal
from urllib.parse import urlsplit

from .errors import ConfigError

Reach = Literal["never", "public", "any"]
"""What may be connected to: nothing, addresses of the public internet, or private ones and this machine's as well."""

_PORTS = {"http": 80, "https": 443}

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""Addresses that stand for the IPv4 address in their last 32 bits."""


_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network) for network in ("192.0.0.0/24", "192.88.99.0/24", "fec0::/10", "64:ff9b:1::/48")
)
"""Networks that some versions of Python take for public ones."""


class ForbiddenAddressError(Exception):
    """An address may not be connected to; the text says why."""


def check_url(url: str) -> None:
    """Raise :class:`ConfigError` for what is not an ``http`` or ``https`` address, or has a user name in it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError("It is not an address", cause=str(error)) from None
    if parts.scheme not in _PORTS or not host:
        raise ConfigError("It is not an address that begins with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise ConfigError("It has a user name or a password")


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public internet, not of a private network or of this machine."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    special = (
        ip.is_private or ip.is_unspecified or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved
    )
    return ip.is_global and not special and not any(ip in network for network in _NOT_PUBLIC)


async def allowed_addresses(host: str, port: int, reach: Reach) -> list[str]:
    """Return the IP addresses of a host, all of which may be connected to.

    Raises:
        ForbiddenAddressError: one of them may not be; or nothing may.
        OSError: the name is unknown.
    """
    if reach == "never":
        raise ForbiddenAddressError("the server's settings allow no address")
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError(f"{host!r} is not the name of a computer") from None
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    if reach == "public" and not all(is_public(address) for address in addresses):
        raise ForbiddenAddressError(f"{host} is not an address of the public internet")
    return addresses
