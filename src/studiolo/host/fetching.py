"""Images and documents that a request names by their addresses, fetched within limits."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ConfigError, FilesError
from ..outbound import ForbiddenAddressError, Reach, allowed_addresses, check_url

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import AbstractResolver
    from yarl import URL

MAX_FETCHED = 20
"""Files of one request that are fetched, at most."""

MAX_FETCHED_BYTES = 20 * 2**20
"""The largest file that is fetched."""

FETCH_LIMIT_SEC = 15.0
"""How long the fetch of all files of a request may take."""

MAX_REDIRECTS = 3

_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Fetched:
    """A file from the network.

    Parameters:
        data: its content.
        media_type: the type that its server gives it, in lower case; empty without one.
    """

    data: bytes
    media_type: str = ""


async def fetch_files(urls: Sequence[str], reach: Reach, max_bytes: int) -> list[Fetched]:
    """Return the files at these addresses.

    Parameters:
        reach: which addresses may be connected to, those of redirects included.
        max_bytes: the size of all of them together at most.

    Raises:
        FilesError: one of them cannot be fetched; ``data["url"]`` is its address.
    """
    if len(urls) > MAX_FETCHED:
        raise FilesError(f"At most {MAX_FETCHED} files are fetched for a request", data={"url": urls[MAX_FETCHED]})
    room = _Room(max_bytes)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_fetch(url, reach, room)) for url in urls]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


class _Room:
    """Bytes that are left for a request."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, size: int) -> None:
        """Use some of it."""
        self.left -= size
        if self.left < 0:
            raise ValueError("the files of the request are too large together")


async def _fetch(url: str, reach: Reach, room: _Room) -> Fetched:
    import aiohttp
    from yarl import URL

    try:
        check_url(url)
        async with asyncio.timeout(FETCH_LIMIT_SEC):
            return await _follow(URL(url), reach, room)
    except TimeoutError:
        raise _failed(url, f"there was no answer within {FETCH_LIMIT_SEC:g} s") from None
    except ForbiddenAddressError as error:
        suggestion = 'Send its content in base64, or set server.fetch_urls = "any" in config.toml.'
        raise _failed(url, str(error), suggestion) from None
    except ConfigError as error:
        raise _failed(url, f"{error.title[0].lower()}{error.title[1:]}") from None
    except aiohttp.ClientResponseError:
        raise _failed(url, "its server's answer is not valid HTTP") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _failed(url, str(error) or type(error).__name__) from None


def _failed(url: str, cause: str, suggestion: str | None = None) -> FilesError:
    shown = url.partition("?")[0].rpartition("@")[2][:200]
    return FilesError(
        f"The file at {shown!r} cannot be fetched: {cause}",
        suggestion=suggestion or "Send its content in base64.",
        data={"url": url},
    )


async def _follow(url: URL, reach: Reach, room: _Room) -> Fetched:
    for _ in range(MAX_REDIRECTS + 1):
        found = await _get(url, reach, room)
        if isinstance(found, Fetched):
            return found
        check_url(str(found))
        url = found
    raise ValueError(f"it was redirected more than {MAX_REDIRECTS} times")


async def _get(url: URL, reach: Reach, room: _Room) -> Fetched | URL:
    """Return the content at an address, or the address to which it is redirected."""
    import aiohttp
    from yarl import URL

    assert url.host is not None and url.port is not None
    addresses = await allowed_addresses(url.host, url.port, reach)
    connector = aiohttp.TCPConnector(resolver=_pinned(url.host, addresses), use_dns_cache=False)
    headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "studiolo"}
    async with (
        aiohttp.ClientSession(
            connector=connector, trust_env=False, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session,
        session.get(url, allow_redirects=False, headers=headers) as response,
    ):
        if response.status in _REDIRECTS and (location := response.headers.get("Location")):
            return url.join(URL(location))
        if response.status != 200:
            raise ValueError(f"its server answers with status {response.status}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise ValueError("its server sends it compressed")
        return Fetched(await _content(response, room), response.content_type)


async def _content(response: aiohttp.ClientResponse, room: _Room) -> bytes:
    data = bytearray()
    too_large = ValueError(f"it has more than {MAX_FETCHED_BYTES // 2**20} MiB")
    if (response.content_length or 0) > MAX_FETCHED_BYTES:
        raise too_large
    async for chunk in response.content.iter_any():
        data += chunk
        room.take(len(chunk))
        if len(data) > MAX_FETCHED_BYTES:
            raise too_large
    return bytes(data)


def _pinned(host: str, addresses: Sequence[str]) -> AbstractResolver:
    """Return a resolver that knows one name, and the addresses that were checked for it."""
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Pinned(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            if host != known:
                raise OSError(f"{host} was not checked")
            return [
                ResolveResult(
                    hostname=host,
                    host=address,
                    port=port,
                    family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                    proto=0,
                    flags=socket.AI_NUMERICHOST,
                )
                for address in addresses
            ]

        async def close(self) -> None:
            pass

    known = host
    return Pinned()
