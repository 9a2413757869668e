"""Work for clients that do not wait for it: they ask for it by a key."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from ..errors import BusyError

MAX_JOBS = 100
"""Jobs at once."""


@dataclass(frozen=True)
class Job:
    """Work under way.

    Parameters:
        subject: what is worked on.
        task: the work.
    """

    subject: Any
    task: asyncio.Task[None]


class BackgroundWork:
    """The work of a host that nobody waits for. It is forgotten when it ends."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[str, ...], Job] = {}

    def begin(self, key: tuple[str, ...], subject: Any, work: Coroutine[Any, Any, None]) -> None:
        """Begin a job.

        Parameters:
            key: whose it is, and its id.
            subject: what is worked on, for those who ask.

        Raises:
            BusyError: there are too many.
        """
        if len(self._jobs) >= MAX_JOBS:
            work.close()
            raise BusyError(f"{MAX_JOBS} jobs run in the background", suggestion="Wait until one of them ends.")
        task = asyncio.create_task(work, name=f"in the background: {key[-1]}")
        self._jobs[key] = Job(subject, task)
        task.add_done_callback(lambda _: self._jobs.pop(key, None))

    def get(self, key: tuple[str, ...]) -> Job | None:
        """Return a job; ``None`` where there is none, or no longer one."""
        return self._jobs.get(key)

    async def cancel(self, key: tuple[str, ...]) -> None:
        """End a job, and wait for that."""
        if (job := self._jobs.get(key)) is not None:
            job.task.cancel()
            await asyncio.wait([job.task])

    async def close(self) -> None:
        """End all."""
        for key in list(self._jobs):
            await self.cancel(key)
