"""The time limits of calls: on the whole call, and on the silence of the host."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

from ..deadline import Deadline
from ..domain.progress import HEARTBEAT_SEC
from ..errors import ConfigError, RequestTimeoutError
from .arguments import optional, seconds, time_limit

T = TypeVar("T")

Timeout = float | datetime.timedelta | Deadline | None
"""The time limit of a whole call: seconds, or ``None`` for none; the deadline of a call that it is a part of."""

_silence_limit_sec: float | None = 60.0


def deadline_of(timeout: Timeout, call: str | None = None) -> Deadline:
    """Return the deadline of a call that begins now.

    Parameters:
        call: what the error names; ``None`` for the part of the call that took too long.

    Raises:
        ConfigError: ``timeout`` is no number of seconds above 0.
    """
    return timeout if isinstance(timeout, Deadline) else Deadline(optional(time_limit, timeout, "timeout"), call)


def get_sync_api_timeout() -> float | None:
    """Return how many seconds a server may be silent during a call; ``None`` means no limit. Default: 60.

    The limit is on silence, not on the whole call, which ``timeout=`` limits: while a call is running, a studiolo
    server sends a heartbeat every 10 seconds, or after a third of the limit if that is less. A host in this process has
    no limit.
    """
    return _silence_limit_sec


def set_sync_api_timeout(timeout: float | datetime.timedelta | None) -> None:
    """Set the limit that :func:`get_sync_api_timeout` returns. It holds for the async API, too.

    Parameters:
        timeout: seconds, a ``timedelta``, or ``None`` for no limit; 0 makes every call fail at once.
            Calls that have begun keep the interval of their heartbeats.

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


def heartbeat_interval(limit_sec: float | None) -> float | None:
    """Return the interval of heartbeats to ask for, a third of the limit; ``None`` if the usual one is short enough."""
    return None if limit_sec is None or limit_sec / 3 >= HEARTBEAT_SEC else limit_sec / 3


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


@contextlib.asynccontextmanager
async def while_not_silent(remaining: Callable[[], float], limit_sec: float, what: str) -> AsyncGenerator[None]:
    """Cancel the block once ``remaining()`` seconds are over, and raise :class:`RequestTimeoutError`.

    Parameters:
        remaining: called again when the time that it returned is over: it may have been extended.
    """
    loop = asyncio.get_running_loop()
    timer = asyncio.timeout(None)

    def check() -> None:
        nonlocal handle
        if (left := remaining()) > 0:
            handle = loop.call_later(left, check)
        else:
            timer.reschedule(loop.time())

    handle = loop.call_later(limit_sec, check)
    try:
        async with timer:
            yield
    except TimeoutError:
        if not timer.expired():
            raise
        raise timed_out(what, limit_sec) from None
    finally:
        handle.cancel()


def timed_out(what: str, limit_sec: float | None) -> RequestTimeoutError:
    """Return the error for having waited for ``what`` in vain."""
    return RequestTimeoutError(
        f"The host sent nothing for {limit_sec} s while the client waited for {what}",
        suggestion="Raise the limit with set_sync_api_timeout().",
    )
