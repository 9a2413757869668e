"""Narrow ``oneOf``, which llguidance reads as ``anyOf``, to the alternatives whose values satisfy no other one.

An integer is a number, too: of ``integer`` and ``number``, integers satisfy both. What cannot be decided from types,
``const`` and ``enum`` is left to the validation of the finished answer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

from jsonschema_specifications import REGISTRY  # pyright: ignore[reportMissingTypeStubs]

from .schema_checks import RefusedError
from .subschemas import ANNOTATIONS, CORE, KEYWORDS, Pointer, Schema, at, keywords, path_of, places, pointer_of
from .validation import draft_of, is_readable, remove_patterns

MAX_VALUES = 200
"""Values of ``enum`` that are compared at most."""

_ALL = frozenset({"null", "boolean", "integer", "fraction", "string", "array", "object"})
"""The kinds of values; a fraction is a number that is not an integer."""

_ASSERTIONS = KEYWORDS - ANNOTATIONS - CORE - {"$defs", "definitions"} | {"$ref"}
_INSTEAD = "Write anyOf in place of oneOf."


def narrow_one_of(document: Schema) -> list[str]:
    """Narrow the alternatives of a schema in place.

    Returns:
        A warning for each place where numbers with decimals are left out.

    Raises:
        RefusedError: no value satisfies exactly one alternative, or no grammar can hold those that do.
    """
    found = [pointer for pointer, place in places(document) if isinstance(keywords(place).get("oneOf"), list)]
    if not found:
        return []
    given = copy.deepcopy(document)
    remove_patterns(given, is_readable, relax=True)
    validator = draft_of(given)(given, registry=REGISTRY)
    warnings: list[str] = []
    for pointer in reversed(found):
        alternatives: list[Any] = at(given, pointer)["oneOf"]
        if len(alternatives) < 2:
            continue

        def is_right(value: Any, alternatives: list[Any] = alternatives) -> bool:
            return sum(validator.evolve(schema=each).is_valid(value) for each in alternatives) == 1

        kept, lost = _narrowed(given, alternatives, is_right)
        place = (*pointer, "oneOf")
        if all(each is None for each in kept):
            raise _refused(place, lost)
        if lost:
            warnings.append(f"{path_of(place)}: an integer satisfies {lost}, so the answer has no number here")
        schema = at(document, pointer)
        schema["oneOf"] = [
            {**keywords(old), **new} if new else old
            for new, old in zip(kept, schema["oneOf"], strict=True)
            if new is not None
        ]
    return warnings


def _narrowed(document: Schema, alternatives: list[Any], is_right: Callable[[Any], bool]) -> tuple[list[Any], str]:
    """Return for each alternative the keywords that narrow it; ``None`` if nothing is left of it.

    The second result names the alternatives that leave only numbers with decimals; it is empty if there are none.
    """
    plain = [_plain(document, each) for each in alternatives]
    kept: list[Any] = []
    fractions: list[int] = []
    for index, alternative in enumerate(alternatives):
        others = frozenset(kind for i, each in enumerate(plain) if i != index for kind in each or ())
        values = _values(alternative)
        if values is not None:
            right = [value for value in values if is_right(value)]
            kept.append({} if len(right) == len(values) else {"enum": right} if right else None)
            if right and "const" in keywords(alternative):
                kept[-1] = {}
            continue
        kinds = plain[index] or _kinds(alternative)
        left = kinds - others
        if plain[index] is not None:
            singles = {"null": (None,), "boolean": (True, False)}
            left -= {kind for kind, each in singles.items() if not any(is_right(value) for value in each)}
        if "fraction" in left and "integer" in kinds and "integer" not in left:
            left -= {"fraction"}
            fractions.append(index)
        kept.append({} if left == kinds else _of_kinds(left))
    return kept, f"alternative {fractions[0]} and another one" if fractions else ""


def _plain(document: Schema, alternative: Any, depth: int = 0) -> frozenset[str] | None:
    """Return the kinds of values, all of whose values satisfy a schema; ``None`` if it demands more than a type."""
    if alternative is True:
        return _ALL
    schema = keywords(alternative)
    demands = schema.keys() & _ASSERTIONS
    if demands == {"$ref"} and depth < 8:
        try:
            return _plain(document, at(document, pointer_of(schema["$ref"])), depth + 1)
        except LookupError:
            return None
    if demands == {"allOf"} and len(schema["allOf"]) == 1:
        return _plain(document, schema["allOf"][0], depth + 1)
    return _kinds(schema) if alternative is not False and demands <= {"type"} else None


def _kinds(alternative: Any) -> frozenset[str]:
    types = keywords(alternative).get("type")
    if types is None:
        return _ALL
    names = set(cast("list[str]", types) if isinstance(types, list) else [types])
    return frozenset(names & _ALL | ({"integer", "fraction"} if "number" in names else set()))


def _values(alternative: Any) -> list[Any] | None:
    schema = keywords(alternative)
    if "const" in schema:
        return [schema["const"]]
    values: Any = schema.get("enum", [True, False] if schema.get("type") == "boolean" else None)
    listed = cast("list[Any]", values) if isinstance(values, list) else None
    return listed if listed is not None and len(listed) <= MAX_VALUES else None


def _of_kinds(left: frozenset[str]) -> Schema | None:
    """Return the keyword for the kinds that are left of an alternative; ``None`` for nothing."""
    types = sorted((left - {"integer", "fraction"}) | ({"number"} if "fraction" in left else left & {"integer"}))
    return {"type": types} if types else None


def _refused(place: Pointer, lost: str) -> RefusedError:
    if lost:
        why = f"an integer satisfies {lost}, so only numbers with decimals are valid, and no grammar can hold these"
        hint = f'{_INSTEAD} Of "integer" and "number", the second alone says the same.'
        return RefusedError("unsupported", path_of(place), why, hint)
    why = "every value satisfies several of its alternatives, or none"
    return RefusedError("unsatisfiable", path_of(place), why, _INSTEAD)
