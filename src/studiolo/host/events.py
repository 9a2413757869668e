"""Publish events to any number of subscribers, who may lag."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Generator
from typing import Generic, TypeVar

E = TypeVar("E")

BACKLOG = 1000
"""Events that wait for a lagging subscriber by default; older ones are dropped."""


class Subscription(Generic[E]):
    """The events since the subscription, in order: iterate over it."""

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
    def subscribed(self) -> bool:
        """Whether there is a subscriber."""
        return bool(self._subscriptions)

    def publish(self, event: E) -> None:
        """Send an event to every subscriber, without waiting."""
        for subscription in self._subscriptions:
            subscription.put(event)

    @contextlib.contextmanager
    def subscribe(self, backlog: int = BACKLOG) -> Generator[Subscription[E], None, None]:
        """Receive what is published while the block lasts.

        Parameters:
            backlog: events that wait for a lagging reader; older ones are dropped.
        """
        subscription: Subscription[E] = Subscription(backlog)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
