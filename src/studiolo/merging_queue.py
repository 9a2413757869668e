"""A bounded queue between one producer and one consumer: items are merged while the consumer lags.

The producer is on an event loop. The consumer is on the same loop, or a thread that blocks: passing an item to a
blocked thread directly costs a tenth of running a coroutine for it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

SLACK = 32
"""Unread items from which on they are merged with each other: the consumer does not keep up with the producer."""


class MergingQueue(Generic[T]):
    """A queue of unread items. From :data:`SLACK` items on, neighbours that can be merged are one.

    Parameters:
        merge: returns an unread item and the next one as one item; ``None`` if they cannot be merged.
    """

    def __init__(self, merge: Callable[[T, T], T | None]) -> None:
        self._merge = merge
        self._items: list[T] = []
        self._limit = SLACK
        self._lock = threading.Lock()
        self._waiter: asyncio.Future[None] | None = None
        self._thread_wake: threading.Event | None = None
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T) -> None:
        """Add an item; do nothing if the queue is closed."""
        if self._closed:
            return
        with self._lock:
            items = self._items
            items.append(item)
            if len(items) >= self._limit:
                self._merge_all()
        if self._thread_wake is not None or self._waiter is not None:
            self._notify()

    def close(self, error: BaseException | None = None) -> None:
        """Close the queue, with an error if the producer failed. Unread items are still delivered."""
        if not self._closed:
            self._error = error
            self._closed = True
            self._notify()

    @property
    def closed(self) -> bool:
        """Whether the queue is closed; it may still hold unread items."""
        return self._closed

    async def get_all(self) -> list[T]:
        """Return all unread items, waiting for at least one; an empty list once the queue is closed and empty.

        Raises:
            BaseException: the error that the queue was closed with, after the last item.
        """
        while not self._items and not self._closed:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._take()

    def get_all_blocking(self, limit_sec: float | None) -> list[T]:
        """Return all unread items like :meth:`get_all`, for a consumer in another thread.

        Parameters:
            limit_sec: the longest wait for an item, in seconds; ``None`` for no limit.

        Raises:
            TimeoutError: no item arrived within ``limit_sec``.
            BaseException: the error that the queue was closed with, after the last item.
        """
        if self._thread_wake is None:
            self._thread_wake = threading.Event()
        while not self._items and not self._closed:
            if not self._thread_wake.wait(limit_sec):
                raise TimeoutError
            self._thread_wake.clear()
        return self._take()

    def _merge_all(self) -> None:
        """Merge neighbours. What cannot be merged is not tried again before there is twice as much."""
        merged = self._items[:1]
        for item in self._items[1:]:
            both = self._merge(merged[-1], item)
            if both is None:
                merged.append(item)
            else:
                merged[-1] = both
        self._items = merged
        self._limit = max(SLACK, 2 * len(merged))

    def _take(self) -> list[T]:
        fresh: list[T] = []
        # Allocate nothing under the lock: the garbage collector might close a stream, which waits for the loop.
        with self._lock:
            items, self._items = self._items, fresh
            self._limit = SLACK
        if not items and self._error is not None:
            raise self._error
        return items

    def _notify(self) -> None:
        if self._thread_wake is not None:
            if not self._thread_wake.is_set():  # to set it takes longer than all else here
                self._thread_wake.set()
        elif self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
            self._waiter = None
