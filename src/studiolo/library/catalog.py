"""The catalog: the models whose download sources studiolo knows.

``catalog.toml`` beside this module is the built-in catalog. A file of the same format in the home folder adds entries
and overrides fields of the built-in ones.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta, Struct

from ..domain.models import Domain
from ..settings import with_prefix
from ..struct_types import examined
from ..toml_file import invalid_field, read_toml, unknown_field, wrong_field
from . import sources
from .model import base_key, is_model_file

_BUILT_IN = Path(__file__).with_name("catalog.toml")
"""For errors. It is read as a resource of the package, which may be in an archive."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model that can be downloaded.

    Parameters:
        name: its name in the catalog; :attr:`key` is its key in the library.
        file: its path relative to the models folder.
        sources: the tables of its sources, in the order in which they are tried.
        size_bytes: the size of the GGUF file.
        sha256: its SHA-256, in hex.
        domain: the kind of the model.
        default: whether it is downloaded if a model of its domain is requested without a name.
        description, publisher, license, params, quantization: for listings.
        architecture, context_length, vision, trained_for_tool_use, reasoning: for listings, too.
        added: the day on which the model entered the catalog.
    """

    name: str
    file: str
    sources: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    size_bytes: Annotated[int, Meta(ge=1)] | None = None
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")] | None = None
    domain: Domain = "llm"
    default: bool = False
    description: str = ""
    publisher: str = ""
    license: str = ""
    params: str = ""
    quantization: str = ""
    architecture: str = ""
    context_length: Annotated[int, Meta(ge=1)] | None = None
    vision: bool = False
    trained_for_tool_use: bool = False
    reasoning: bool = False
    added: datetime.date | None = None

    @property
    def key(self) -> str:
        """The key of the model in the library."""
        return with_prefix(self.name) if self.domain == "embedding" else self.name


class Catalog(Mapping[str, Entry]):
    """The entries by name."""

    def __init__(self, entries: dict[str, Entry], defaults: Mapping[Domain, Entry]) -> None:
        self._entries = entries
        self._defaults = defaults

    @classmethod
    def load(cls, user_file: Path | None = None) -> Catalog:
        """Return the built-in catalog, overridden and extended by the user's own.

        Raises:
            ConfigError: the user's file is not a valid catalog; the title names file and field.
        """
        text = resources.files(__package__ or "").joinpath(_BUILT_IN.name).read_text(encoding="utf-8")
        built_in = _tables(_BUILT_IN, tomllib.loads(text))
        own = _tables(user_file, read_toml(user_file)) if user_file is not None else {}
        entries = {name: _entry(_BUILT_IN, name, table) for name, table in built_in.items() if name not in own}
        for name, table in own.items():
            assert user_file is not None
            entries[name] = _entry(user_file, name, {**built_in.get(name, {}), **table})
        # The user's default goes before the built-in one.
        chosen = [entry for name, entry in entries.items() if entry.default and own.get(name, {}).get("default")]
        chosen += [entry for entry in entries.values() if entry.default]
        defaults: dict[Domain, Entry] = {}
        for entry in chosen:
            defaults.setdefault(entry.domain, entry)
        return cls(entries, defaults)

    def default(self, domain: Domain = "llm") -> Entry | None:
        """Return the entry for requests of a model of ``domain`` without a name."""
        return self._defaults.get(domain)

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, name: str) -> Entry | None:
        """Return the entry that ``name`` means: its name, key, ``publisher/name`` or file's path, in any case."""
        wanted = name.strip().casefold()
        for entry in self._entries.values():
            folder = str(PurePosixPath(entry.file).parent)
            names = (entry.name, entry.key, f"{entry.publisher}/{entry.name}", entry.file, folder)
            if wanted in [each.casefold() for each in names]:
                return entry
        return None


def _tables(file: Path, document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    for key in document:
        if key != "models":
            raise unknown_field(file, key, ["models"], "table")
    models = document.get("models", {})
    if not isinstance(models, dict):
        raise wrong_field(file, "models", "it must be a table of models, [models.NAME]")
    tables = cast(dict[str, Any], models)
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise wrong_field(file, f"models.{name}", "it must be a table")
    return tables


def _entry(file: Path, name: str, table: dict[str, Any]) -> Entry:
    field = f"models.{name}"
    if not _NAME.fullmatch(name):
        raise wrong_field(file, field, "a name consists of lower-case letters, digits, '.', '_' and '-'")
    if "name" in table:
        raise wrong_field(file, f"{field}.name", "the table's header is the name")
    try:
        entry = msgspec.convert({**table, "name": name}, examined(Entry))
    except msgspec.ValidationError as error:
        raise invalid_field(file, field, error, Entry.__struct_fields__) from error
    _check_file(file, f"{field}.file", entry)
    for index, source in enumerate(entry.sources):
        try:
            sources.parse(source)
        except msgspec.ValidationError as error:
            raise invalid_field(file, f"{field}.sources[{index}]", error, sources.fields(source)) from error
        except sources.SourceUnavailable as error:
            raise wrong_field(file, f"{field}.sources[{index}].type", error.reason) from error
    return entry


def _check_file(file: Path, field: str, entry: Entry) -> None:
    path = PurePosixPath(entry.file)
    if path.is_absolute() or any(part.startswith(".") for part in path.parts) or not is_model_file(path.name):
        raise wrong_field(file, field, "it must be a relative path to a .gguf file, such as publisher/name/file.gguf")
    key = base_key(path.name)
    if key != entry.name:
        raise wrong_field(file, field, f"a file of this name has the key {key!r}, not {entry.name!r}")
