"""The limits of requests over HTTP: how many at once, their tools, how long they take, and clients that stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any, cast

from ...errors import InvalidRequestError, OverloadedError, SlowClientError, TimeLimitError
from ...settings import ServerSettings
from ..base import Load
from .fields import wrong


def check_load(load: Load, limits: ServerSettings) -> None:
    """Raise :class:`OverloadedError` if there are more requests than are answered at once."""
    if load.requests > limits.max_requests:
        raise OverloadedError(
            f"The server answers {limits.max_requests} requests at once",
            suggestion="Try again later, or raise server.max_requests in config.toml.",
        )


def check_tools(body: Any, limits: ServerSettings) -> None:
    """Raise :class:`InvalidRequestError` if a request has too many tools, those of its namespaces included."""
    tools: Any = getattr(body, "tools", None)
    if not isinstance(tools, list):
        return
    check_tool_count("tools", sum(_count(tool) for tool in cast("list[Any]", tools)), limits)


def check_tool_count(place: str, count: int, limits: ServerSettings) -> None:
    """Raise :class:`InvalidRequestError` if a request has too many tools, those of its MCP servers included.

    Parameters:
        place: the path in the request of what has them.
    """
    if count > limits.max_tools:
        what = f"{count} tools are more than {limits.max_tools}"
        raise wrong(place, what, "Name those that you need, or raise server.max_tools in config.toml.")


def _count(tool: Any) -> int:
    inner: Any = cast("dict[str, Any]", tool).get("tools") if isinstance(tool, dict) else None
    return len(cast("list[Any]", inner)) if isinstance(inner, list) else 1


def check_encoding(encoding: str) -> None:
    """Raise :class:`InvalidRequestError` for the body of a request that is compressed.

    Parameters:
        encoding: the header ``content-encoding``.
    """
    if encoding.strip().lower() not in ("", "identity"):
        raise InvalidRequestError(
            "The body is compressed, which is not supported",
            cause=f"Its content-encoding is {encoding[:40]!r}.",
            suggestion="Send it as it is.",
        )


async def body_of(stream: AsyncGenerator[bytes, None], limits: ServerSettings) -> bytes:
    """Return the body of a request. Raise :class:`SlowClientError` if its client stops sending it."""
    now = asyncio.get_running_loop().time
    parts: list[bytes] = []
    idle = asyncio.timeout(limits.idle_limit_sec)
    try:
        async with idle:
            async for part in stream:
                parts.append(part)
                idle.reschedule(now() + limits.idle_limit_sec)
    except TimeoutError:
        if not idle.expired():
            raise
        raise SlowClientError(
            f"Nothing of the request came for {limits.idle_limit_sec:g} s",
            suggestion="Send the whole body, as long as content-length says.",
        ) from None
    return b"".join(parts)


@contextlib.asynccontextmanager
async def limited(deadline: float, limits: ServerSettings) -> AsyncGenerator[None]:
    """End the block at ``deadline``, a time of the event loop, with :class:`TimeLimitError`."""
    limit = asyncio.timeout_at(deadline)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise TimeLimitError(
            f"The request took longer than {limits.request_limit_sec:g} s, the limit of the server",
            suggestion="Ask for less at once, or raise server.request_limit_sec in config.toml.",
        ) from None
