"""The fields that a type of request has, nested ones by their path: ``stream_options.include_usage``.

Entries of a list have the path of the list. Reads what the official clients declare (TypedDict, pydantic's models) and
msgspec's structs.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import typing_extensions
from pydantic import BaseModel

from studiolo.dialects.http.fields import Fields

_TRANSPARENT = {typing.Annotated, typing.Required, typing.NotRequired, typing_extensions.Required}
_TRANSPARENT |= {typing_extensions.NotRequired, typing_extensions.Annotated}


def paths(kind: Any, stop: Fields, prefix: str = "", within: tuple[Any, ...] = ()) -> Iterator[str]:
    """Yield the paths of all fields of ``kind``.

    Parameters:
        stop: a table; what is in a field that it honours as a whole, refuses or ignores is not looked at.
    """
    for record in _records(kind):
        if record in within:
            continue
        for name, hint in _fields(record).items():
            path = f"{prefix}{name}"
            yield path
            field = stop.get(path)
            if field is not None and not field.whole:
                yield from paths(hint, stop, f"{path}.", (*within, record))


def _records(kind: Any) -> Iterator[Any]:
    """Yield the record types in a type: itself, or the members of its unions and lists."""
    if isinstance(kind, typing.TypeAliasType if hasattr(typing, "TypeAliasType") else ()):
        kind = kind.__value__
    origin = get_origin(kind)
    if origin is Literal:
        return
    if origin in _TRANSPARENT:
        yield from _records(get_args(kind)[0])
    elif origin is typing.Union or isinstance(kind, types.UnionType) or origin is not None:
        for each in get_args(kind):
            yield from _records(each)
    elif typing_extensions.is_typeddict(kind) or typing.is_typeddict(kind) or _is_model(kind):
        yield kind


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel | msgspec.Struct)


def _fields(record: Any) -> dict[str, Any]:
    if isinstance(record, type) and issubclass(record, BaseModel):
        return {field.alias or name: field.annotation for name, field in record.model_fields.items()}
    if isinstance(record, type) and issubclass(record, msgspec.Struct):
        hints = get_type_hints(record, include_extras=True)
        names = zip(record.__struct_fields__, record.__struct_encode_fields__, strict=True)
        return {encoded: hints[name] for name, encoded in names}
    return get_type_hints(record, include_extras=True)
