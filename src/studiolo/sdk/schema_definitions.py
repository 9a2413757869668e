"""Definitions of JSON schemas, ``$defs``, moved from parts of a schema to the whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

Schema = dict[str, Any]


def hoist_all(schema: Any, into: Schema) -> None:
    """Move the definitions of schemas within ``schema`` to ``into``, in place."""
    if isinstance(schema, list):
        for each in cast("list[Any]", schema):
            hoist_all(each, into)
    elif isinstance(schema, dict):
        inner = cast("Schema", schema)
        for each in list(inner.values()):
            hoist_all(each, into)
        if inner is not into and "$defs" in inner:
            inner |= hoisted(inner, into)


def hoisted(inner: Schema, into: Schema) -> Schema:
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
