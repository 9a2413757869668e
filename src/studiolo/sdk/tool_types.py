"""The types of a tool's parameters: their JSON schemas for the model, and the conversion of arguments to them.

msgspec describes and converts what it knows; this module adds paths, iterables, subclasses of numbers and text, NumPy's
scalars and arrays, fractions, enums and literals of values of several types, and whatever pydantic describes. Neither
pydantic nor NumPy is imported here: a parameter whose type comes from them has imported it.
"""

from __future__ import annotations

import collections
import collections.abc
import copy
import dataclasses
import datetime
import enum
import fractions
import os
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NotRequired,
    Required,
    Union,
    cast,
    get_args,
    get_origin,
    is_typeddict,
)

import msgspec

from ..struct_types import examined
from .schema_definitions import Schema, hoist_all, hoisted
from .tool_results import json_default

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


def parameters_of(kinds: Mapping[str, tuple[Any, Any]], within: tuple[Any, ...] = ()) -> Parameters:
    """Return the parameters of a tool by the type and the default of each; :data:`REQUIRED` for no default.

    Parameters:
        within: the types whose fields they are, the outermost first; none for those of a tool.

    Raises:
        TypeError, ValueError, NameError, NotImplementedError: a type has no JSON schema.
    """
    kinds = {name: _without_field(kind, default) for name, (kind, default) in kinds.items()}
    names = list(kinds)
    adapters = {name: _pydantic_adapter(kind) for name, (kind, _) in kinds.items() if _needs_pydantic(kind)}
    fields: list[Any] = []
    for number, (name, (kind, default)) in enumerate(kinds.items()):
        known = Any if name in adapters else _for_msgspec(kind, within)
        # The attributes have names of our own: a parameter may be called like a keyword of the language.
        fields.append((f"p{number}", known) if default is REQUIRED else (f"p{number}", known, _field(default)))
    renamed = {f"p{number}": name for number, name in enumerate(names)}
    struct = msgspec.defstruct("Arguments", fields, kw_only=True, rename=renamed)
    schema = _flat_schema(struct)
    hoist_all(schema, schema)
    for name, adapter in adapters.items():
        schema["properties"][name] = hoisted(adapter.json_schema(), schema)
    for name, (_, default) in kinds.items():
        if default is not REQUIRED:
            encoded = json_default(default)
            if encoded is not msgspec.UNSET:
                schema["properties"][name]["default"] = encoded

    def convert(given: Mapping[str, Any]) -> dict[str, Any]:
        values = msgspec.convert(given, examined(struct), dec_hook=_decoded, str_keys=True)
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


def _for_msgspec(kind: Any, within: tuple[Any, ...] = ()) -> Any:
    """Return a type with lists for iterables, formats for times, and stand-ins, at any depth of its arguments."""
    if _is_choice(kind) and not _is_known(kind):
        return _choice_stand_in(kind)
    if (fields := _fields_of(kind)) is not None and _has_unknown_choice(kind):
        return _record_stand_in(kind, fields, within)
    arguments = get_args(kind)
    if kind in _FORMATS:
        return Annotated[kind, msgspec.Meta(extra_json_schema={"format": _FORMATS[kind]})]
    if not arguments:
        return list[Any] if kind in _LISTS else kind
    origin: Any = get_origin(kind)
    if origin is Annotated:
        inner = arguments[0] if arguments[0] in _FORMATS else _for_msgspec(arguments[0], within)
        return Annotated[(inner, *arguments[1:])]
    if origin in _LISTS:
        return list[_for_msgspec(arguments[0], within)]
    if origin in (Union, types.UnionType):
        union = _for_msgspec(arguments[0], within)
        for each in arguments[1:]:
            union = union | _for_msgspec(each, within)
        return union
    if origin is collections.deque:
        items = msgspec.json.schema(_for_msgspec(arguments[0], within), schema_hook=_described)
        shown = {} if "$defs" in items else {"items": items}  # its references would be to the items alone
        return Annotated[kind, msgspec.Meta(extra_json_schema=shown)]
    if origin in _CONTAINERS:
        return origin[tuple(each if each is ... else _for_msgspec(each, within) for each in arguments)]
    return kind


_FORMATS: dict[Any, str] = {datetime.datetime: "date-time", datetime.time: "time"}
"""Formats that msgspec gives only to types with a time zone."""

_CONTAINERS: tuple[Any, ...] = (
    *(list, dict, set, frozenset, tuple),
    *(collections.abc.Sequence, collections.abc.Mapping, collections.abc.Set),
)


