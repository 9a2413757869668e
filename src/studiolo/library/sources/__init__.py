"""Where models come from: one module a source. Other packages add sources by entry point."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint
from typing import Any, cast

import msgspec
from msgspec import Struct

from ...plugins import find
from ...struct_types import examined
from .base import Source, SourceUnavailable

__all__ = ["Source", "SourceUnavailable", "fields", "parse", "source_names"]

GROUP = "studiolo.sources"
"""The entry point group by which other packages add sources."""

BUILT_IN = {
    "file": ".library.sources.file:FileSource",
    "hf": ".library.sources.hf:HuggingFaceSource",
    "https": ".library.sources.https:HttpsSource",
    "pypi": ".library.sources.pypi:PypiSource",
}


@cache
def _registered() -> dict[str, EntryPoint]:
    return find(GROUP, BUILT_IN)


def source_names() -> list[str]:
    """Return the types of the sources that there are."""
    return sorted(_registered())


@cache
def _source(kind: str) -> Source:
    return cast(Source, _registered()[kind].load()())


def parse(table: dict[str, Any]) -> tuple[Source, Struct]:
    """The source that a table in the catalog names, and the rest of the table as the source's spec.

    Raises:
        SourceUnavailable: no such source is installed, or it cannot be loaded.
        msgspec.ValidationError: the table is not what the source takes; the message names the field.
    """
    settings = dict(table)
    kind = settings.pop("type", None)
    if not isinstance(kind, str):
        raise msgspec.ValidationError("Object missing required field `type`")
    if kind not in _registered():
        raise SourceUnavailable(f"there is no source {kind!r}, only {', '.join(source_names())}")
    try:
        source = _source(kind)
    except Exception as error:  # a plugin's import can fail in any way
        raise SourceUnavailable(f"the source {kind!r} cannot be loaded: {error!r}") from error
    return source, msgspec.convert(settings, examined(source.spec_type))


def fields(table: dict[str, Any]) -> list[str]:
    """Return the fields that a table of the catalog may have for its source; only the type of an unknown one."""
    kind = table.get("type")
    known = isinstance(kind, str) and kind in _registered()
    return ["type", *(_source(kind).spec_type.__struct_fields__ if known else ())]
