"""Run one piece of work for several callers at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from ..domain.progress import DownloadProgress
from .downloads import OnProgress

T = TypeVar("T")

log = logging.getLogger(__name__)


class Flight(Generic[T]):
    """A download in progress, and the callers that wait for it."""

    def __init__(self) -> None:
        self.task: asyncio.Task[T] | None = None
        self.waiting = 0
        self.finalizing = False
        self.on_progress: list[OnProgress] = []
        self.on_finalizing: list[Callable[[], None]] = []

    def progress(self, progress: DownloadProgress) -> None:
        """Call the progress callbacks of all callers."""
        for callback in tuple(self.on_progress):
            _call(lambda callback=callback: callback(progress))

    def finalize(self) -> None:
        """Call the callbacks of all callers for the start of the verification."""
        if not self.finalizing:
            self.finalizing = True
            for callback in tuple(self.on_finalizing):
                _call(callback)


def _call(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:  # a caller's mistake must not end the download of the others
        log.exception("A callback of a download failed")


class SingleFlight(Generic[T]):
    """The downloads in progress, by name. Use it from one event loop."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight[T]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._flights

    async def join(
        self,
        name: str,
        work: Callable[[Flight[T]], Awaitable[T]],
        on_progress: OnProgress | None,
        on_finalizing: Callable[[], None] | None,
    ) -> T:
        """Wait for the download ``name``, and start it if it is not in progress.

        It is cancelled when the last waiting call is cancelled.

        Parameters:
            name: the download's name.
            work: starts it.
            on_progress: called with the progress.
            on_finalizing: called when the verification starts, or at once if it has started.
        """
        flight = self._flights.get(name)
        if flight is None:
            flight = self._flights[name] = Flight()
            flight.task = asyncio.create_task(self._run(name, flight, work))
        assert flight.task is not None
        if on_progress is not None:
            flight.on_progress.append(on_progress)
        if on_finalizing is not None:
            flight.on_finalizing.append(on_finalizing)
            if flight.finalizing:
                _call(on_finalizing)
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if on_progress is not None:
                flight.on_progress.remove(on_progress)
            if on_finalizing is not None:
                flight.on_finalizing.remove(on_finalizing)
            if not flight.waiting and not flight.task.done():
                self._forget(name, flight)  # later calls start another one
                flight.task.cancel()
                await asyncio.gather(flight.task, return_exceptions=True)

    async def close(self) -> None:
        """Cancel the downloads in progress."""
        tasks = [flight.task for flight in self._flights.values() if flight.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, name: str, flight: Flight[T], work: Callable[[Flight[T]], Awaitable[T]]) -> T:
        try:
            return await work(flight)
        finally:
            self._forget(name, flight)

    def _forget(self, name: str, flight: Flight[T]) -> None:
        if self._flights.get(name) is flight:
            del self._flights[name]
