"""What the host does: looked at by one task for all pages, more often while a page shows it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from nicegui import ui

from ..errors import StudioloError
from ..protocol.system import HostInfo
from .backend import backend
from .history import history
from .tasks import begin
from .watchers import Changed, Watchers

BUSY_SEC = 1.0
"""Seconds between two looks while a page shows the host, and it does something."""

QUIET_SEC = 3.0
"""Seconds between two looks while a page shows the host, and it does nothing."""

UNWATCHED_SEC = 10.0
"""Seconds between two looks otherwise."""

_log = logging.getLogger("studiolo.pages")


class Monitor:
    """Looks at the host again and again."""

    def __init__(self) -> None:
        self.latest: HostInfo | None = None
        """What was seen last; ``None`` before the first look, and of hosts that are not studiolo's."""
        self._watchers = Watchers()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_quiet = False

    def start(self) -> None:
        """Begin to look."""
        self._task = begin(self._run(), "look at the host")

    async def stop(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def show(self, changed: Changed) -> None:
        """Call ``changed`` in the context of the current page after each look, until the page is closed."""
        self._watchers.add_page(changed)
        client: Any = ui.context.client  # its types are unknown
        client.on_connect(self.look_now)

    def look_now(self) -> None:
        """Look at once: something has changed."""
        self._wake.set()

    async def look(self) -> HostInfo | None:
        """Look, and return what is seen."""
        before = self.latest
        self.latest = (await backend().client.system.info()).studiolo
        self._is_quiet = _work(before) == _work(self.latest)
        if self.latest is not None:
            history().add(self.latest)
        return self.latest

    @property
    def _pause_sec(self) -> float:
        if not self._watchers.are_there:
            return UNWATCHED_SEC
        return QUIET_SEC if self._is_quiet else BUSY_SEC

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self.look()
                self._watchers.call()
            except StudioloError as error:  # it may be busy, or about to end
                _log.debug("the host cannot be looked at: %s", error)
            try:
                async with asyncio.timeout(self._pause_sec):
                    await self._wake.wait()
            except TimeoutError:
                pass


def _work(info: HostInfo | None) -> list[tuple[str, str, int, int]]:
    """Return what differs from look to look while a host does something."""
    instances = info.instances if info else []
    return [(each.identifier, each.state, each.generated_tokens, len(each.queue)) for each in instances]


_monitors: list[Monitor] = []


def start_monitor() -> None:
    """Begin to look at the host, at the start of the pages."""
    _monitors[:] = [Monitor()]
    _monitors[0].start()


async def stop_monitor() -> None:
    """Stop it, at the end of the pages."""
    for each in _monitors:
        await each.stop()


def monitor() -> Monitor:
    """Return the monitor, while the pages are served."""
    return _monitors[0]
