"""How much of a model's file a process has read, as the operating system counts it: for any program."""

from __future__ import annotations

import asyncio
import contextlib
import glob
import re
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from ..spec import LoadProgress

INTERVAL_SEC = 0.1

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
    names = {str(file.resolve()) for file in files}
    begin: int | None = None
    emitted = -1.0
    while True:
        read, mapped = await asyncio.to_thread(_read_and_mapped, pid, names)
        if begin is None:
            begin = read
        done = min(max(mapped, read - begin) / size, ALMOST)  # a file is either mapped or read
        if done > emitted:
            emitted = done
            emit(LoadProgress(done))
        await asyncio.sleep(INTERVAL_SEC)


def _files(model: Path) -> list[Path]:
    shard = re.fullmatch(r"(.+)-00001-of-(\d{5})\.gguf", model.name)
    if shard is None:
        return [model]
    return sorted(model.parent.glob(f"{glob.escape(shard[1])}-?????-of-{shard[2]}.gguf")) or [model]


def _read_and_mapped(pid: int, names: set[str]) -> tuple[int, int]:
    """Return the bytes that the process has read by calls, and the resident bytes of its mapped files."""
    try:
        return _read_calls(pid), _mapped(pid, names)
    except OSError:  # it has ended, or this is not Linux
        return _resident(pid), 0


def _read_calls(pid: int) -> int:
    match = re.search(r"rchar: (\d+)", Path(f"/proc/{pid}/io").read_text())
    return int(match[1]) if match else 0


def _mapped(pid: int, names: set[str]) -> int:
    present, counts = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text(errors="replace").splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            counts = line.split(maxsplit=5)[-1] in names
        elif counts and line.startswith("Rss:"):
            present += int(line.split()[1]) * 1024
    return present


def _resident(pid: int) -> int:
    import psutil  # late: not needed on Linux

    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0
