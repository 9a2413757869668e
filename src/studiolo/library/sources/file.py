"""``file``: a file on this machine or a mounted share. Options: ``path``."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from msgspec import Struct

from .base import OnBytes, SourceUnavailableError, in_thread, read_options

CHUNK_BYTES = 4 * 2**20


class FileOptions(Struct, forbid_unknown_fields=True):
    path: str


class FileSource:
    """Copies a file."""

    async def fetch(self, options: dict[str, Any], folder: Path, target: Path, on_bytes: OnBytes) -> str | None:
        """See :meth:`.base.Source.fetch`."""
        source = Path(read_options(options, FileOptions).path).expanduser()
        loop = asyncio.get_running_loop()

        def copy(stop: threading.Event) -> None:
            total = source.stat().st_size
            with source.open("rb") as reader, target.open("wb") as writer:
                done = 0
                while not stop.is_set() and (chunk := reader.read(CHUNK_BYTES)):
                    writer.write(chunk)
                    done += len(chunk)
                    loop.call_soon_threadsafe(on_bytes, done, total)

        try:
            await in_thread(copy)
        except OSError as error:
            raise SourceUnavailableError(f"{source}: {error.strerror or error}") from None
        return None
