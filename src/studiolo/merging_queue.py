"""A queue between one producer and one consumer that stays small however far the consumer lags.

The producer is on an event loop. The consumer is on the same loop, or is another thread that blocks: handing an item to
a waiting thread directly costs a tenth of running a coroutine for it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

SLACK = 64
"""Items that wait side by side before new ones are merged into the last."""


class MergingQueue(Generic[T]):
    """What comes while the consumer is busy waits; beyond a slack, it is merged into what waits already.

    Parameters:
        merge: makes one item of the last one that waits and a new one, or returns ``None`` where they cannot be one.
    """

    def __init__(self, merge: Callable[[T, T], T | None]) -> None:
        self._merge = merge
        self._items: deque[T] = deque()
        self._lock = threading.Lock()
        self._wake = asyncio.Event()
        self._thread_wake: threading.Event | None = None
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T) -> None:
        """Add an item; does nothing once the queue is closed."""
        if self._closed:
            return
        with self._lock:
            if len(self._items) >= SLACK and (merged := self._merge(self._items[-1], item)) is not None:
                self._items[-1] = merged
            else:
                self._items.append(item)
        self._notify()

    def close(self, error: BaseException | None = None) -> None:
        """Say that nothing more comes, and why if something went wrong. What waits is still delivered."""
        if not self._closed:
            self._error = error
            self._closed = True
            self._notify()

    @property
    def closed(self) -> bool:
        """Whether nothing more comes; something may still wait."""
        return self._closed

    async def get_all(self) -> list[T]:
        """Everything that waits, at least one item; empty once the queue is closed and used up.

        Raises:
            BaseException: the error that the queue was closed with, after the last item.
        """
        await self._wake.wait()
        if not self._closed:
            self._wake.clear()
        return self._take()

    def get_all_blocking(self, limit_sec: float | None) -> list[T]:
        """:meth:`get_all`, for a consumer that is a thread of its own.

        Raises:
            TimeoutError: nothing came for ``limit_sec``.
            BaseException: the error that the queue was closed with, after the last item.
        """
        if self._thread_wake is None:
            self._thread_wake = threading.Event()
        while not self._items and not self._closed:
            if not self._thread_wake.wait(limit_sec):
                raise TimeoutError
            self._thread_wake.clear()
        return self._take()

    def _take(self) -> list[T]:
        fresh: deque[T] = deque()
        with (
            self._lock
        ):  # nothing is made meanwhile: the garbage collector might close a stream, which waits for the loop
            items, self._items = self._items, fresh
        if not items and self._error is not None:
            raise self._error
        return list(items)

    def _notify(self) -> None:
        if self._thread_wake is not None:
            self._thread_wake.set()
        else:
            self._wake.set()
