"""Close objects in a schema: if it lists properties, the model writes no others.

A schema without ``additionalProperties`` allows any others, and a small model then writes them endlessly. An answer
without them still satisfies the schema, unless a second schema applies to the same object; such objects are not closed.
"""

from __future__ import annotations

from typing import Any, cast

from .subschemas import ANNOTATIONS, Schema, at, pointer_of

_KEEP_OPEN = frozenset(
    {
        *("additionalProperties", "patternProperties", "unevaluatedProperties", "propertyNames", "minProperties"),
        *("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "$ref", "$dynamicRef"),
        *("dependencies", "dependentSchemas", "dependentRequired", "extends"),
    }
)
_ALONE = ANNOTATIONS | {"type", "$defs", "definitions", "$schema", "$id", "id", "$anchor", "x-guidance"}
"""Keywords beside ``anyOf``, ``oneOf`` or ``$ref`` that do not constrain the same value."""


def close_objects(document: Schema, *, refs_stand_alone: bool) -> bool:
    """Add ``additionalProperties: false`` in place where the document stays satisfiable.

    Parameters:
        refs_stand_alone: whether the draft ignores keywords beside a ``$ref``, as drafts before 2019-09 do.

    Returns:
        Whether an object was closed.
    """
    seen: dict[tuple[int, bool], Schema] = {}
    waiting: list[tuple[Any, bool]] = [(document, False)]
    while waiting:
        schema, combined = waiting.pop()
        if not isinstance(schema, dict) or (id(cast("object", schema)), combined) in seen:
            continue
        schema = cast("Schema", schema)
        seen[id(schema), combined] = schema
        try:
            waiting += _inner(document, schema, combined, refs_stand_alone)
        except LookupError:  # a reference by name or to another document: its target is unknown
            return False
    alone = [schema for (key, combined), schema in seen.items() if not combined and (key, True) not in seen]
    closed = False
    for schema in alone:
        properties = schema.get("properties")
        required = schema.get("required", [])
        if not properties or _KEEP_OPEN & schema.keys() or not isinstance(required, list):
            continue
        if all(name in properties for name in cast("list[Any]", required)):
            schema["additionalProperties"] = closed = False
            closed = True
    return closed


def _inner(document: Schema, schema: Schema, combined: bool, refs_stand_alone: bool) -> list[tuple[Any, bool]]:
    inner: list[tuple[Any, bool]] = []
    for keyword, value in schema.items():
        alone = schema.keys() <= _ALONE | {keyword}
        match keyword, value:
            case "$ref" | "$dynamicRef", str():
                inner.append((at(document, pointer_of(value)), combined or not (alone or refs_stand_alone)))
            case "allOf", list():
                several = len(cast("list[Any]", value)) > 1
                inner += [(each, combined or several or not alone) for each in cast("list[Any]", value)]
            case "anyOf" | "oneOf", list():
                inner += [(each, combined or not alone) for each in cast("list[Any]", value)]
            case "properties", dict():
                also = combined or "patternProperties" in schema
                inner += [(each, also) for each in cast("Schema", value).values()]
            case "patternProperties" | "dependentSchemas" | "dependencies", dict():
                inner += [(each, True) for each in cast("Schema", value).values()]
            case "prefixItems" | "items", list():
                inner += [(each, combined) for each in cast("list[Any]", value)]
            case "items" | "additionalItems" | "additionalProperties", _:
                inner.append((value, combined))
            case "not" | "if" | "then" | "else" | "contains" | "unevaluatedItems" | "unevaluatedProperties", _:
                inner.append((value, True))
            case _:
                pass
    return inner
