"""The slots of an instance, and the queue for them: bounded, and fair between clients."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from ..errors import BusyError
from ..settings import LimitSettings


@dataclass(eq=False)
class Ticket:
    """One who waits for a slot."""

    client: str
    owner: object
    granted: asyncio.Future[None]
    since: float = field(default_factory=time.monotonic)

    @property
    def waited_sec(self) -> float:
        return time.monotonic() - self.since


class Slots:
    """So many predictions run at once; further ones wait.

    Clients take turns: one that asks for a hundred predictions delays another's first by one, not by a hundred.

    Parameters:
        name: the instance's, for messages.
        count: how many run at once.
    """

    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self.count = count
        self.running = 0
        self._queues: OrderedDict[str, deque[Ticket]] = OrderedDict()  # the client whose turn it is comes first

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(len(queue) for queue in self._queues.values())

    def place(self, owner: object) -> int | None:
        """Return the place of ``owner`` in the queue, counted from 1; ``None`` where it does not wait."""
        if not self._queues:
            return None
        for place, ticket in enumerate(self.queue(), 1):
            if ticket.owner is owner:
                return place
        return None

    def queue(self) -> list[Ticket]:
        """Those who wait, in the order of their turns."""
        rounds: list[Ticket] = []
        queues = [list(queue) for queue in self._queues.values()]
        for turn in range(max(map(len, queues), default=0)):
            rounds += [queue[turn] for queue in queues if turn < len(queue)]
        return rounds

    @contextlib.asynccontextmanager
    async def slot(self, client: str, owner: object, limits: LimitSettings | None) -> AsyncGenerator[None]:
        """Wait for a slot and hold it.

        Parameters:
            client: who asks; clients take turns.
            owner: what asks, for :meth:`place`.
            limits: how many may wait, and how long; ``None`` for any number and for ever.

        Raises:
            BusyError: too many wait already, or no slot came free in time.
        """
        await self._acquire(client, owner, limits)
        try:
            yield
        finally:
            self.running -= 1
            self._grant()

    async def _acquire(self, client: str, owner: object, limits: LimitSettings | None) -> None:
        if self.running < self.count and not self._queues:
            self.running += 1
            return
        waiting = self.waiting
        if limits is not None and waiting >= limits.queue_length:
            raise self._busy(f"{self.running} predictions run and {waiting} wait, which is the limit", waiting)
        ticket = Ticket(client, owner, asyncio.get_running_loop().create_future())
        self._queues.setdefault(client, deque()).append(ticket)
        try:
            async with asyncio.timeout(limits.queue_wait_sec if limits is not None else None):
                await ticket.granted
        except BaseException as error:
            if ticket.granted.done() and not ticket.granted.cancelled():  # granted as it was given up
                self.running -= 1
                self._grant()
            else:
                self._forget(ticket)
            if isinstance(error, TimeoutError) and limits is not None:
                cause = f"No slot came free within {limits.queue_wait_sec:g} s; {self.waiting} others wait"
                raise self._busy(cause, self.waiting) from None
            raise

    def _grant(self) -> None:
        while self.running < self.count and self._queues:
            client, queue = self._queues.popitem(last=False)
            ticket = queue.popleft()
            if queue:
                self._queues[client] = queue  # at the end: the others come first
            if not ticket.granted.done():
                ticket.granted.set_result(None)
                self.running += 1

    def _forget(self, ticket: Ticket) -> None:
        queue = self._queues.get(ticket.client)
        if queue is not None:
            with contextlib.suppress(ValueError):
                queue.remove(ticket)
            if not queue:
                del self._queues[ticket.client]

    def _busy(self, cause: str, waiting: int) -> BusyError:
        return BusyError(
            f"{self.name} is busy",
            cause=cause,
            suggestion="Try again later, or load the model with more max_parallel_predictions.",
            data={"running": self.running, "waiting": waiting, "parallel": self.count},
        )
