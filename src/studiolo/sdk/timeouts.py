"""The time limit of calls: how long the host may be silent."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar, cast

from ..errors import ConfigError, RequestTimeoutError
from .arguments import optional, seconds

T = TypeVar("T")

_silence_limit_sec: float | None = 60.0


def get_sync_api_timeout() -> float | None:
    """Return how many seconds a server may be silent during a call; ``None`` means no limit. Default: 60.

    The limit is on silence, not on the whole call: a studiolo server sends a heartbeat every 10 seconds while a call
    is running, and progress where it has some. A host in this process has no limit.
    """
    return _silence_limit_sec


def set_sync_api_timeout(timeout: float | datetime.timedelta | None) -> None:
    """Set the limit that :func:`get_sync_api_timeout` returns. It holds for the async API, too.

    Parameters:
        timeout: seconds, a ``timedelta``, or ``None`` for no limit; 0 makes every call fail at once.
            Heartbeats come every 10 seconds: with a lower limit, calls to a host that is busy may time out.

    Raises:
        ConfigError: not a number of seconds.
    """
    global _silence_limit_sec
    limit_sec = optional(seconds, timeout, "timeout")
    if limit_sec is not None and limit_sec < 0:
        raise ConfigError(f"The argument 'timeout' is {limit_sec}, not a number of seconds from 0")
    _silence_limit_sec = limit_sec


def silence_limit(what: str) -> float | None:
    """Return the limit in force. Raise :class:`RequestTimeoutError` if it is 0: then nothing may wait for ``what``."""
    if _silence_limit_sec == 0:
        raise timed_out(what, 0)
    return _silence_limit_sec


async def within_limit(work: Awaitable[T], what: str) -> T:
    """Await ``work`` for at most the limit. Raise :class:`RequestTimeoutError`, which names ``what``, after it."""
    try:
        limit_sec = silence_limit(what)
    except RequestTimeoutError:
        if isinstance(work, Coroutine):
            cast("Coroutine[Any, Any, T]", work).close()
        raise
    timer = asyncio.timeout(limit_sec)
    try:
        async with timer:
            return await work
    except TimeoutError:
        if not timer.expired():
            raise
        raise timed_out(what, limit_sec) from None


def timed_out(what: str, limit_sec: float | None) -> RequestTimeoutError:
    """Return the error for having waited for ``what`` in vain."""
    return RequestTimeoutError(
        f"The host sent nothing for {limit_sec} s while the client waited for {what}",
        suggestion="Raise the limit with set_sync_api_timeout().",
    )
