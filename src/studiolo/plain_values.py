"""Values as programs have them, as the plain values of JSON.

Subclasses of ``str``, ``int`` and ``float``, NumPy's scalars and arrays, pandas' series, paths, ``Decimal``, enums,
dataclasses, structs, pydantic models and generators are values that JSON has under another name.
"""

from __future__ import annotations

import dataclasses
import operator
import os
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any, SupportsFloat, cast

import msgspec

_PLAIN = frozenset({str, int, float, bool, type(None), bytes, bytearray, memoryview})


def plain(value: Any) -> Any:
    """Return a copy of ``value`` made of dicts, lists, text, numbers, booleans and ``None``; bytes stay bytes.

    Raises:
        TypeError: a part is a value that JSON has no form for; the message names its type.
        RecursionError: it is nested too deeply.
    """
    kind = type(cast("object", value))
    if kind in _PLAIN:
        return value
    if isinstance(value, Mapping):
        return {_key(key): plain(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if kind is list or kind is tuple:
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, str):
        return str.__str__(value)
    if is_array(value):
        return _array(value)
    if (fields := fields_of(value)) is not None:
        return plain(fields)
    if supports(value, "__index__"):
        return operator.index(value)
    if isinstance(value, float | Decimal) or supports(value, "__float__"):
        return float(value)
    if supports(value, "__fspath__"):
        return plain(os.fspath(value))
    if isinstance(value, Iterable) and not isinstance(value, type):
        return [plain(item) for item in cast("Iterable[Any]", value)]
    try:
        return msgspec.to_builtins(value)  # dates and UUIDs
    except TypeError:
        raise TypeError(f"JSON has no form for a value of type {kind.__name__}") from None


def fields_of(value: Any) -> dict[str, Any] | None:
    """Return the fields of a mapping, struct, dataclass or pydantic model by name; ``None`` if it has none.

    The official clients' objects are of these kinds, or have a method ``to_dict``.
    """
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Any]", value))
    if isinstance(value, type) or is_array(value):
        return None
    if isinstance(value, msgspec.Struct) or dataclasses.is_dataclass(value):
        kept = (bytes, bytearray, memoryview, Decimal)
        return cast("dict[str, Any]", msgspec.to_builtins(value, builtin_types=kept, enc_hook=plain))
    for name in ("model_dump", "to_dict"):
        method = getattr(cast("object", value), name, None)
        if callable(method) and isinstance(fields := method(), dict):
            return cast("dict[str, Any]", fields)
    return None


def is_array(value: Any) -> bool:
    """Return whether ``value`` is a scalar, array or series of NumPy or a library like it."""
    return supports(value, "ndim") and not isinstance(value, str | type | memoryview)


def supports(value: object, method: str) -> bool:
    """Return whether the class of ``value`` has a special method."""
    return hasattr(type(value), method)


def is_text(value: str) -> bool:
    """Return whether ``value`` is valid Unicode: a lone surrogate is not."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _array(value: Any) -> Any:
    if value.ndim == 0:
        item = value.item()
        if type(item) is type(value) and isinstance(item, SupportsFloat):  # a wider float than Python's
            return float(item)
        return plain(item)
    if not hasattr(value, "tolist"):
        raise TypeError(f"JSON has no form for a value of type {type(value).__name__}")
    return plain(value.tolist())


def _key(key: Any) -> str:
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str):
        return str.__str__(key)
    if supports(key, "__index__") and not isinstance(key, bool):
        return str(operator.index(key))
    raise TypeError(f"JSON has no form for a key of type {type(key).__name__}")
