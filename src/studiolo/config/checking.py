"""What any config is checked by, whether it comes as its type or as a dict."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Set
from typing import Annotated, Any, TypeVar, cast

import msgspec
from msgspec import Meta, Struct

from ..errors import ConfigError

Probability = Annotated[float, Meta(ge=0, le=1)]

C = TypeVar("C", bound=Struct)


def explicit_fields(config: Struct) -> dict[str, Any]:
    """The fields that say something, by name."""
    return {name: value for name in config.__struct_fields__ if (value := getattr(config, name)) is not None}


def camel_case_dict(config: Struct, *, without: Set[str] = frozenset()) -> dict[str, Any]:
    """The explicit fields of ``config``, nested ones too, as LM Studio's clients name them."""
    fields = {name: value for name, value in explicit_fields(config).items() if name not in without}
    return {
        _camel_case(name): camel_case_dict(value) if isinstance(value, Struct) else msgspec.to_builtins(value)
        for name, value in fields.items()
    }


def _camel_case(name: str) -> str:
    return re.sub(r"_(\w)", lambda found: found[1].upper(), name).replace("KvCache", "KVCache")


def checked(kind: type[C], value: C | Mapping[str, Any] | None, what: str, off_by_false: Set[str]) -> C:
    """A checked config of ``kind``.

    Parameters:
        what: what it is called in errors.
        off_by_false: the fields that ``False`` switches off and for which ``True`` says nothing.

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
    plain: dict[str, Any] = {}
    for name, field in fields.items():
        if field is True and name in off_by_false:
            raise ConfigError(f"The {what}'s field {name!r} is true; give a value, or false to switch it off")
        field = _plain(field, what, name)
        plain[name] = int(field) if isinstance(field, float) and field.is_integer() else field  # 40.0 is a fine top_k
    try:
        return msgspec.convert(plain, kind)
    except (msgspec.ValidationError, TypeError) as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        raise config_error(error, what) from None


def _plain(value: Any, what: str, name: str) -> Any:
    """The value of a field as JSON has it. Raises :class:`ConfigError` where JSON has no such thing."""
    try:
        plain = msgspec.to_builtins(value, builtin_types=(bytes, bytearray, memoryview))
        found = _no_json(plain)
    except RecursionError:
        raise ConfigError(f"The {what}'s field {name!r} is nested too deeply") from None
    except TypeError as error:
        raise ConfigError(f"The {what}'s field {name!r} is wrong", cause=str(error)) from None
    if found is not None:
        path, fault = found
        raise ConfigError(f"The {what}'s field {name + path!r} is {fault}")
    return plain


def _no_json(value: Any) -> tuple[str, str] | None:
    """Where in ``value`` there is something that JSON cannot carry, and what it is."""
    if isinstance(value, str):
        return None if value.isascii() or is_text(value) else ("", f"no text: {value[:40]!r} has half of a character")
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


def is_text(value: str) -> bool:
    """Whether ``value`` can be sent as text: a lone surrogate (half of a character of UTF-16) cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def config_error(error: Exception, what: str) -> ConfigError:
    """msgspec's error as one that names the field in the user's words."""
    message, _, path = str(error).partition(" - at `$.")
    field = re.sub(r"`$", "", path)
    where = f"field {field!r}" if field else "value"
    return ConfigError(f"The {what}'s {where} is wrong", cause=message.replace("`", "'"))


def snake_case_keys(value: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with every key, nested ones too, in snake_case."""
    out: dict[str, Any] = {}
    for key, item in value.items():
        name = _snake_case(str(key))
        if isinstance(item, Mapping) and name not in _KEPT_AS_THEY_ARE:
            item = snake_case_keys(cast("Mapping[str, Any]", item))
        out[name] = item
    return out


_KEPT_AS_THEY_ARE = frozenset({"json_schema", "raw", "raw_tools", "input_config"})


def _snake_case(key: str) -> str:
    key = key.replace("KVCache", "KvCache")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", key).lower()
