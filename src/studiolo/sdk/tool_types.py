"""The types of a tool's parameters: their JSON schemas for the model, and the conversion of arguments to them.

msgspec describes and converts what it knows; this module adds paths, iterables, subclasses of numbers and text, NumPy's
scalars and arrays, fractions, and whatever pydantic describes. Neither pydantic nor NumPy is imported here: a parameter
whose type comes from them has imported it.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import datetime
import fractions
import os
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, Union, cast, get_args, get_origin

import msgspec

from .tool_results import json_default

Schema = dict[str, Any]

REQUIRED: Any = object()
"""Stands for the default of a parameter that has none."""

_DECIMAL = r"^-?[0-9]{1,40}(\.[0-9]{1,40})?$"
_LISTS = frozenset({collections.abc.Iterable, collections.abc.Iterator, collections.abc.Generator})


@dataclass(frozen=True)
class Parameters:
    """The parameters of a tool.

    Parameters:
        schema: what the model sees.
        convert: checks and converts the arguments of a call; raises :class:`ValueError` where they are wrong.
    """

    schema: Schema
    convert: Callable[[Mapping[str, Any]], dict[str, Any]]


def parameters_of(kinds: Mapping[str, tuple[Any, Any]]) -> Parameters:
    """Return the parameters of a tool by the type and the default of each; :data:`REQUIRED` for no default.

    Raises:
        TypeError, ValueError, NameError, NotImplementedError: a type has no JSON schema.
    """
    kinds = {name: _without_field(kind, default) for name, (kind, default) in kinds.items()}
    names = list(kinds)
    adapters = {name: _pydantic_adapter(kind) for name, (kind, _) in kinds.items() if _needs_pydantic(kind)}
    fields: list[Any] = []
    for number, (name, (kind, default)) in enumerate(kinds.items()):
        known = Any if name in adapters else _for_msgspec(kind)
        # The attributes have names of our own: a parameter may be called like a keyword of the language.
        fields.append((f"p{number}", known) if default is REQUIRED else (f"p{number}", known, _field(default)))
    renamed = {f"p{number}": name for number, name in enumerate(names)}
    struct = msgspec.defstruct("Arguments", fields, kw_only=True, rename=renamed)
    schema = _flat_schema(struct)
    for name, adapter in adapters.items():
        schema["properties"][name] = _hoisted(adapter.json_schema(), schema)
    for name, (_, default) in kinds.items():
        if default is not REQUIRED:
            encoded = json_default(default)
            if encoded is not msgspec.UNSET:
                schema["properties"][name]["default"] = encoded

    def convert(given: Mapping[str, Any]) -> dict[str, Any]:
        values = msgspec.convert(given, struct, dec_hook=_decoded, str_keys=True)
        arguments = {name: getattr(values, f"p{number}") for number, name in enumerate(names)}
        for name, adapter in adapters.items():
            if name in given:
                try:
                    arguments[name] = adapter.validate_python(given[name])
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from error
        return arguments

    return Parameters(schema, convert)


def _without_field(kind: Any, default: Any) -> tuple[Any, Any]:
    """Return type and default of a parameter whose default is pydantic's ``Field(...)``."""
    if type(default).__name__ != "FieldInfo" or not type(default).__module__.startswith("pydantic"):
        return kind, default
    plain = REQUIRED if default.is_required() else default.get_default(call_default_factory=True)
    return Annotated[kind, default], plain


def _field(default: Any) -> Any:
    def make() -> Any:
        return cast("Any", default).copy() if isinstance(default, list | dict | set | bytearray) else default

    return msgspec.field(default_factory=make)


def _for_msgspec(kind: Any) -> Any:
    """Return a type with lists for iterables and formats for times, at any depth of its arguments."""
    arguments = get_args(kind)
    if kind in _FORMATS:
        return Annotated[kind, msgspec.Meta(extra_json_schema={"format": _FORMATS[kind]})]
    if not arguments:
        return list[Any] if kind in _LISTS else kind
    origin: Any = get_origin(kind)
    if origin is Annotated:
        return Annotated[(arguments[0] if arguments[0] in _FORMATS else _for_msgspec(arguments[0]), *arguments[1:])]
    if origin in _LISTS:
        return list[_for_msgspec(arguments[0])]
    if origin in (Union, types.UnionType):
        union = _for_msgspec(arguments[0])
        for each in arguments[1:]:
            union = union | _for_msgspec(each)
        return union
    if origin is collections.deque:
        items = msgspec.json.schema(_for_msgspec(arguments[0]), schema_hook=_described)
        shown = {} if "$defs" in items else {"items": items}  # its references would be to the items alone
        return Annotated[kind, msgspec.Meta(extra_json_schema=shown)]
    if origin in _CONTAINERS:
        return origin[tuple(each if each is ... else _for_msgspec(each) for each in arguments)]
    return kind


_FORMATS: dict[Any, str] = {datetime.datetime: "date-time", datetime.time: "time"}
"""Formats that msgspec gives only to types with a time zone."""

_CONTAINERS: tuple[Any, ...] = (
    *(list, dict, set, frozenset, tuple),
    *(collections.abc.Sequence, collections.abc.Mapping, collections.abc.Set),
)