class _AnyInstance(type):
    """A type that everything is an instance of: msgspec checks what :func:`_decoded` returns."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return True


class _StandIn(metaclass=_AnyInstance):
    """Stands for a type that msgspec refuses; each has a subclass."""

    schema: ClassVar[Schema]
    decoded: ClassVar[Callable[[Any], Any]]


def _stand_in(kind: Any, schema: Schema, decoded: Callable[[Any], Any]) -> type[_StandIn]:
    name = getattr(kind, "__name__", "choice")
    return _AnyInstance(name, (_StandIn,), {"schema": schema, "decoded": staticmethod(decoded)})


def _is_choice(kind: Any) -> bool:
    return get_origin(kind) is Literal or (isinstance(kind, type) and issubclass(kind, enum.Enum))


def _is_known(kind: Any) -> bool:
    try:
        msgspec.json.Decoder(examined(kind))
    except Exception:  # values of several types; an enum may have a metaclass, which may raise anything
        return False
    return True


def _choice_stand_in(kind: Any) -> type[_StandIn]:
    """Return what stands for an enum or a literal; JSON has the values of an enum's members."""
    choices: list[Any] = list(get_args(kind) or kind)
    if not choices:
        raise NotImplementedError(f"{kind!r} has no members")
    values = [each.value if isinstance(each, enum.Enum) else each for each in choices]
    if wrong := [each for each in values if each is not None and type(each) not in (bool, int, float, str)]:
        raise NotImplementedError(f"{wrong[0]!r}, a value of {kind!r}, is neither text, a number, a bool nor None")

    def decoded(given: Any) -> Any:
        for value, choice in zip(values, choices, strict=True):
            if value == given and isinstance(value, bool) == isinstance(given, bool):
                return choice
        raise ValueError(f"Expected one of {', '.join(map(repr, values))}, got {given!r}")

    return _stand_in(kind, {"enum": values}, decoded)


def _fields_of(kind: Any) -> dict[str, tuple[Any, Any]] | None:
    """Return type and default of each field of a dataclass, a typed dict or a named tuple; ``None`` for other types.

    A default that is made for each object, or a field that may be absent, has ``UNSET``, which is not shown.
    """
    if not isinstance(kind, type):
        return None
    absent: Any = msgspec.UNSET
    hints = _hints(kind)
    record = cast("Any", kind)
    if dataclasses.is_dataclass(kind):
        defaults: dict[str, Any] = {
            field.name: (REQUIRED if field.default_factory is dataclasses.MISSING else absent)
            if field.default is dataclasses.MISSING
            else field.default
            for field in dataclasses.fields(kind)
            if field.init
        }
    elif is_typeddict(record):
        required: frozenset[str] = record.__required_keys__
        optional = {name for name, hint in hints.items() if get_origin(hint) is NotRequired}  # as text, it is not known
        defaults = {name: REQUIRED if name in required - optional else absent for name in hints}
    elif hasattr(record, "_fields") and hasattr(record, "_field_defaults"):  # a named tuple
        defaults = {name: record._field_defaults.get(name, REQUIRED) for name in record._fields}
    else:
        return None
    return {name: (_without_requirement(hints[name]), default) for name, default in defaults.items() if name in hints}


def _without_requirement(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) in (Required, NotRequired) else hint


def _has_unknown_choice(kind: Any, within: tuple[Any, ...] = ()) -> bool:
    """Return whether there is a type within ``kind``, at any depth, that needs a stand-in."""
    if any(kind is each for each in within):
        return False
    if _is_choice(kind):
        return not _is_known(kind)
    parts = list(get_args(kind)) or [hint for hint, _ in (_fields_of(kind) or {}).values()]
    return any(_has_unknown_choice(each, (*within, kind)) for each in parts)


def _record_stand_in(kind: Any, fields: Mapping[str, tuple[Any, Any]], within: tuple[Any, ...]) -> type[_StandIn]:
    """Return what stands for a dataclass, a typed dict or a named tuple, whose fields have stand-ins."""
    if kind in within:
        raise NotImplementedError(f"{kind!r} contains itself, and values of several types")
    parameters = parameters_of(fields, (*within, kind))

    def made(given: Mapping[str, Any]) -> Any:
        values = parameters.convert(given)
        return kind(**{name: value for name, value in values.items() if name in given})

    def made_from_list(given: Any) -> Any:
        if not isinstance(given, list) or len(cast("list[Any]", given)) > len(fields):
            raise ValueError(f"Expected an array of {len(fields)}")
        return made(dict(zip(fields, cast("list[Any]", given), strict=False)))

    if not issubclass(kind, tuple):
        return _stand_in(kind, {"title": kind.__name__, **parameters.schema}, made)
    schema = parameters.schema
    shown: Schema = {"type": "array", "prefixItems": list(schema["properties"].values()), "maxItems": len(fields)}
    shown |= {"minItems": len(schema["required"])} | ({"$defs": schema["$defs"]} if "$defs" in schema else {})
    return _stand_in(kind, shown, made_from_list)


def _described(kind: Any) -> Schema:
    """Return the schema of a type that msgspec does not know."""
    if issubclass(kind, _StandIn):
        return copy.deepcopy(kind.schema)
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
    if issubclass(origin, _StandIn):
        return origin.decoded(value)
    if origin in _LISTS or origin is collections.deque:
        items = msgspec.convert(value, examined(list[get_args(kind) or Any]), dec_hook=_decoded, str_keys=True)  # type: ignore[misc]
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
        return any(_needs_pydantic(each, depth - 1) for each in _hints(kind).values())
    return False


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _hints(kind: type) -> dict[str, Any]:
    from typing import get_type_hints

    try:
        return get_type_hints(kind, include_extras=True)
    except Exception:  # evaluating annotations may raise anything; msgspec reports it
        return {}


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
