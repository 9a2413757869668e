"""Arguments of the public functions: converted to what the host receives, or refused by name.

What counts as text, a number or a list is the same for every function, and for a host in this process as for one
behind a socket. A wrong argument is a :class:`~studiolo.errors.ConfigError` with its name and type, raised before
anything is sent.
"""

from __future__ import annotations

import datetime
import inspect
import math
import operator
import os
from collections.abc import Callable, Iterable, KeysView, Mapping, Set
from decimal import Decimal
from typing import Any, Protocol, TypeVar, cast

import msgspec

from ..config.prediction import MAX_TIMEOUT_SEC
from ..errors import ConfigError
from ..plain_values import is_array, is_text, plain, supports
from ..struct_types import examined

P = TypeVar("P")
T = TypeVar("T")
C = TypeVar("C", covariant=True)


class Convert(Protocol[C]):
    """A conversion of an argument: of a value, with its name for errors."""

    def __call__(self, value: Any, name: str, /) -> C: ...


def wrong_type(value: Any, name: str, expected: str, *, suggestion: str | None = None) -> ConfigError:
    """Return the error for an argument of a wrong type."""
    what = "None" if value is None else f"of type {type(value).__name__}"
    return ConfigError(f"The argument {name!r} is {what}, not {expected}", suggestion=suggestion)


def optional(convert: Convert[T], value: Any, name: str) -> T | None:
    """Return the converted value; ``None`` stays ``None``."""
    return None if value is None else convert(value, name)


def text(value: Any, name: str) -> str:
    """Return text as a plain ``str``: subclasses, enums of text and NumPy's text count as text."""
    if type(value) is not str:
        if is_array(value) and value.ndim == 0:
            value = value.item()
        if not isinstance(value, str):
            raise wrong_type(value, name, "text (str)")
        value = str.__str__(value)
    if not value.isascii() and not is_text(value):
        raise lone_surrogate(f"The argument {name!r}")
    return value


def lone_surrogate(where: str) -> ConfigError:
    """Return the error for text that is not valid Unicode."""
    return ConfigError(
        f"{where} contains a lone surrogate (invalid Unicode)",
        cause="Text that was decoded with 'surrogateescape' may have them.",
        suggestion="Replace them: text.encode('utf-8', 'replace').decode().",
    )


def text_or_path(value: Any, name: str) -> str:
    """Return text, or a path as text."""
    given = cast("object", os.fspath(value)) if supports(value, "__fspath__") else value
    if not isinstance(given, str):
        raise wrong_type(value, name, "text (str) or a path")
    return text(given, name)


def items(value: Any, name: str, expected: str = "a list") -> list[Any]:
    """Return the items of a list, an array, a series or any other iterable with an order of its own.

    Text, bytes, sets and dicts are refused: their items have no order, or are not what the caller meant.
    """
    is_flat = not is_array(value) or value.ndim == 1
    unordered = isinstance(value, Mapping) or (isinstance(value, Set) and not isinstance(value, KeysView))
    if unordered or not is_flat or isinstance(value, str | bytes | bytearray | memoryview | type):
        raise wrong_type(value, name, expected)
    try:
        return list(cast("Iterable[Any]", value))
    except TypeError:
        if isinstance(value, Iterable):
            raise  # an error of the caller's own iterator
        raise wrong_type(value, name, expected) from None


def many(convert: Convert[T], value: Any, name: str, expected: str = "a list") -> list[T]:
    """Return the converted items of a list."""
    return [convert(item, f"{name}[{index}]") for index, item in enumerate(items(value, name, expected))]


def is_one_text(value: Any) -> bool:
    """Return whether ``value`` is one text, not several."""
    return isinstance(value, str) or (is_array(value) and value.ndim == 0)


def texts(value: Any, name: str) -> list[str]:
    """Return several texts."""
    return many(text, value, name, "text (str), or a list of texts")


def integer(value: Any, name: str) -> int:
    """Return a whole number: whatever has ``__index__``, except booleans."""
    if not isinstance(value, bool) and supports(value, "__index__"):
        try:
            return operator.index(value)
        except TypeError:
            pass  # an array of several numbers
    raise wrong_type(value, name, "a whole number (int)")


