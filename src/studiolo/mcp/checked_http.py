"""The HTTP client of servers that a request names: it connects to allowed addresses alone, and limits what it reads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from importlib import import_module
from typing import Any

from ..outbound import Reach, allowed_addresses

MAX_ANSWER_BYTES = 32 * 2**20
"""Bytes of one answer that are read, at most."""


def checked_client(headers: Mapping[str, str] | None, reach: Reach) -> Any:
    """Return an HTTP client for the ``mcp`` package.

    A name is resolved for each request, every address is checked, and the connection is made to one of them. No
    proxy is used.

    Parameters:
        headers: of every request.
        reach: which addresses may be connected to.
    """
    httpx: Any = import_module("httpx2")  # what the mcp package is made with

    class Limited(httpx.AsyncByteStream):
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            left = MAX_ANSWER_BYTES
            async for chunk in self._stream:
                left -= len(chunk)
                if left < 0:
                    raise httpx.ReadError(f"the answer has more than {MAX_ANSWER_BYTES // 2**20} MiB")
                yield chunk

        async def aclose(self) -> None:
            await self._stream.aclose()

    class Checked(httpx.AsyncBaseTransport):
        def __init__(self) -> None:
            self._by_host: dict[str, Any] = {}

        async def handle_async_request(self, request: Any) -> Any:
            url = request.url
            port = url.port or (443 if url.scheme == "https" else 80)
            addresses = await allowed_addresses(url.host, port, reach)
            inner = self._by_host.get(url.host)
            if inner is None:  # a connection to one name is not used for another
                inner = self._by_host[url.host] = httpx.AsyncHTTPTransport()
            for address in addresses:
                pinned = httpx.Request(
                    request.method,
                    url.copy_with(host=address),
                    headers=request.headers,
                    stream=request.stream,
                    extensions={**request.extensions, "sni_hostname": url.host},
                )
                try:
                    response = await inner.handle_async_request(pinned)
                except httpx.ConnectError:
                    if address == addresses[-1]:
                        raise
                    continue
                return httpx.Response(
                    response.status_code,
                    headers=response.headers,
                    stream=Limited(response.stream),
                    extensions=response.extensions,
                )
            raise httpx.ConnectError(f"{url.host} has no address")

        async def aclose(self) -> None:
            for inner in self._by_host.values():
                await inner.aclose()

    return httpx.AsyncClient(headers=headers, transport=Checked(), trust_env=False)
