"""Downloads that were begun on a page. They continue when it is closed, and end with the pages."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from typing import Literal

from ...errors import StudioloError
from ...protocol.repository import DownloadProgressUpdate
from ..backend import backend
from ..notices import describe
from ..tasks import begin
from ..watchers import Watchers

MAX_LISTED = 50
"""Downloads that are listed; those that have ended are forgotten first."""

SHOW_INTERVAL_SEC = 0.5
"""Between two updates of pages with the progress of a download."""

State = Literal["downloading", "verifying", "paused", "failed", "done"]

watchers = Watchers()
"""The pages that show the downloads."""

_numbers = itertools.count(1)


@dataclass(eq=False)
class Download:
    """A download.

    Parameters:
        name: what is downloaded, as the host names it.

    Attributes:
        progress: what is there; ``None`` before the first report.
        outcome: the key of the model that is there, or what went wrong.
    """

    name: str
    number: int = field(default_factory=lambda: next(_numbers))
    state: State = "downloading"
    progress: DownloadProgressUpdate | None = None
    outcome: str = ""
    _task: asyncio.Task[None] | None = None
    _shown: float = 0.0

    @property
    def fraction(self) -> float | None:
        """How much of it is there, 0 to 1; ``None`` if that is not known."""
        if self.progress is None or not self.progress.total_bytes:
            return None
        return self.progress.downloaded_bytes / self.progress.total_bytes

    @property
    def runs(self) -> bool:
        """Whether it is under way."""
        return self.state in ("downloading", "verifying")

    def resume(self) -> None:
        """Begin it, or continue it where it was paused."""
        if self._task is None or self._task.done():
            self._change("downloading")
            self.outcome = ""
            self._task = begin(self._run(), f"download {self.name}")

    async def pause(self) -> None:
        """Stop it. What is there is kept, and :meth:`resume` continues it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self.runs:  # it was stopped before it ran
            self._change("paused")

    def _change(self, state: State) -> None:
        self.state = state
        watchers.call()

    def _take(self, progress: DownloadProgressUpdate) -> None:
        self.progress = progress
        now = time.monotonic()
        if now - self._shown > SHOW_INTERVAL_SEC:
            self._shown = now
            watchers.call()

    async def _run(self) -> None:
        try:
            repository = backend().client.repository
            self.outcome = await repository.download(self.name, self._take, lambda: self._change("verifying"))
            self._change("done")
        except asyncio.CancelledError:
            self._change("paused")
            raise
        except StudioloError as error:
            self.outcome = describe(error)
            self._change("failed")


_downloads: list[Download] = []


def downloads() -> list[Download]:
    """Return those that are listed, the newest first."""
    return _downloads[::-1]


def begin_download(name: str) -> Download:
    """Begin a download, or resume the one of this name."""
    download = next((each for each in _downloads if each.name == name and each.state != "done"), None)
    if download is None:
        download = Download(name)
        _downloads.append(download)
        ended = [each for each in _downloads if not each.runs and each is not download]
        for each in ended[: max(len(_downloads) - MAX_LISTED, 0)]:
            _downloads.remove(each)
    download.resume()
    return download


async def remove_download(download: Download) -> None:
    """Take a download from the list, paused if it runs. What is there of it is kept on disk for some days."""
    await download.pause()
    if download in _downloads:
        _downloads.remove(download)
    watchers.call()


async def stop_downloads() -> None:
    """Pause all of them, at the end of the pages."""
    for download in _downloads:
        await download.pause()
    _downloads.clear()
