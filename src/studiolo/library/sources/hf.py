"""The ``hf`` source: a file in a repository on the Hugging Face hub.

The hub's own client does the work, in a child process, so the user's token, mirror (``HF_ENDPOINT``), proxy and
offline mode (``HF_HUB_OFFLINE``) apply as they do everywhere else. A file that is in the hub's local cache
already is taken from there.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar

import msgspec
from msgspec import Struct

from .base import OnBytes, SourceUnavailable, in_thread
from .child import bytes_in, run_worker

_ENVIRONMENT = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


class HuggingFaceSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """
    Parameters:
        repo: the repository, ``owner/name``.
        file: the path of the GGUF file in it.
        revision: a branch, a tag or a commit.
    """

    repo: str
    file: str
    revision: str = "main"


class _Report(Struct):
    """A line that the worker prints."""

    size: int = 0
    sha256: str | None = None
    path: str | None = None


class HuggingFaceSource:
    """Fetches from the Hugging Face hub."""

    spec_type: ClassVar[type[Struct]] = HuggingFaceSpec

    def describe(self, spec: HuggingFaceSpec) -> str:
        return f"{spec.repo}, {spec.file}"

    def space(self, spec: HuggingFaceSpec, size_bytes: int) -> int:
        return size_bytes

    async def fetch(self, spec: HuggingFaceSpec, folder: Path, target: Path, on_bytes: OnBytes) -> str | None:
        about, path = _Report(), None
        place = folder / "hub"

        def read(line: bytes) -> None:
            nonlocal about, path
            try:
                report = msgspec.json.decode(line, type=_Report)
            except msgspec.MsgspecError:
                return  # something that a library printed
            if report.path:
                path = report.path
            else:
                about = report

        def look() -> None:
            on_bytes(min(bytes_in(place), about.size), about.size)

        arguments = ["hf", spec.repo, spec.file, spec.revision, str(place)]
        await run_worker(arguments, environment=_ENVIRONMENT, on_line=read, on_tick=look)
        if path is None:
            raise SourceUnavailable("the hub's client told no path")
        fetched = Path(path)
        if fetched.resolve().is_relative_to(place.resolve()):
            fetched.replace(target)
        else:
            await in_thread(lambda _: shutil.copyfile(fetched, target))
        on_bytes(about.size, about.size)
        return about.sha256
