"""The contract of a source of models.

A source is a class, registered by an entry point in the group ``studiolo.sources`` (the built-in ones in a table). The
name of the entry point is the ``type`` of the source in the catalog. An entry of the catalog has a table of settings
for each of its sources, the *spec*, which is checked against the source's ``spec_type``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol

from msgspec import Struct

from ...platform.file_status import share_no_further
from ..disk_threads import DiskThreads
from ..file_kind import SAMPLE_BYTES, file_kind
from ..partial_downloads import resume_at

_CHUNK = 1 << 20

OnBytes = Callable[[int, int], None]
"""Called with the bytes fetched so far and the total (0 if it is not known), in the event loop."""


class SourceUnavailable(Exception):
    """The source cannot provide the file now. The next one is tried; if all fail, the error includes ``reason``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Job(Struct, frozen=True, kw_only=True):
    """A file to fetch.

    Parameters:
        target: the path to write to. Its folder is this download's own and holds what an earlier download from the
            same source left. After a failure or a cancellation, what a later download can resume must stay there, and
            nothing else.
        on_bytes: to report progress with.
        threads: for disk work.
        size_bytes, sha256: the expected size and hash, if they are known. The caller verifies them.
    """

    target: Path
    on_bytes: OnBytes
    threads: DiskThreads
    size_bytes: int | None = None
    sha256: str | None = None


class Source(Protocol):
    """A kind of place to download models from."""

    spec_type: ClassVar[type[Struct]]
    """The settings of this source in an entry of the catalog."""

    def describe(self, spec: Any) -> str:
        """Return the place that ``spec`` means, for messages."""
        ...

    def space(self, spec: Any, size_bytes: int) -> int:
        """Return the peak disk usage, in bytes, of a download of ``size_bytes``."""
        ...

    async def fetch(self, spec: Any, job: Job) -> str | None:
        """Download the file.

        Parameters:
            spec: an instance of ``spec_type``.
            job: the file.

        Returns:
            The SHA-256 that the source itself states for the file, in hex, if it states one.

        Raises:
            SourceUnavailable: the source cannot provide the file. An ``OSError`` counts as the same.
        """
        ...


async def copy_file(source: Path, job: Job) -> None:
    """Copy ``source``, a GGUF file, to the job's target, resuming an earlier copy of the same file.

    Others can do no more with the copy than with the file.

    Raises:
        SourceUnavailable: the file is of another kind; nothing of it has been copied.
    """
    status = source.stat()
    copied = 0
    kind = await job.threads.step(_other_kind, source)
    if kind is not None:
        raise SourceUnavailable(f"it is not a GGUF file: it is {kind}")

    def copy(stop: threading.Event) -> None:
        nonlocal copied
        copied = resume_at(job.target, f"{status.st_size} bytes of {status.st_mtime_ns}")
        with source.open("rb") as stream, job.target.open("ab") as sink:
            share_no_further(job.target, status)
            stream.seek(copied)
            while (chunk := stream.read(_CHUNK)) and not stop.is_set():
                copied += sink.write(chunk)

    await job.threads.whole_file(copy, lambda: job.on_bytes(copied, status.st_size))
    job.on_bytes(copied, status.st_size)


def _other_kind(source: Path) -> str | None:
    """Return what a file is that is not a GGUF file."""
    with source.open("rb") as stream:
        start = stream.read(SAMPLE_BYTES)
    return None if start.startswith(b"GGUF") else file_kind(start)
