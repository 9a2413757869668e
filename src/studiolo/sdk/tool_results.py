"""What a tool returned, as JSON for the model.

The tool has run: whatever it returned is described somehow, so that the model does not run it again.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import itertools
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import msgspec

from ..plain_values import is_text

MAX_ITEMS = 100_000
"""Items of an iterator at most; the rest is left out, and that is said."""

MAX_DEPTH = 64
"""Levels of containers; what lies deeper is its ``str()``."""


def result_as_text(value: Any) -> str:
    """Return the result of a tool as JSON for the model.

    Numbers that are not finite become null, bytes base64, exceptions their type and text, arrays lists, tables lists of
    their rows; what has no form in JSON becomes its ``str()``.
    """
    plain = _plain(value, MAX_DEPTH, strict=False)
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False)
    return text if is_text(text) else json.dumps(plain)  # escapes a lone surrogate


def json_default(value: Any) -> Any:
    """Return the default of a parameter as JSON for the model; ``UNSET`` where it has no form in JSON."""
    try:
        return _plain(value, MAX_DEPTH, strict=True)
    except TypeError:
        return msgspec.UNSET


def _plain(value: Any, depth: int, *, strict: bool) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if depth == 0:
        return _described(value)
    if isinstance(value, enum.Enum):
        return _plain(value.value, depth - 1, strict=strict)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {_key(key): _plain(each, depth - 1, strict=strict) for key, each in items}
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(cast("bytes", value)).decode()
    if isinstance(value, os.PathLike):
        return os.fsdecode(cast("os.PathLike[str]", value))
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {_described(value)}"
    converted = _converted(value)
    if converted is not msgspec.UNSET:
        return _plain(converted, depth - 1, strict=strict)
    if isinstance(value, list | tuple | set | frozenset | range) or (
        not strict and isinstance(value, Iterator | Iterable)
    ):
        return _items(cast("Iterable[Any]", value), depth - 1, strict)
    if strict:
        raise TypeError(type(value).__name__)
    return _described(value)


def _converted(value: Any) -> Any:
    """Return an object of a library in simpler terms; ``UNSET`` for one of an unknown kind."""
    if isinstance(value, type):
        return msgspec.UNSET
    if isinstance(value, msgspec.Struct):
        names = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
        return {encoded: each for name, encoded in names if (each := getattr(value, name)) is not msgspec.UNSET}
    if callable(getattr(value, "model_dump", None)):  # a model of pydantic's
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "columns") and callable(getattr(value, "to_dicts", None)):  # a table of polars'
        return value.to_dicts()
    if hasattr(value, "columns") and callable(getattr(value, "to_dict", None)):  # a table of pandas'
        return value.to_dict(orient="records")
    if hasattr(value, "dtype") and callable(getattr(value, "tolist", None)):  # a scalar or an array of NumPy's
        simpler = value.tolist()
        return msgspec.UNSET if simpler is value or type(simpler) is type(value) else simpler
    if isinstance(value, list | tuple | set | frozenset):
        return msgspec.UNSET
    try:
        simple = msgspec.to_builtins(value)  # dates, times, decimals, identifiers
    except Exception:  # of an object's own methods, too
        return msgspec.UNSET
    return msgspec.UNSET if simple is value else simple


def _items(values: Iterable[Any], depth: int, strict: bool) -> list[Any]:
    each = iter(values)
    items = [_plain(item, depth, strict=strict) for item in itertools.islice(each, MAX_ITEMS)]
    if next(each, msgspec.UNSET) is not msgspec.UNSET:
        items.append(f"(more than {MAX_ITEMS} items)")
    return items


def _key(key: Any) -> str:
    if isinstance(key, enum.Enum):
        return _key(key.value)
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, bool):
        return json.dumps(key)
    return str(key)


def _described(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # of the object's own method
        return f"({type(value).__name__}, whose str() raised {type(error).__name__})"
