"""The fields of a request's body: each is honoured, refused by name, or ignored for a stated reason.

A dialect declares a table for each endpoint, by the path of the field: ``stream_options.include_usage``; the entries of
a list have the path of the list: ``tools.function.name``. docs/dialects.md shows the tables, and tests compare them
with the request types of the official clients.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, cast

import msgspec
from msgspec import Struct

from ...errors import InvalidRequestError
from ...struct_types import examined

T = TypeVar("T")

Standing = Literal["honoured", "refused", "ignored"]

MAX_NAMED = 20
"""Ignored fields that are named in an answer's header, at most."""


MAX_DEPTH = 100
"""Objects and lists within each other in a body, at most: whatever works on them may call itself for each."""


class Field(Struct, frozen=True, kw_only=True):
    """How an endpoint treats a field.

    Parameters:
        standing: whether it is honoured, refused, or ignored.
        note: what it does, why it is refused, or why it is ignored.
        harmless: values of a refused field that ask for nothing, and are accepted.
        whole: it is honoured with everything in it; the parts of other objects have entries of their own.
    """

    standing: Standing
    note: str
    harmless: tuple[Any, ...] = ()
    whole: bool = False


Fields = Mapping[str, Field]


def honoured(note: str, *, whole: bool = False) -> Field:
    """Return the entry of a field that does what its documentation says."""
    return Field(standing="honoured", note=note, whole=whole)


def refused(note: str, *harmless: Any) -> Field:
    """Return the entry of a field that is an error, unless its value is one of ``harmless``."""
    return Field(standing="refused", note=note, harmless=harmless, whole=True)


def ignored(note: str) -> Field:
    """Return the entry of a field that has no effect upstream either."""
    return Field(standing="ignored", note=note, whole=True)


def read_body(body: bytes) -> dict[str, Any]:
    """Return the object that ``body`` is as JSON. Raise :class:`InvalidRequestError` if it is anything else."""
    if not body.strip():
        raise InvalidRequestError("The body is empty", suggestion="Send a JSON object.")
    try:
        value: Any = msgspec.json.decode(body.removeprefix(codecs.BOM_UTF8))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        cause = "It is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidRequestError("The body is not JSON", cause=cause) from None
    if not isinstance(value, dict):
        raise InvalidRequestError(f"The body: expected an object, got {_kind(value)}")
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _is_too_deep(cast("dict[str, Any]", value)):
        raise InvalidRequestError("The body is nested too deeply", cause=f"It has more than {MAX_DEPTH} levels.")
    return cast("dict[str, Any]", value)


def _is_too_deep(value: dict[str, Any]) -> bool:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for each in level
            for inner in (cast("dict[str, Any]", each).values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def read_fields(
    value: dict[str, Any], kind: type[T], fields: Fields, *, strict: bool = False, of_text: bool = False
) -> tuple[T, list[str]]:
    """Return a request as ``kind``, and the names of the fields that are ignored because nobody knows them.

    ``null`` means that a field is absent.

    Parameters:
        value: the body.
        fields: the endpoint's table.
        strict: unknown fields are refused, not ignored.
        of_text: numbers and booleans are text, as in a form.

    Raises:
        InvalidRequestError: a field is refused, missing or malformed; ``data["param"]`` is its path.
    """
    unknown: list[str] = []
    sifted = _sift(value, "", "", fields, unknown)
    if unknown and strict:
        raise InvalidRequestError(
            f"{unknown[0]}: unknown field",
            cause="Fields that are not known are refused here.",
            data={"param": unknown[0], "unknown": unknown},
        )
    return converted(sifted, kind, of_text=of_text), unknown


def converted(value: Any, kind: type[T], where: str = "", *, of_text: bool = False) -> T:
    """Return ``value`` as ``kind``. Raise :class:`InvalidRequestError` with the path of what is wrong.

    Parameters:
        where: the path of ``value`` in the request.
        of_text: numbers and booleans are text, as in a form.
    """
    try:
        return msgspec.convert(value, examined(kind), strict=not of_text)
    except msgspec.ValidationError as error:
        raise _malformed(str(error), where) from None


def wrong(param: str, what: str, suggestion: str | None = None) -> InvalidRequestError:
    """Return the error for a wrong value at the path ``param``."""
    return InvalidRequestError(f"{param}: {what}", suggestion=suggestion, data={"param": param})


def header_value(names: list[str]) -> str:
    """Return the value of the header that names the ignored fields."""
    shown = [re.sub(r"[^\x21-\x2b\x2d-\x7e]", "?", name[:60]) for name in names[:MAX_NAMED]]
    return ", ".join(shown) + (", ..." if len(names) > MAX_NAMED else "")


def _sift(value: dict[str, Any], prefix: str, place: str, fields: Fields, unknown: list[str]) -> dict[str, Any]:
    """Return an object without nulls and what is ignored.

    Parameters:
        prefix: its path in the table, ``place``: its path in the request, each with a dot at the end.
    """
    kept: dict[str, Any] = {}
    for key, item in value.items():
        field = fields.get(prefix + key)
        if item is None:
            continue
        if field is None:
            unknown.append(place + key)
        elif field.standing == "refused":
            if item not in field.harmless:
                raise InvalidRequestError(
                    f"{place}{key}: not supported", cause=field.note, data={"param": f"{place}{key}"}
                )
        elif field.standing == "honoured":
            kept[key] = item if field.whole else _parts(item, f"{prefix}{key}.", f"{place}{key}.", fields, unknown)
    return kept


def _parts(item: Any, prefix: str, place: str, fields: Fields, unknown: list[str]) -> Any:
    if isinstance(item, dict):
        return _sift(cast("dict[str, Any]", item), prefix, place, fields, unknown)
    if isinstance(item, list):
        entries = enumerate(cast("list[Any]", item))
        return [_parts(entry, prefix, f"{place}{index}.", fields, unknown) for index, entry in entries]
    return item


_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_AT = re.compile(r" - at `\$(.*)`$", re.DOTALL)


def _malformed(message: str, where: str) -> InvalidRequestError:
    found = _AT.search(message)
    path = "" if found is None else re.sub(r"\[(\d+)\]", r".\1", found[1]).replace("[...]", "").lstrip(".")
    message = message if found is None else message[: found.start()]
    if where:
        path = f"{where}.{path}" if path else where
    if (missing := _MISSING.fullmatch(message)) is not None:
        path = f"{path}.{missing[1]}" if path else missing[1]
        what = "missing"
    else:
        what = re.sub(r"`(\w+(?: \| \w+)*)`", lambda match: _worded(match[1]), message).replace("`", "'")
        what = what[:1].lower() + what[1:]
    return wrong(path or "The body", what)


_WORDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
    "null": "null",
}


def _worded(kinds: str) -> str:
    return " or ".join(_WORDS.get(kind, kind) for kind in kinds.split(" | "))


def _kind(value: Any) -> str:
    kinds = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), "null")
