"""The time limit of a whole call."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from typing import Any

from .errors import TimeLimitError


class Deadline:
    """The end of the time that a call may take, counted from the construction.

    Parameters:
        limit_sec: ``None`` means no limit.
        call: the call that its errors name, instead of the part of it that took too long.
    """

    def __init__(self, limit_sec: float | None = None, call: str | None = None) -> None:
        self.limit_sec = limit_sec
        self.call = call
        self.began = time.monotonic()

    def remaining(self) -> float | None:
        """Return the seconds that are left, at least 0; ``None`` means no limit."""
        return None if self.limit_sec is None else max(0.0, self.began + self.limit_sec - time.monotonic())

    def or_sooner(self, limit_sec: float | None) -> Deadline:
        """Return this deadline, or one after ``limit_sec`` from now if that is sooner."""
        left = self.remaining()
        return self if limit_sec is None or (left is not None and left <= limit_sec) else Deadline(limit_sec, self.call)

    @property
    def has_passed(self) -> bool:
        """Whether the time is over."""
        return self.remaining() == 0

    @contextlib.asynccontextmanager
    async def enforced(self, what: str) -> AsyncGenerator[None]:
        """Cancel the block when the time is over, and raise :class:`TimeLimitError`, which names ``what``."""
        timer = asyncio.timeout(self.remaining())
        try:
            async with timer:
                yield
        except TimeoutError:
            if not timer.expired():
                raise
            raise self.error(what) from None

    def error(self, what: str, **data: Any) -> TimeLimitError:
        """Return the error for ``what``, which has taken too long."""
        limit = self.limit_sec or 0.0
        shown = f"{limit:.3g}" if limit < 100 else f"{limit:.0f}"
        return TimeLimitError(
            f"{self.call or what} took longer than the time limit of {shown} s",
            suggestion="Set a longer timeout.",
            data=data,
        )


UNLIMITED = Deadline()
