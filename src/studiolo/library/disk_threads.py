"""The threads in which a library reads and writes."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from ..daemon_threads import DaemonThreads

P = ParamSpec("P")
T = TypeVar("T")

TICK_SECONDS = 0.1
"""The interval at which the progress of a piece of work is looked at."""

_THREADS = {"lookups": 1, "steps": 4, "files": 4}


class DiskThreads:
    """Threads for disk work, apart from the event loop's pool, which chat templates and images need.

    Three pools, so that nothing waits for work that takes much longer: look-ups, the short steps of downloads, and
    work on whole files, which takes minutes (hashes, copies, extraction). Threads start when they are first needed.
    """

    def __init__(self) -> None:
        self._pools: dict[str, DaemonThreads] = {}

    async def look_up(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of a look-up. They run one at a time."""
        return await self._submit("lookups", functools.partial(function, *args, **kwargs))

    async def step(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a short step of a download, to its end even when this is cancelled."""
        task = self._submit("steps", functools.partial(function, *args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await _finish(task)
            raise

    async def whole_file(self, work: Callable[[threading.Event], T], on_tick: Callable[[], None] | None = None) -> T:
        """Run ``work`` on a whole file.

        Parameters:
            work: called with an event that is set when this is cancelled; it is waited for then, so that nothing still
                writes when the folder is removed.
            on_tick: called every tenth of a second, in the event loop, while ``work`` waits for a thread and runs.
        """
        stop = threading.Event()
        job = self._pool("files").submit(work, stop)
        task = asyncio.wrap_future(job)
        try:
            while not (await asyncio.wait({task}, timeout=TICK_SECONDS))[0]:
                if on_tick is not None:
                    on_tick()
        except BaseException:
            stop.set()
            if not job.cancel():
                await _finish(task)
            raise
        return task.result()

    def close(self) -> None:
        """End the threads when their work is done. The next call starts others."""
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.shutdown(wait=False)

    def _submit(self, name: str, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._pool(name), work)

    def _pool(self, name: str) -> DaemonThreads:
        if name not in self._pools:
            self._pools[name] = DaemonThreads(_THREADS[name], f"studiolo-{name}")
        return self._pools[name]


async def _finish(task: asyncio.Future[Any]) -> None:
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # marks it as seen: asyncio logs errors that nobody has seen
