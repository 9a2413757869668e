"""Partial downloads on disk, which outlive the process that downloads them.

They are in the home's downloads folder. Each file has a folder there, and in it one folder for each source that was
tried: ``FILE-HASH/SOURCE-HASH/``. That has the partial ``model.gguf``, and ``tag``: the version of the content that it
is a part of (the ``ETag``, the hash, or another identifier that the source gives). The file's folder is deleted when
the file is complete, or if the download was not resumed for :data:`KEEP_DAYS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from ..errors import DownloadError
from ..paths import Home, writing_remedy
from ..platform.file_locks import FileLock
from ..platform.file_status import allocated_bytes

KEEP_DAYS = 7
"""Days without a resumed download after which a partial file is deleted."""

FILE_NAME = "model.gguf"
_TAG = "tag"

_CHUNK = 1 << 20
_LOCK_POLL_SECONDS = 0.2


def folder_of(home: Home, file: str) -> Path:
    """Return the folder of the partial downloads of ``file``, a path relative to the models folder."""
    return home.downloads / f"{PurePosixPath(file).name}-{_short_hash(file)}"


def source_folder(folder: Path, table: dict[str, Any]) -> Path:
    """Return the folder of one source's partial download, in the folder of its file."""
    return folder / _short_hash(msgspec.json.encode(table, order="deterministic"))


def resume_at(target: Path, tag: str | None) -> int:
    """Return the size of ``target`` if it has the same ``tag``, so that the download can be resumed; else delete it.

    Parameters:
        target: the partial file, in a folder of its own.
        tag: the version of the content to download; ``None`` if it is not known.
    """
    if tag is not None and kept_tag(target) == tag:
        with contextlib.suppress(OSError):
            return target.stat().st_size
    start_over(target, tag)
    return 0


def start_over(target: Path, tag: str | None) -> None:
    """Delete ``target``, and note that the next one will be of the version ``tag``."""
    target.unlink(missing_ok=True)  # first: a tag must never be beside a file of another version
    if tag is None:
        _tag_file(target).unlink(missing_ok=True)
    else:
        note(target, tag)


def note(target: Path, tag: str) -> None:
    """Note the version of the content that ``target`` is a part of."""
    place = _tag_file(target)
    new = place.with_suffix(".new")
    new.write_text(tag, encoding="utf-8", errors="surrogateescape")
    new.replace(place)


def kept_tag(target: Path) -> str | None:
    """Return the version of the content that ``target`` is a part of, if it is known."""
    try:
        return _tag_file(target).read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError):
        return None


def _tag_file(target: Path) -> Path:
    return target.with_name(_TAG)


def _short_hash(text: str | bytes) -> str:
    return hashlib.sha256(text if isinstance(text, bytes) else text.encode()).hexdigest()[:12]


def bytes_in(folder: Path) -> int:
    """Return the bytes of all files under ``folder``. Of a file that is allocated in advance, written bytes count."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                status = Path(path, name).stat()
                total += min(status.st_size, allocated_bytes(status))
    return total


def sha256_of(file: Path, stop: threading.Event | None = None) -> str:
    """Return the SHA-256 of ``file``, in hex; ends early (with a useless result) when ``stop`` is set."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while (chunk := stream.read(_CHUNK)) and not (stop and stop.is_set()):
            digest.update(chunk)
    return digest.hexdigest()


def prune(folder: Path) -> None:
    """Delete what a later download cannot resume, in the folder of a file."""
    with contextlib.suppress(OSError):
        for each in folder.iterdir():
            if not any(each.rglob(_TAG)):
                shutil.rmtree(each, ignore_errors=True)
        folder.rmdir()  # if nothing is left


def clean(home: Home, now: float | None = None) -> None:
    """Delete the partial downloads that were not resumed for :data:`KEEP_DAYS`."""
    oldest = (time.time() if now is None else now) - KEEP_DAYS * 86400
    with contextlib.suppress(OSError):
        for each in home.downloads.iterdir():
            if _newest(each) >= oldest:
                continue
            folder = each.with_suffix("") if each.suffix == ".lock" else each  # a lock of a killed process
            lock = _try_lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                lock.release(delete=True)


def _newest(folder: Path) -> float:
    times = [0.0]
    for path, _, names in os.walk(folder):
        for each in (Path(path), *(Path(path, name) for name in names)):
            with contextlib.suppress(OSError):
                times.append(each.stat().st_mtime)
    return max(times)


@contextlib.asynccontextmanager
async def fetch_lock(folder: Path, on_wait: Callable[[], None] | None = None) -> AsyncGenerator[None]:
    """Lock ``folder``, the folder of a file, for writing. The system releases the lock when the process dies.

    Parameters:
        folder: see :func:`folder_of`.
        on_wait: called five times a second while another download, in this process or in another, holds the lock.

    Raises:
        DownloadError: the downloads folder is not writable.
    """
    while True:
        with writable(folder.parent):
            lock = _try_lock(folder)
        if lock is not None:
            break
        if on_wait is not None:
            on_wait()
        await asyncio.sleep(_LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        lock.release(delete=True)


def _try_lock(folder: Path) -> FileLock | None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock.try_acquire(folder.with_name(f"{folder.name}.lock"))


@contextlib.contextmanager
def writable(folder: Path) -> Generator[None]:
    """Turn a failure to write to ``folder``, with which no other source can help, into a DownloadError."""
    try:
        yield
    except OSError as error:
        raise DownloadError(
            f"{folder} cannot be written to",
            cause=error.strerror or str(error),
            suggestion=writing_remedy(error, folder),
        ) from error
