"""Addresses that a server may connect to because a client names them."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from studiolo.errors import ConfigError
from studiolo.outbound import ForbiddenAddressError, allowed_addresses, check_url, is_public

PUBLIC = ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e"]
PRIVATE = [
    *(
        "127.0.0.1",
        "127.8.9.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
    ),
    *("100.64.0.1", "192.0.0.8", "198.18.0.1", "203.0.113.9", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fe80::1%1", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0.0.0.0", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_of_this_machine_and_of_private_networks_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1", "localhost", "0", "::1"])
async def test_every_form_of_the_loopback_address_is_refused(host: str) -> None:
    with pytest.raises((ForbiddenAddressError, OSError)):
        await allowed_addresses(host, 80, "public")


def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)


async def test_one_private_address_among_the_answers_refuses_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "93.184.215.14", "10.0.0.7")
    with pytest.raises(ForbiddenAddressError, match=r"pictures\.example"):
        await allowed_addresses("pictures.example", 80, "public")
    assert await allowed_addresses("pictures.example", 80, "any") == ["93.184.215.14", "10.0.0.7"]
    with pytest.raises(ForbiddenAddressError):
        await allowed_addresses("pictures.example", 80, "never")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a.example/x", "http://", "http://u:p@a.example/", "http://[::1", "//a/b", ""]
)
def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        check_url(url)
