"""The ``file`` source: a copy of a file that this machine can read."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from msgspec import Struct

from ...platform.file_status import path_of_url
from .base import Job, SourceUnavailable, copy_file


class FileSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """
    Parameters:
        path: an absolute path, ``~`` allowed, or a ``file:`` URL.
    """

    path: str

    def __post_init__(self) -> None:
        if not self.location.is_absolute():
            raise ValueError("`path` must be an absolute path or a file: URL")

    @property
    def location(self) -> Path:
        """The path of the file."""
        if self.path.startswith("file:"):
            return path_of_url(self.path)
        return Path(self.path).expanduser()


class FileSource:
    """Copy a file: from a private mirror on a shared drive, or from a memory stick."""

    spec_type: ClassVar[type[Struct]] = FileSpec

    def describe(self, spec: FileSpec) -> str:
        return str(spec.location)

    def space(self, spec: FileSpec, size_bytes: int) -> int:
        return size_bytes

    async def fetch(self, spec: FileSpec, job: Job) -> str | None:
        if not spec.location.is_file():
            raise SourceUnavailable("there is no such file")
        await copy_file(spec.location, job)
        return None
