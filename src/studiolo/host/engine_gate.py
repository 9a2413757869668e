"""Who may use an engine: many at once, or one alone to restart it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque


class EngineGate:
    """A lock with two modes: any number of users share it, or one has it alone. First come, first served."""

    def __init__(self) -> None:
        self.users = 0
        self.taken_alone = False
        self._queue: deque[tuple[asyncio.Future[None], bool]] = deque()

    async def enter(self, *, alone: bool = False) -> None:
        """Wait for a turn. Each entry must be followed by :meth:`leave`."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((granted, alone))
        self._admit()
        try:
            await granted
        except BaseException:
            if granted.done() and not granted.cancelled():  # granted as its waiter was cancelled
                self.leave()
            else:
                with contextlib.suppress(ValueError):  # an admission meanwhile has dropped it
                    self._queue.remove((granted, alone))
                self._admit()
            raise

    def share(self) -> None:
        """Admit others beside the one that has entered alone."""
        self.taken_alone = False
        self._admit()

    def leave(self) -> None:
        self.users -= 1
        self.taken_alone = False
        self._admit()

    def _admit(self) -> None:
        while self._queue and not self.taken_alone:
            granted, alone = self._queue[0]
            if granted.cancelled():  # its waiter is yet to run
                self._queue.popleft()
                continue
            if alone and self.users:
                return
            self._queue.popleft()
            self.users += 1
            self.taken_alone = alone
            granted.set_result(None)