def _described(kind: Any) -> Schema:
    """Return the schema of a type that msgspec does not know."""
    if kind in _LISTS or _is_array(kind) or kind is collections.deque:
        return {"type": "array"}
    if issubclass(kind, PurePath | str | fractions.Fraction) or kind is os.PathLike:
        return {"type": "string"}
    scalar = _numpy_kind(kind)
    if kind.__name__ in ("bool", "bool_") and scalar:
        return {"type": "boolean"}
    if issubclass(kind, int) or scalar in ("signedinteger", "unsignedinteger"):
        return {"type": "integer"} | ({"minimum": 0} if scalar == "unsignedinteger" else {})
    if issubclass(kind, float) or scalar == "floating":
        return {"type": "number"}
    raise NotImplementedError(f"{kind!r} has no JSON schema")


def _decoded(kind: Any, value: Any) -> Any:
    """Return ``value`` as a type that msgspec does not know."""
    origin = get_origin(kind) or kind
    if origin in _LISTS or origin is collections.deque:
        items = msgspec.convert(value, list[get_args(kind) or Any], dec_hook=_decoded, str_keys=True)  # type: ignore[misc]
        return collections.deque(items) if origin is collections.deque else items
    if _is_array(origin):
        return sys.modules["numpy"].asarray(value)
    if kind is os.PathLike or origin is os.PathLike:
        return PurePath(value)
    wanted = _described(kind)["type"]
    fits = {"string": str, "integer": int, "number": (int, float), "boolean": bool}[wanted]
    if not isinstance(value, fits) or (isinstance(value, bool) and wanted != "boolean"):
        raise ValueError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")
    return kind(value)


def _numpy_kind(kind: type) -> str | None:
    """Return the kind of a scalar type of NumPy, such as ``floating``; ``None`` for another type."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not issubclass(kind, numpy.generic):
        return None
    return next((base.__name__ for base in kind.__mro__ if base.__name__ in _NUMPY_KINDS), "generic")


_NUMPY_KINDS = ("signedinteger", "unsignedinteger", "floating")


def _is_array(kind: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and kind is numpy.ndarray


def _needs_pydantic(kind: Any, depth: int = 8) -> bool:
    """Return whether a type, or one within it, comes from pydantic: a model, a dataclass, or a constraint."""
    if "pydantic" not in sys.modules or depth == 0 or _is_struct(kind):
        return False
    if get_origin(kind) is Annotated:
        marks = ("pydantic", "pydantic_core", "annotated_types")
        if any(type(each).__module__.partition(".")[0] in marks for each in kind.__metadata__):
            return True
    if get_args(kind):
        return any(_needs_pydantic(each, depth - 1) for each in get_args(kind))
    if not isinstance(kind, type):
        return False
    if hasattr(kind, "__pydantic_core_schema__") or hasattr(kind, "__get_pydantic_core_schema__"):
        return True
    if dataclasses.is_dataclass(kind):
        return any(_needs_pydantic(each, depth - 1) for each in _hints(kind))
    return False


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _hints(kind: type) -> list[Any]:
    from typing import get_type_hints

    try:
        return list(get_type_hints(kind, include_extras=True).values())
    except Exception:  # evaluating annotations may raise anything; msgspec reports it
        return []


def _pydantic_adapter(kind: Any) -> Any:
    return sys.modules["pydantic"].TypeAdapter(kind)


def _flat_schema(struct: type[msgspec.Struct]) -> Schema:
    """Return the JSON schema of a struct, with the types that it refers to under ``$defs``."""
    (reference,), components = msgspec.json.schema_components(
        [struct], schema_hook=_described, ref_template="#/$defs/{name}"
    )
    name = reference["$ref"].rpartition("/")[2]
    top = components.pop(name)
    top.pop("title", None)
    whole = {**top, "$defs": components} if components else top
    _simplify(whole)
    return whole


def _simplify(schema: Any) -> None:
    """Change in place what msgspec says of decimals and sets: a pattern for the one, and lists for the others.

    An item that comes twice is no error: a set holds it once.
    """
    if isinstance(schema, dict):
        inner = cast("Schema", schema)
        if inner.get("format") == "decimal":
            del inner["format"]
            inner["pattern"] = _DECIMAL
        if inner.get("type") == "array":
            inner.pop("uniqueItems", None)
        for value in inner.values():
            _simplify(value)
    elif isinstance(schema, list):
        for value in cast("list[Any]", schema):
            _simplify(value)


def _hoisted(inner: Schema, into: Schema) -> Schema:
    """Return pydantic's schema of a parameter with its definitions moved to the schema of all parameters."""
    definitions: dict[str, Any] = inner.pop("$defs", {})
    taken: dict[str, Any] = into.setdefault("$defs", {}) if definitions else {}
    names = {name: name for name in definitions}
    for name, definition in definitions.items():
        number = 2
        while names[name] in taken and taken[names[name]] != definition:
            names[name] = f"{name}_{number}"
            number += 1
    for name, definition in definitions.items():
        taken[names[name]] = _renamed(definition, names)
    return _renamed(inner, names)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_renamed(each, names) for each in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    renamed = {key: _renamed(each, names) for key, each in cast("Schema", value).items()}
    reference = renamed.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/$defs/"):
        renamed["$ref"] = f"#/$defs/{names.get(reference[8:], reference[8:])}"
    if renamed.get("type") == "array":
        renamed.pop("uniqueItems", None)
    return renamed
