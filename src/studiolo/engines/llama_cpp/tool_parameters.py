"""Parameters of tools in a form that llama-server's own converter takes.

A chat in the model's own format leaves the grammar of the calls to llama-server. Its converter refuses much that JSON
Schema allows, and some of it ends the process: circular references under ``allOf``, a minLength above the maxLength.
What it is given here allows at least what the parameters allow.
Source of what it knows: llama.cpp, common/json-schema-to-grammar.cpp, and trials.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

from ..schemas.subschemas import LISTS, MAPS, ONE, Schema, children, keywords

MAX_REPETITIONS = 500
"""How often a part of a grammar may be repeated; llama.cpp refuses some 2000, and counts longer parts more."""

MAX_DEPTH = 50

MAX_PROPERTIES = 300
"""Properties of one object; the time of the converter grows with the square of their number, or faster."""

_KEPT: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("title", "description", "pattern", "format", "$schema"), str),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), (int, float)),
    "default": (str, int, float),
    "enum": list,
    "const": object,
    "required": list,
    "additionalProperties": bool,
}
_TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
_COMBINED = ("anyOf", "oneOf", "allOf")
_HELD = {*_COMBINED, "properties", "items", "prefixItems", "additionalProperties", "$defs", "definitions"}
_REFERENCE = re.compile(r"#/(\$defs|definitions)/([^/~%]+)")
_PATTERN = re.compile(
    r"""\^(?:
        (?:[A-Za-z0-9_ @:,;#-] | \\[dws.] | \[(?:[A-Za-z0-9_ .,:-]|\\[dws])+\])  # a character, or one of a class
        (?:[+*?] | \{\d{1,2}(?:,(?:\d{1,2})?)?\})?
    )+\$""",
    re.VERBOSE,
)


def for_converter(parameters: Schema) -> Schema:
    """Return ``parameters`` in a form that the converter accepts: unchanged where it accepts them."""
    return _Form(parameters).of(parameters, depth=0, merged=False)


class _Form:
    def __init__(self, document: Schema) -> None:
        self._document = document

    def of(self, schema: Any, depth: int, merged: bool) -> Schema:
        """The form of a schema within the document.

        Parameters:
            merged: whether it is part of an ``allOf``, whose parts the converter copies into one.
        """
        form: Schema = {}
        if depth > MAX_DEPTH:
            return form
        for keyword, value in keywords(schema).items():
            if keyword == "type" and _are_types(value):
                form["type"] = value
            elif keyword == "$ref" and self._is_safe(value, merged):
                form["$ref"] = value
            elif keyword in _HELD:
                inner = self._inner(keyword, value, depth + 1, merged and keyword in _COMBINED)
                if inner or (inner == {} and keyword in MAPS | {"additionalProperties"}):
                    form[keyword] = inner
            if isinstance(value, _KEPT.get(keyword, ())) and value != []:
                form[keyword] = value
        if not _PATTERN.fullmatch(form.get("pattern", "^a$")):
            del form["pattern"]
        if len(form.get("properties", ())) > MAX_PROPERTIES:
            for keyword in ("properties", "required", "additionalProperties"):
                form.pop(keyword, None)
        return form | _lengths(keywords(schema))

    def _inner(self, keyword: str, value: Any, depth: int, merged: bool) -> Any:
        if isinstance(value, list) and keyword in LISTS:
            return [self.of(each, depth, merged or keyword == "allOf") for each in cast("list[Any]", value)]
        if isinstance(value, dict) and keyword in MAPS:
            return {name: self.of(each, depth, merged) for name, each in cast("Schema", value).items()}
        return self.of(value, depth, merged) if isinstance(value, dict) and keyword in ONE else None

    def _is_safe(self, reference: Any, merged: bool) -> bool:
        """Return whether the converter can follow a reference to its end."""
        start = self._found(reference)
        if start is None:
            return False
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for inner in _references(waiting.pop(), everywhere=merged):
                if inner == reference:
                    return False
                if inner not in seen:
                    seen.add(inner)
                    waiting.append(self._found(inner) or {})
        return True

    def _found(self, reference: Any) -> Schema | None:
        match = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
        return match and keywords(self._document.get(match[1])).get(match[2])


def _references(schema: Any, *, everywhere: bool) -> Iterator[str]:
    """Yield what a schema refers to; without ``everywhere``, only the references that replace it."""
    waiting: list[Any] = [schema]
    while waiting:
        schema = waiting.pop()
        if isinstance(reference := keywords(schema).get("$ref"), str):
            yield reference
        waiting += [child.schema for child in children(schema) if everywhere or child.pointer[0] in _COMBINED]


def _are_types(value: Any) -> bool:
    types = cast("list[Any]", value if isinstance(value, list) else [value])
    return bool(types) and all(each in _TYPES for each in types)


def _lengths(schema: Schema) -> Schema:
    """Return the limits of lengths, without contradictions."""
    kept: Schema = {}
    for low, high in (("minLength", "maxLength"), ("minItems", "maxItems")):
        least, most = schema.get(low), schema.get(high)
        if isinstance(most, int) and isinstance(least or 0, int) and (least or 0) > most:
            continue
        if isinstance(least, int) and least >= 0:
            kept[low] = min(least, MAX_REPETITIONS)
        if isinstance(most, int) and 0 <= most <= MAX_REPETITIONS:
            kept[high] = most
    return kept
