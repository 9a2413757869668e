"""How much of a model's file a process has read, as the operating system counts it: for any program."""

from __future__ import annotations

import asyncio
import contextlib
import glob
import mmap
import re
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from ..spec import LoadProgress

INTERVAL_SEC = 0.1

_PAGE_BYTES = mmap.PAGESIZE

ALMOST = 0.99
"""The fraction of a file that is read to its end while the engine is still busy with buffers and a first run."""


@contextlib.asynccontextmanager
async def following(pid: int, model: Path, emit: Callable[[LoadProgress], None] | None) -> AsyncGenerator[None]:
    """Emit how much of the file ``model`` the process ``pid`` has read, until the block is left."""
    if emit is None:
        yield
        return
    task = asyncio.create_task(emit_progress(pid, model, emit), name="load progress")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def emit_progress(pid: int, model: Path, emit: Callable[[LoadProgress], None]) -> None:
    """Emit how much of the file ``model`` the process ``pid`` has read, about ten times a second, until cancelled."""
    files = _files(model)
    size = max(sum(file.stat().st_size for file in files), 1)
    reader = _Reader(pid, {str(file.resolve()) for file in files})
    emitted = -1.0
    while True:
        done = min(await asyncio.to_thread(reader.bytes_done) / size, ALMOST)
        if done > emitted:
            emitted = done
            emit(LoadProgress(done))
        await asyncio.sleep(INTERVAL_SEC)


def _files(model: Path) -> list[Path]:
    shard = re.fullmatch(r"(.+)-00001-of-(\d{5})\.gguf", model.name)
    if shard is None:
        return [model]
    return sorted(model.parent.glob(f"{glob.escape(shard[1])}-?????-of-{shard[2]}.gguf")) or [model]


class _Reader:
    """Counts what a process has read of files. Each look takes the same time, however much is mapped.

    Parameters:
        pid: the process.
        names: the resolved paths of the files.
    """

    def __init__(self, pid: int, names: set[str]) -> None:
        self._pid = pid
        self._names = names
        self._read_before: int | None = None
        self._mapped_before: int | None = None

    def bytes_done(self) -> int:
        """Return the bytes that are there: a file is either read by calls, or mapped."""
        try:
            return max(self._read(), self._mapped())
        except OSError:  # it has ended, or this is not Linux
            return _resident(self._pid)

    def _read(self) -> int:
        match = re.search(r"rchar: (\d+)", self._file("io"))
        read = int(match[1]) if match else 0
        if self._read_before is None:
            self._read_before = read
        return read - self._read_before

    def _mapped(self) -> int:
        """Return by how much the resident pages of files have grown since one of the files was mapped."""
        shared = int(self._file("statm").split()[2]) * _PAGE_BYTES
        if self._mapped_before is None and any(line.split(maxsplit=5)[-1] in self._names for line in self._maps()):
            self._mapped_before = shared
        return 0 if self._mapped_before is None else max(shared - self._mapped_before, 0)

    def _maps(self) -> list[str]:
        return self._file("maps").splitlines()

    def _file(self, name: str) -> str:
        return Path(f"/proc/{self._pid}/{name}").read_text(errors="replace")


def _resident(pid: int) -> int:
    import psutil  # late: not needed on Linux

    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0
