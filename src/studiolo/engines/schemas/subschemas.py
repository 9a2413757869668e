"""JSON Schema's keywords (drafts 4 to 2020-12), and the subschemas of a schema with their places."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast
from urllib.parse import quote, unquote

Schema = dict[str, Any]
Pointer = tuple[str | int, ...]
"""The keys and indices from the root of a document to a place in it."""

ONE = frozenset(
    {
        *("not", "if", "then", "else", "items", "additionalItems", "additionalProperties", "contains"),
        *("propertyNames", "unevaluatedItems", "unevaluatedProperties", "contentSchema", "extends"),
    }
)
"""Keywords whose value is a schema."""

LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
"""Keywords whose value is a list of schemas."""

MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"})
"""Keywords whose value is an object with schemas as values."""

ANNOTATIONS = frozenset(
    {
        *("title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly"),
        *("$comment", "discriminator", "contentMediaType", "contentEncoding"),
    }
)
"""Keywords that do not constrain a value."""

ASSERTIONS = frozenset(
    {
        *("type", "enum", "const", "multipleOf", "maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum"),
        *("maxLength", "minLength", "pattern", "format", "maxItems", "minItems", "uniqueItems", "maxContains"),
        *("minContains", "maxProperties", "minProperties", "required", "dependentRequired"),
    }
)

CORE = frozenset({"$schema", "$id", "id", "$ref", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary"}) | {
    "$recursiveRef",
    "$recursiveAnchor",
}

KEYWORDS = ONE | LISTS | MAPS | ANNOTATIONS | ASSERTIONS | CORE


class Place(NamedTuple):
    """A subschema and its place in the document."""

    pointer: Pointer
    schema: Any


def keywords(schema: Any) -> Schema:
    """Return the keywords of a schema with their values; empty for a boolean schema."""
    return cast("Schema", schema) if isinstance(schema, dict) else {}


def children(schema: Any) -> Iterator[Place]:
    """Yield the direct subschemas of ``schema``."""
    for keyword, value in keywords(schema).items():
        if isinstance(value, list):
            if keyword in LISTS:
                yield from (Place((keyword, i), each) for i, each in enumerate(cast("list[Any]", value)))
        elif keyword in MAPS:
            if isinstance(value, dict):
                named = cast("Schema", value).items()
                yield from (Place((keyword, name), each) for name, each in named if not isinstance(each, list))
        elif keyword in ONE:
            yield Place((keyword,), value)


def places(schema: Any) -> Iterator[Place]:
    """Yield ``schema`` and all its subschemas, outer ones first."""
    waiting = [Place((), schema)]
    while waiting:
        place = waiting.pop()
        yield place
        inner = [Place(place.pointer + child.pointer, child.schema) for child in children(place.schema)]
        waiting += reversed(inner)


def path_of(pointer: Pointer) -> str:
    """Return a pointer in the form for users: ``$.properties.a.anyOf[0]``."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in pointer)


def at(document: Any, pointer: Pointer) -> Any:
    """Return the value at ``pointer``; list indices may be strings of digits. Raise :class:`LookupError` if absent."""
    for step in pointer:
        try:
            document = document[int(step) if isinstance(document, list) else step]
        except (TypeError, ValueError):
            raise LookupError(step) from None
    return document


def pointer_of(reference: str) -> Pointer:
    """Return the pointer of a reference within its document. Raise :class:`LookupError` for any other reference."""
    if reference != "#" and not reference.startswith("#/"):
        raise LookupError(reference)
    return tuple(unquote(token).replace("~1", "/").replace("~0", "~") for token in reference.split("/")[1:])


def reference_to(pointer: Pointer) -> str:
    """Return the reference to a place within its document."""
    return "#" + "".join(f"/{quote(str(step).replace('~', '~0').replace('/', '~1'))}" for step in pointer)


def depth_of(text: str) -> int:
    """Return the nesting depth of objects and lists in a JSON text, without parsing it."""
    deepest = depth = 0
    in_string = escaped = False
    for char in text:
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
        elif char == '"':
            in_string = True
        elif char in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "}]":
            depth -= 1
    return deepest
