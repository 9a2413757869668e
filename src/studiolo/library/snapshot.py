"""The models at one moment, for look-ups in memory."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from ..domain.models import Domain
from ..settings import Program
from .catalog import Catalog
from .file_stamps import FileStamps
from .model import Model
from .name_resolution import NameIndex
from .other_programs import program_files
from .scan import File, scan


class ModelFolder(NamedTuple):
    """A folder with models, and where they belong."""

    path: Path
    origin: Literal["home", "folder"] | Program

    def files(self, stamps: FileStamps) -> list[File]:
        """Return its GGUF files; ``stamps`` keeps what was looked at."""
        if self.origin in ("home", "folder"):
            return scan(self.path, self.origin, stamps)
        return program_files(self.origin, self.path, stamps)


class Snapshot:
    """The models at one moment, and what they depend on."""

    def __init__(
        self,
        models: list[Model],
        catalog: Catalog,
        folders: list[ModelFolder],
        last_variants: dict[str, str],
        domains: dict[str, Domain],
        stamps: FileStamps,
        *,
        knows_all: bool = False,
    ) -> None:
        self.models = models
        self.catalog = catalog
        self.folders = folders
        self.last_variants = last_variants
        self.domains = domains
        self.stamps = stamps
        self.knows_all = knows_all

    @cached_property
    def names(self) -> NameIndex:
        return NameIndex(self.models)

    @cached_property
    def by_path(self) -> dict[Path, Model]:
        return {model.path: model for model in self.models}

    @cached_property
    def by_real_path(self) -> dict[Path, Model]:
        return {model.path.resolve(): model for model in reversed(self.models)}
