"""What a source of models is.

A source is a class named by an entry point in the group ``studiolo.sources``; the entry point's name is the ``type`` of
the source in the catalog. An entry in the catalog carries a table of settings for the source, its *spec*, which is
checked against the source's ``spec_type``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from msgspec import Struct

from .. import partial_downloads as partial

T = TypeVar("T")

_CHUNK = 1 << 20

OnBytes = Callable[[int, int], None]
"""Told the bytes fetched so far and in all (0 where that is not known), on the event loop's thread."""

TICK_SECONDS = 0.1
"""How often the growth of a file is looked at."""


class SourceUnavailable(Exception):
    """The source cannot give the model now. The next one is tried, and ``reason`` is told if all fail."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Job(Struct, frozen=True, kw_only=True):
    """A file to fetch.

    Parameters:
        target: where it goes. The folder is the fetch's own, and holds what an earlier one from the same place has left
            there; when a fetch fails or is cancelled, what a later one can go on from shall stay, and nothing else.
        on_bytes: to be told of progress.
        size_bytes, sha256: what is known of the file beforehand. It is checked by the caller.
    """

    target: Path
    on_bytes: OnBytes
    size_bytes: int | None = None
    sha256: str | None = None


class Source(Protocol):
    """A kind of place to fetch models from."""

    spec_type: ClassVar[type[Struct]]
    """The settings that an entry in the catalog gives to this source."""

    def describe(self, spec: Any) -> str:
        """The place that ``spec`` means, for messages."""
        ...

    def space(self, spec: Any, size_bytes: int) -> int:
        """The bytes of disk that a fetch takes at its height, for a model of ``size_bytes``."""
        ...

    async def fetch(self, spec: Any, job: Job) -> str | None:
        """Fetch the model.

        Parameters:
            spec: an instance of ``spec_type``.
            job: what is asked for.

        Returns:
            The sha256 that the source itself states for the file, in hex, if it states one.

        Raises:
            SourceUnavailable: this source cannot give the model. An ``OSError`` counts as the same.
        """
        ...


async def in_thread(work: Callable[[threading.Event], T], on_tick: Callable[[], None] | None = None) -> T:
    """Run ``work`` in a thread and call ``on_tick`` (on the event loop) while it lasts.

    When this is cancelled, the event that ``work`` was given is set, and ``work`` is waited for, so that nothing
    still writes when the folder is removed.
    """
    stop = threading.Event()
    task = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        while not (await asyncio.wait({task}, timeout=TICK_SECONDS))[0]:
            if on_tick is not None:
                on_tick()
    except BaseException:
        stop.set()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not complain
        raise
    return task.result()


async def copy_file(source: Path, job: Job) -> None:
    """Copy ``source`` to the job's target, going on from what is there of the same file."""
    status = source.stat()
    copied = 0

    def copy(stop: threading.Event) -> None:
        nonlocal copied
        copied = partial.resume_at(job.target, f"{status.st_size} bytes of {status.st_mtime_ns}")
        with source.open("rb") as stream, job.target.open("ab") as sink:
            stream.seek(copied)
            while (chunk := stream.read(_CHUNK)) and not stop.is_set():
                copied += sink.write(chunk)

    await in_thread(copy, lambda: job.on_bytes(copied, status.st_size))
    job.on_bytes(copied, status.st_size)
