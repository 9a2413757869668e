"""What happens in a host, for those who watch it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Generator
from typing import Generic, TypeVar

E = TypeVar("E")

BACKLOG = 1000
"""Events that wait for a subscriber who lags, unless it asks for less; older ones are dropped."""


class Subscription(Generic[E]):
    """The events since the subscription, in their order: iterate over it."""

    def __init__(self, backlog: int = BACKLOG) -> None:
        self._waiting: deque[E] = deque(maxlen=backlog)
        self._wake = asyncio.Event()

    def put(self, event: E) -> None:
        self._waiting.append(event)
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[E]:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                yield self._waiting.popleft()


class Events(Generic[E]):
    """One publisher, any number of subscribers. On one event loop."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription[E]] = set()

    @property
    def heard(self) -> bool:
        """Whether anybody listens."""
        return bool(self._subscriptions)

    def publish(self, event: E) -> None:
        """Tell every subscriber. Never waits."""
        for subscription in self._subscriptions:
            subscription.put(event)

    @contextlib.contextmanager
    def subscribe(self, backlog: int = BACKLOG) -> Generator[Subscription[E], None, None]:
        """Hear what is published while the block lasts.

        Parameters:
            backlog: events that wait for one who lags; older ones are dropped.
        """
        subscription: Subscription[E] = Subscription(backlog)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
