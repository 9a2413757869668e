"""Rewrite keywords that llguidance ignores in terms of keywords that it supports.

A rewritten schema allows no value that the original does not allow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from .subschemas import Schema, keywords, places

MAX_NAMES = 200
"""Names that are listed at most: the time to build a grammar grows with the square of their number."""


def name_properties(schema: Schema) -> bool:
    """Rewrite ``propertyNames`` in place as ``properties`` or ``patternProperties``. Return whether any was rewritten.

    Zod and pydantic use ``propertyNames`` for records whose keys are an enumeration.
    """
    found = [keywords(place.schema) for place in places(schema) if "propertyNames" in keywords(place.schema)]
    rewritten = [_name_properties(each) for each in found]
    return any(rewritten)


def _name_properties(schema: Schema) -> bool:
    names = keywords(schema["propertyNames"])
    if not names.keys() <= {"type", "enum", "pattern", "title", "description"} or "patternProperties" in schema:
        return False
    named: Schema = schema.get("properties", {})
    others: Any = schema.get("additionalProperties", True)
    enum: list[Any] | None = names.get("enum")
    if enum is not None and "pattern" not in names and len(enum) <= MAX_NAMES:
        allowed = [name for name in enum if isinstance(name, str)]
        schema["properties"] = {name: value for name, value in named.items() if name in allowed}
        schema["properties"] |= {name: others for name in allowed if name not in named}
    elif "pattern" in names and enum is None and not named:
        schema["patternProperties"] = {names["pattern"]: others}
    else:
        return False
    del schema["propertyNames"]
    schema["additionalProperties"] = False
    return True


def put_contained_first(schema: Schema) -> bool:
    """Rewrite ``contains`` in place as a constraint on the first item. Return whether any was rewritten."""
    old = any(draft in str(schema.get("$schema", "")) for draft in ("draft-06", "draft-07", "2019-09"))
    found = [keywords(place.schema) for place in places(schema) if "contains" in keywords(place.schema)]
    rewritten = [_put_contained_first(each, old) for each in found]
    return any(rewritten)


def _put_contained_first(schema: Schema, old: bool) -> bool:
    items: Any = schema.get("items", True)
    counted = schema.keys() & {"prefixItems", "additionalItems", "minContains", "maxContains", "unevaluatedItems"}
    if counted or isinstance(items, list) or schema.get("maxItems", 1) < 1:
        return False
    contained = schema.pop("contains")
    first = contained if items is True else {"allOf": [items, contained]}
    schema |= {"items": [first], "additionalItems": items} if old else {"prefixItems": [first], "items": items}
    schema["minItems"] = max(schema.get("minItems", 1), 1)
    return True


def split_look_ahead(schema: Schema, accepts: Callable[[str], bool]) -> bool:
    """Rewrite in place the look-ahead at the beginning of patterns as further patterns. Return whether any was.

    Negative look-ahead is dropped: it cannot be expressed without look-around.

    Parameters:
        accepts: returns whether a pattern is supported as it is.
    """
    found = False
    for place in list(places(schema)):
        inner = keywords(place.schema)
        pattern = inner.get("pattern")
        if isinstance(pattern, str) and not accepts(pattern):
            parts = [part for part in look_ahead_parts(pattern) if accepts(part)]
            if parts:
                del inner["pattern"]
                inner["allOf"] = [*inner.get("allOf", ()), *({"pattern": part} for part in parts)]
                found = True
    return found


def look_ahead_parts(pattern: str) -> list[str]:
    """Return patterns that every match of ``pattern`` matches: the look-ahead at its beginning, and the rest."""
    parts: list[str] = []
    rest = pattern[1:]
    while pattern.startswith("^") and rest.startswith(("(?=", "(?!")):
        end = _end_of_group(rest)
        if rest[2] == "=":
            parts.append(f"^(?:{rest[3:end]})")
        rest = rest[end + 1 :]
    return [] if rest == pattern[1:] or _has_alternatives(rest) else [f"^{rest}", *parts]


def _depths(pattern: str) -> Iterator[tuple[int, str, int]]:
    """Yield the characters outside classes and escapes: position, character, and number of open groups after it."""
    depth = 0
    for match in re.finditer(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(.)", pattern, re.DOTALL):
        char = match[1] or ""
        depth += {"(": 1, ")": -1}.get(char, 0)
        yield match.start(), char, depth


def _end_of_group(pattern: str) -> int:
    return next((at for at, _, depth in _depths(pattern) if depth == 0), len(pattern))


def _has_alternatives(pattern: str) -> bool:
    return any(char == "|" and depth == 0 for _, char, depth in _depths(pattern))
