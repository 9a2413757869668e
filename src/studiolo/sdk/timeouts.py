"""How long calls wait for the host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar, cast

from ..errors import ConfigError, RequestTimeoutError

T = TypeVar("T")

_wait_limit_sec: float | None = 60.0


def get_sync_api_timeout() -> float | None:
    """Seconds that a call waits for the next word of the host; ``None`` for no limit. Default: 60.

    The limit is between words, not for the whole: loading and predicting may take as long as they show progress.
    """
    return _wait_limit_sec


def set_sync_api_timeout(timeout: float | None) -> None:
    """Set the limit that :func:`get_sync_api_timeout` tells; it holds for the async API too.

    Parameters:
        timeout: seconds, or ``None`` for no limit; 0 gives every call up at once.

    Raises:
        ConfigError: not a number of seconds.
    """
    global _wait_limit_sec
    if timeout is not None and not timeout >= 0:
        raise ConfigError(f"The timeout is {timeout!r}, not a number of seconds")
    _wait_limit_sec = None if timeout is None else float(timeout)


async def within_limit(work: Awaitable[T], what: str) -> T:
    """Await ``work``. Raises :class:`RequestTimeoutError`, which names ``what`` was waited for."""
    limit = _wait_limit_sec
    if limit == 0:  # else work that needs no wait, as in this process's own host, would be done in time
        if isinstance(work, Coroutine):
            cast("Coroutine[Any, Any, T]", work).close()
        raise timed_out(what)
    timer = asyncio.timeout(limit)
    try:
        async with timer:
            return await work
    except TimeoutError:
        if not timer.expired():
            raise
        raise timed_out(what) from None


def timed_out(what: str) -> RequestTimeoutError:
    """The error for having waited for ``what`` in vain."""
    return RequestTimeoutError(
        f"Nothing was heard from the host within {_wait_limit_sec} s of waiting for {what}",
        suggestion="set_sync_api_timeout() sets the limit.",
    )
