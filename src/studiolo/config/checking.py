"""Checks of any config, given as its type or as a dict."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Set
from typing import Annotated, Any, TypeVar, cast

import msgspec
from msgspec import Meta, Struct

from ..errors import ConfigError
from ..plain_values import is_text, plain
from ..struct_types import examined

Probability = Annotated[float, Meta(ge=0, le=1)]

C = TypeVar("C", bound=Struct)


def explicit_fields(config: Struct) -> dict[str, Any]:
    """Return the fields that are set, by name."""
    values = msgspec.structs.astuple(config)
    return {name: value for name, value in zip(config.__struct_fields__, values, strict=True) if value is not None}


def camel_case_dict(config: Struct, *, without: Set[str] = frozenset()) -> dict[str, Any]:
    """Return the fields that are set, nested ones too, with LM Studio's camelCase names."""
    fields = {name: value for name, value in explicit_fields(config).items() if name not in without}
    return {
        _camel_case(name): camel_case_dict(value) if isinstance(value, Struct) else msgspec.to_builtins(value)
        for name, value in fields.items()
    }


def _camel_case(name: str) -> str:
    return re.sub(r"_(\w)", lambda found: found[1].upper(), name).replace("KvCache", "KVCache")


def checked(kind: type[C], value: C | Mapping[str, Any] | None, what: str, off_by_false: Set[str]) -> C:
    """Return a checked config of ``kind``.

    Parameters:
        what: its name in errors.
        off_by_false: the fields that ``False`` disables, and for which ``True`` is not a value.

    Raises:
        ConfigError: a field has a wrong name, type or range.
    """
    if value is None:
        return kind()
    if isinstance(value, kind):
        fields = explicit_fields(value)
    elif isinstance(value, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        try:
            fields = snake_case_keys(value)
        except RecursionError:
            raise ConfigError(f"The {what} is nested too deeply") from None
    else:
        raise ConfigError(f"The {what} is a {type(value).__name__}, not a dict or a {kind.__name__}")
    known = kind.__struct_fields__
    for name in fields:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(
                f"The {what} has no field {name!r}",
                suggestion=f"Did you mean {near[0]!r}?" if near else f"The fields are {', '.join(known)}.",
            )
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if field is True and name in off_by_false:
            raise ConfigError(f"The {what}'s field {name!r} is true; set a value, or false to disable it")
        field = _plain(field, what, name)
        values[name] = int(field) if isinstance(field, float) and field.is_integer() else field  # 40.0 is a valid top_k
    try:
        return msgspec.convert(values, examined(kind))
    except (msgspec.ValidationError, TypeError) as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        raise config_error(error, what) from None


def _plain(value: Any, what: str, name: str) -> Any:
    """Return the value of a field as JSON types. Raise :class:`ConfigError` if JSON cannot represent it."""
    try:
        converted = plain(value)
        found = _no_json(converted)
    except RecursionError:
        raise ConfigError(f"The {what}'s field {name!r} is nested too deeply") from None
    except TypeError as error:
        raise ConfigError(f"The {what}'s field {name!r} is wrong", cause=str(error)) from None
    if found is not None:
        path, fault = found
        raise ConfigError(f"The {what}'s field {name + path!r} is {fault}")
    return converted


def _no_json(value: Any) -> tuple[str, str] | None:
    """Return the path and the description of a part that JSON cannot represent; ``None`` without any."""
    if isinstance(value, str):
        return (
            None
            if value.isascii() or is_text(value)
            else ("", f"invalid Unicode: {value[:40]!r} contains a lone surrogate")
        )
    if isinstance(value, float):
        return None if math.isfinite(value) else ("", f"{value}, not a finite number")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "", "bytes, not text"
    if isinstance(value, dict):
        items = [(f".{key}", item) for key, item in cast("dict[Any, Any]", value).items()]
    elif isinstance(value, list | tuple):
        items = [(f"[{index}]", item) for index, item in enumerate(cast("list[Any]", value))]
    else:
        return None
    for path, item in items:
        if (found := _no_json(item)) is not None:
            return path + found[0], found[1]
    return None


def config_error(error: Exception, what: str) -> ConfigError:
    """Return the error for msgspec's ``error``, with the name of the field."""
    message, _, path = str(error).partition(" - at `$.")
    field = re.sub(r"`$", "", path)
    where = f"field {field!r}" if field else "value"
    return ConfigError(f"The {what}'s {where} is wrong", cause=message.replace("`", "'"))


def snake_case_keys(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy with every key, nested ones too, in snake_case."""
    out: dict[str, Any] = {}
    for key, item in value.items():
        name = _snake_case(str(key))
        if isinstance(item, Mapping) and name not in _UNCHANGED:
            item = snake_case_keys(cast("Mapping[str, Any]", item))
        out[name] = item
    return out


_UNCHANGED = frozenset({"json_schema", "raw", "raw_tools", "input_config"})


def _snake_case(key: str) -> str:
    key = key.replace("KVCache", "KvCache")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", key).lower()
