"""The contract between a download and a source."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

T = TypeVar("T")

OnBytes = Callable[[int, int], None]
"""Told how many bytes are here, and how many there are in all (0 where that is not known)."""


class SourceUnavailableError(Exception):
    """The source cannot be had; the message says why. The next one is tried."""


class Source(Protocol):
    """A kind of place to fetch from."""

    async def fetch(self, options: dict[str, Any], folder: Path, target: Path, on_bytes: OnBytes) -> str | None:
        """Write the model to ``target``. Cancelling stops everything that was started.

        Parameters:
            options: what the catalog says for this kind of source.
            folder: an empty folder for what is needed on the way; the caller removes it.
            target: the file to write, on the same file system.
            on_bytes: told of progress.

        Returns:
            The SHA-256 that the source itself states for the file, if it does.

        Raises:
            SourceUnavailableError: it cannot be had from here.
        """
        ...


def read_options(options: dict[str, Any], kind: type[T]) -> T:
    """The catalog's options as ``kind``. Raises :class:`SourceUnavailableError` where they are malformed."""
    try:
        return msgspec.convert(options, kind)
    except msgspec.ValidationError as error:
        raise SourceUnavailableError(f"the catalog's options for it are malformed: {error}") from None


async def in_thread(function: Callable[..., None], *arguments: Any) -> None:
    """Run ``function(*arguments, stop)`` in a thread; cancelling sets the event ``stop`` and waits for it."""
    stop = threading.Event()
    work = asyncio.ensure_future(asyncio.to_thread(function, *arguments, stop))
    try:
        await asyncio.shield(work)
    finally:
        stop.set()
        if not work.done():
            await asyncio.wait([work])