def limit(value: Any, name: str) -> int:
    """Return a whole number of at least 1, where ``None`` stands for no limit."""
    number = integer(value, name)
    if number < 1:
        raise ConfigError(f"The argument {name!r} is {number}, and must be at least 1, or None for no limit")
    return number


def number(value: Any, name: str) -> float:
    """Return a finite number: whatever has ``__float__`` or ``__index__``, except booleans and arrays."""
    is_scalar = not isinstance(value, bool) and (not is_array(value) or value.ndim == 0)
    if is_scalar and (isinstance(value, Decimal) or supports(value, "__float__") or supports(value, "__index__")):
        try:
            converted = float(value)
        except (TypeError, ValueError, OverflowError):  # an array of text, a complex number, a large int
            raise wrong_type(value, name, "a finite number") from None
        if math.isfinite(converted):
            return converted
        raise ConfigError(f"The argument {name!r} is {converted}, not a finite number")
    raise wrong_type(value, name, "a number")


def seconds(value: Any, name: str) -> float:
    """Return a number of seconds, from a number or a ``timedelta``."""
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    return number(value, name)


def time_limit(value: Any, name: str) -> float:
    """Return a number of seconds that is above 0 and at most :data:`~studiolo.config.prediction.MAX_TIMEOUT_SEC`."""
    limit_sec = seconds(value, name)
    if not 0 < limit_sec <= MAX_TIMEOUT_SEC:
        raise ConfigError(
            f"The argument {name!r} is {limit_sec:g}, and must be above 0 and at most {MAX_TIMEOUT_SEC:g}"
        )
    return limit_sec


def one_of(*choices: str) -> Convert[str]:
    """Return the conversion of an argument that is one of certain texts."""

    def convert(value: Any, name: str) -> str:
        chosen = text(value, name)
        if chosen not in choices:
            allowed = " or ".join(repr(each) for each in choices)
            raise ConfigError(f"The argument {name!r} is {chosen!r}, and can be {allowed}")
        return chosen

    return convert


def instance_of(kind: type[T], suggestion: str) -> Convert[T]:
    """Return the conversion of an argument that only certain functions return."""

    def convert(value: Any, name: str) -> T:
        if not isinstance(value, kind):
            raise wrong_type(value, name, f"a {kind.__name__}", suggestion=suggestion)
        return value

    return convert


def callback(value: Any, name: str) -> Callable[..., Any] | None:
    """Return a callback that is an ordinary function, or ``None``."""
    if value is None:
        return None
    if not callable(value):
        raise ConfigError(f"The callback {name} is a {type(value).__name__}, which cannot be called")
    if inspect.iscoroutinefunction(value):
        raise ConfigError(
            f"The callback {name} is async and would never be awaited",
            suggestion="Make it an ordinary function; it may start a task.",
        )
    return cast("Callable[..., Any]", value)


def json_value(value: Any, name: str) -> Any:
    """Return a value as plain values of JSON."""
    try:
        return plain(value)
    except RecursionError:
        raise ConfigError(f"The argument {name!r} is nested too deeply") from None
    except TypeError as error:
        raise ConfigError(f"The argument {name!r} cannot be sent as JSON", cause=str(error)) from None


def validated(parameter: P) -> P:
    """Return the parameter of an endpoint as a server would receive it.

    Raises:
        ConfigError: it cannot be sent as JSON, or has a wrong type; the message names the place.
    """
    try:
        return msgspec.json.decode(msgspec.json.encode(parameter), type=examined(type(parameter)))
    except UnicodeEncodeError:
        path = _path_to_surrogate(msgspec.to_builtins(parameter)) or ""
        raise lone_surrogate(f"The request's text at {path.removeprefix('.')}") from None
    except RecursionError:
        raise ConfigError("The request is nested too deeply") from None
    except (TypeError, msgspec.ValidationError) as error:
        raise ConfigError("The request cannot be sent", cause=str(error).replace("`", "'")) from None


def _path_to_surrogate(value: Any) -> str | None:
    if isinstance(value, str):
        return None if is_text(value) else ""
    if isinstance(value, dict):
        found = [(f".{key}", item) for key, item in cast("dict[str, Any]", value).items()]
    elif isinstance(value, list):
        found = [(f"[{index}]", item) for index, item in enumerate(cast("list[Any]", value))]
    else:
        return None
    for path, item in found:
        if (rest := _path_to_surrogate(item)) is not None:
            return path + rest
    return None
