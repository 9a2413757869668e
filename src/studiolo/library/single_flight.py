"""One piece of work for many who ask for it at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from ..domain.progress import DownloadProgress
from .downloads import OnProgress

T = TypeVar("T")

log = logging.getLogger(__name__)


class Fetch(Generic[T]):
    """A fetch in progress, and all who wait for it."""

    def __init__(self) -> None:
        self.task: asyncio.Task[T] | None = None
        self.waiting = 0
        self.finalizing = False
        self.on_progress: list[OnProgress] = []
        self.on_finalizing: list[Callable[[], None]] = []

    def progress(self, update: DownloadProgress) -> None:
        """Tell all of them how far it is."""
        for listener in tuple(self.on_progress):
            _tell(lambda listener=listener: listener(update))

    def finalize(self) -> None:
        """Tell all of them that it is being checked."""
        if not self.finalizing:
            self.finalizing = True
            for listener in tuple(self.on_finalizing):
                _tell(listener)


def _tell(listener: Callable[[], None]) -> None:
    try:
        listener()
    except Exception:  # it is one of several who wait for the same download
        log.exception("A listener to a download failed")


class SharedFetches(Generic[T]):
    """The fetches in progress, by name. Used from one event loop."""

    def __init__(self) -> None:
        self._fetches: dict[str, Fetch[T]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._fetches

    async def join(
        self,
        name: str,
        work: Callable[[Fetch[T]], Awaitable[T]],
        on_progress: OnProgress | None,
        on_finalizing: Callable[[], None] | None,
    ) -> T:
        """Wait for the fetch ``name``, which ``work`` begins if nobody has. It is given up when the last one who waits
        for it is cancelled."""
        fetch = self._fetches.get(name)
        if fetch is None:
            fetch = self._fetches[name] = Fetch()
            fetch.task = asyncio.create_task(self._run(name, fetch, work))
        assert fetch.task is not None
        if on_progress is not None:
            fetch.on_progress.append(on_progress)
        if on_finalizing is not None:
            fetch.on_finalizing.append(on_finalizing)
            if fetch.finalizing:
                _tell(on_finalizing)
        fetch.waiting += 1
        try:
            return await asyncio.shield(fetch.task)
        finally:
            fetch.waiting -= 1
            if on_progress is not None:
                fetch.on_progress.remove(on_progress)
            if on_finalizing is not None:
                fetch.on_finalizing.remove(on_finalizing)
            if not fetch.waiting and not fetch.task.done():
                self._forget(name, fetch)  # who asks from now on starts anew
                fetch.task.cancel()
                await asyncio.gather(fetch.task, return_exceptions=True)

    async def close(self) -> None:
        """Stop the fetches that are under way."""
        tasks = [fetch.task for fetch in self._fetches.values() if fetch.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, name: str, fetch: Fetch[T], work: Callable[[Fetch[T]], Awaitable[T]]) -> T:
        try:
            return await work(fetch)
        finally:
            self._forget(name, fetch)

    def _forget(self, name: str, fetch: Fetch[T]) -> None:
        if self._fetches.get(name) is fetch:
            del self._fetches[name]
