"""JSON schemas among themselves: references, merging, and whether two can both hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import unquote

from ....errors import UnsupportedError

Schema = dict[str, Any]

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
ANNOTATIONS = frozenset(
    {
        *("title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly"),
        *("$comment", "$schema", "$id", "id", "$defs", "definitions", "discriminator"),
        *("contentMediaType", "contentEncoding", "contentSchema"),
    }
)
"""Keywords that demand nothing."""

MAX_NESTING = 64
MAX_VISITS = 5000
"""How many schemas are looked at before a document counts as too large: references can make much of little."""


def refused(path: str, why: str) -> UnsupportedError:
    """The error for a construct that cannot be held to."""
    return UnsupportedError(
        f"The JSON schema has at {path} what structured output cannot hold the model to",
        cause=f"{why[:1].upper()}{why[1:]}.",
        suggestion="docs/structured-output.md lists what is supported.",
        feature="structured",
        data={"path": path},
    )


def is_annotation(keyword: str) -> bool:
    return keyword in ANNOTATIONS or keyword.startswith("x-")


def without_annotations(schema: Mapping[str, Any]) -> Schema:
    return {key: value for key, value in schema.items() if not is_annotation(key)}


class References:
    """What the references of one document point to."""

    def __init__(self, document: Schema) -> None:
        self._document = document
        self._visits = 0

    def target(self, reference: Any, path: str) -> tuple[Any, str]:
        """The schema that ``reference`` means, and its path."""
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise refused(f"{path}.$ref", f"the reference {reference!r} does not point into the schema itself")
        target: Any = self._document
        where = "$"
        for token in reference.split("/")[1:]:
            key = unquote(token).replace("~1", "/").replace("~0", "~")
            try:
                target = cast("Any", target[int(key)] if isinstance(target, list) else target[key])
            except (KeyError, ValueError, IndexError, TypeError):
                raise refused(f"{path}.$ref", f"nothing is at {reference!r}") from None
            where += f".{key}"
        return target, where

    def flat(self, schema: Any, path: str, depth: int = 0) -> Schema | bool:
        """``schema`` without ``$ref`` and ``allOf`` at its top, everything that they demand merged into one."""
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise refused(path, f"a schema is an object or a boolean, not {type(schema).__name__}")
        self._visits += 1
        if depth > MAX_NESTING or self._visits > MAX_VISITS:
            raise refused(path, "a reference leads back to itself, or the schema is too large")
        own = without_annotations(cast("Schema", schema))
        parts: list[tuple[Any, str]] = []
        if "$ref" in own:
            parts.append(self.target(own.pop("$ref"), path))
        if "allOf" in own:
            all_of = own.pop("allOf")
            if not isinstance(all_of, list) or not all_of:
                raise refused(f"{path}.allOf", "it must be a list of schemas")
            parts += [(part, f"{path}.allOf[{i}]") for i, part in enumerate(cast("list[Any]", all_of))]
        result: Schema | bool = own
        for part, where in parts:
            result = merge(result, self.flat(part, where, depth + 1), path)
        return result


def merge(a: Schema | bool, b: Schema | bool, path: str) -> Schema | bool:
    """One schema that demands what two demand."""
    if a is False or b is False:
        return False
    if a is True or not a:
        return b
    if b is True or not b:
        return a
    assert isinstance(a, dict) and isinstance(b, dict)
    out = dict(a)
    for key, value in b.items():
        if key in ("properties", "additionalProperties"):
            continue
        out[key] = _merged_keyword(key, a[key], value, path) if key in a and not same(a[key], value) else value
    if "properties" in a or "properties" in b or "additionalProperties" in a or "additionalProperties" in b:
        out |= _merged_properties(a, b)
    return out


def _merged_keyword(key: str, a: Any, b: Any, path: str) -> Any:
    match key:
        case "type":
            first, second = types_of({"type": a}), types_of({"type": b})
            common = [t for t in first if t in second or (t == "integer" and "number" in second)]
            return common + [t for t in second if t == "integer" and "number" in first and t not in common]
        case "required":
            return list(dict.fromkeys([*a, *b]))
        case "enum":
            return [value for value in a if any(same(value, other) for other in b)]
        case "minimum" | "exclusiveMinimum" | "minLength" | "minItems" | "minProperties":
            return max(a, b)
        case "maximum" | "exclusiveMaximum" | "maxLength" | "maxItems" | "maxProperties":
            return min(a, b)
        case "items":
            return {"allOf": [a, b]}
        case "const":
            raise refused(path, "two constants cannot both be had")
        case _:
            raise refused(path, f"two different {key!r} at once are not supported")


def _merged_properties(a: Schema, b: Schema) -> Schema:
    mine, theirs = a.get("properties", {}), b.get("properties", {})
    properties: dict[str, Any] = {}
    for name in [*mine, *(name for name in theirs if name not in mine)]:
        demands = [side[name] for side in (mine, theirs) if name in side]
        if name not in mine:
            demands.append(a.get("additionalProperties", True))
        elif name not in theirs:
            demands.append(b.get("additionalProperties", True))
        demands = [demand for demand in demands if demand is not True]
        properties[name] = demands[0] if len(demands) == 1 else {"allOf": demands} if demands else True
    out: Schema = {"properties": properties}
    if not properties:
        out = {}
    others = [side["additionalProperties"] for side in (a, b) if "additionalProperties" in side]
    if others:
        out["additionalProperties"] = others[0] if len(others) == 1 or same(*others) else {"allOf": others}
        if False in others:
            out["additionalProperties"] = False
    return out


def types_of(schema: Mapping[str, Any]) -> list[str]:
    """The types that ``schema`` names; all of them where it names none."""
    named = schema.get("type")
    if named is None:
        return [t for t in TYPES if t != "integer"]
    return [named] if isinstance(named, str) else list(named)


def same(a: Any, b: Any) -> bool:
    """Equality of JSON: 1 is 1.0, and neither is true."""
    return type_of(a) == type_of(b) and (
        a == b if not isinstance(a, dict | list) else json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    )


def type_of(value: Any) -> str:
    """The JSON type of a value; ``number`` for integers too."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def cannot_both_hold(a: Schema | bool, b: Schema | bool, references: References, depth: int = 0) -> bool:
    """Whether it is certain that nothing made after one schema satisfies the other."""
    if a is False or b is False:
        return True
    if a is True or b is True or depth > 8:
        return False
    a, b = (_values_as_enum(side) for side in (a, b))
    first, second = _json_types(a), _json_types(b)
    if not first & second:
        return True
    if "enum" in a and "enum" in b:
        return not any(same(x, y) for x in a["enum"] for y in b["enum"])
    if first & second == {"object"}:
        return _never_the_other(a, b, references, depth) and _never_the_other(b, a, references, depth)
    return False


def _values_as_enum(schema: Schema) -> Schema:
    return {**schema, "enum": [schema["const"]]} if "const" in schema else schema


def _json_types(schema: Schema) -> set[str]:
    if "enum" in schema:
        return {type_of(value) for value in schema["enum"]}
    return {"number" if name == "integer" else name for name in types_of(schema)}


def _never_the_other(made: Schema, other: Schema, references: References, depth: int) -> bool:
    """Whether an object made after one schema never satisfies the other."""
    properties, others = made.get("properties", {}), other.get("properties", {})
    required = made.get("required", [])
    for name in other.get("required", []):
        if name not in properties and name not in required and made.get("additionalProperties") in (None, False):
            return True
        if name in required and name in properties and name in others:
            one, two = references.flat(properties[name], "$"), references.flat(others[name], "$")
            if cannot_both_hold(one, two, references, depth + 1):
                return True
    return other.get("additionalProperties") is False and any(name not in others for name in required)
