"""Rewrite ``unevaluatedProperties`` and ``unevaluatedItems``, which llguidance ignores, as what applies to the rest.

A rewritten schema allows no value that the original does not allow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from .schema_checks import RefusedError
from .subschemas import Pointer, Schema, at, keywords, path_of, places, pointer_of

_CONDITIONAL = ("anyOf", "oneOf", "if", "then", "else", "dependentSchemas")
_HINTS = {
    "unevaluatedProperties": "List every property in properties beside it, or write additionalProperties in its place.",
    "unevaluatedItems": "List the first items in prefixItems beside it, and write items in its place.",
}


class _Evaluated(NamedTuple):
    """What a schema evaluates of an object and of a list, whatever the value is.

    Parameters:
        names: the properties.
        patterns: the patterns of properties.
        first: the number of items at the beginning.
        others: the keywords that apply to all other properties or items.
        conditional: whether more may be evaluated.
    """

    names: frozenset[str]
    patterns: frozenset[str]
    first: int
    others: frozenset[str]
    conditional: bool

    def __or__(self, other: Any) -> _Evaluated:
        return _Evaluated(
            self.names | other.names,
            self.patterns | other.patterns,
            max(self.first, other.first),
            self.others | other.others,
            self.conditional or other.conditional,
        )


_NOTHING = _Evaluated(frozenset(), frozenset(), 0, frozenset(), False)
_REST = {
    "unevaluatedProperties": {"additionalProperties", "unevaluatedProperties"},
    "unevaluatedItems": {"items", "additionalItems", "unevaluatedItems"},
}


def apply_to_the_rest(document: Schema, *, lists_in_items: bool) -> None:
    """Rewrite the keywords in place.

    Parameters:
        lists_in_items: whether ``items`` may be a list, as in draft 2019-09.

    Raises:
        RefusedError: what is evaluated depends on the value.
    """
    for pointer, place in list(places(document)):
        schema = keywords(place)
        for keyword in ("unevaluatedProperties", "unevaluatedItems"):
            if keyword in schema:
                _rewrite(document, schema, (*pointer, keyword), lists_in_items)


def _rewrite(document: Schema, schema: Schema, place: Pointer, lists_in_items: bool) -> None:
    keyword = str(place[-1])
    rest = schema.pop(keyword)
    if rest is True or (keyword == "unevaluatedItems" and _is_contained(schema, rest)):
        return
    base = _evaluated(document, schema, frozenset())
    if base.others & _REST[keyword]:
        return  # everything is evaluated
    listed = [each for each in ("anyOf", "oneOf") if isinstance(schema.get(each), list)]
    alternatives: list[Any] = schema[listed[0]] if len(listed) == 1 else []
    evaluated = [_evaluated(document, each, frozenset(), inner=True) for each in alternatives]
    if len(listed) > 1 or any(each.conditional for each in (base, *evaluated)):
        raise RefusedError(
            "unsupported", path_of(place), f"what {keyword} applies to depends on the value", _HINTS[keyword]
        )
    form = _rest_of_list if keyword == "unevaluatedItems" else _rest_of_object
    if not any(each != _NOTHING for each in evaluated):
        _merge(schema, form(base, rest, lists_in_items))
        return
    schema[listed[0]] = [
        each if part.others & _REST[keyword] else {"allOf": [each, form(base | part, rest, lists_in_items)]}
        for each, part in zip(alternatives, evaluated, strict=True)
    ]


def _is_contained(schema: Schema, rest: Any) -> bool:
    """Rewrite in place the keyword beside ``contains``, which evaluates the items that it applies to."""
    if "contains" not in schema or schema.keys() & {"items", "prefixItems", "allOf", "anyOf", "oneOf", "$ref", "if"}:
        return False
    schema["items"] = schema["contains"] if rest is False else {"anyOf": [schema["contains"], rest]}
    return True


def _evaluated(document: Schema, schema: Any, seen: frozenset[int], *, inner: bool = False) -> _Evaluated:
    found = keywords(schema)
    if id(found) in seen:
        return _NOTHING
    seen |= {id(found)}
    listed = "prefixItems" if isinstance(found.get("prefixItems"), list) else "items"
    first = found.get(listed)
    evaluated = _Evaluated(
        frozenset(keywords(found.get("properties"))),
        frozenset(keywords(found.get("patternProperties"))),
        len(cast("list[Any]", first)) if isinstance(first, list) else 0,
        frozenset(found.keys() & (_REST["unevaluatedProperties"] | _REST["unevaluatedItems"]))
        - ({"items"} if isinstance(found.get("items"), list) else set()),
        _is_conditional(document, found, seen, inner=inner),
    )
    for part in _parts(document, found):
        evaluated |= _evaluated(document, part, seen, inner=True)
    return evaluated


def _parts(document: Schema, schema: Schema) -> Iterator[Any]:
    """Yield the schemas that always apply to the same value."""
    parts = schema.get("allOf")
    yield from cast("list[Any]", parts) if isinstance(parts, list) else ()
    reference = schema.get("$ref")
    if isinstance(reference, str):
        try:
            yield at(document, pointer_of(reference))
        except LookupError:
            yield {"if": {"properties": {"unknown": True}}}


def _is_conditional(document: Schema, schema: Schema, seen: frozenset[int], *, inner: bool) -> bool:
    """Return whether keywords that apply to some values alone evaluate more; ``anyOf`` of the outermost is split."""
    for keyword in _CONDITIONAL:
        value = schema.get(keyword)
        if value is None or (not inner and keyword in ("anyOf", "oneOf")):
            continue
        inside = cast("list[Any]", value) if isinstance(value, list) else [value]
        if keyword == "dependentSchemas":
            inside = list(keywords(value).values())
        if any(_evaluated(document, each, seen, inner=True) != _NOTHING for each in inside):
            return True
    return "contains" in schema and "items" not in schema


def _rest_of_object(evaluated: _Evaluated, rest: Any, _: bool) -> Schema:
    return {
        "properties": dict.fromkeys(sorted(evaluated.names), True),
        "patternProperties": dict.fromkeys(sorted(evaluated.patterns), True),
        "additionalProperties": rest,
    }


def _rest_of_list(evaluated: _Evaluated, rest: Any, lists_in_items: bool) -> Schema:
    first = [True] * evaluated.first
    if lists_in_items:
        return {"items": first, "additionalItems": rest} if first else {"items": rest}
    return {"prefixItems": first, "items": rest} if first else {"items": rest}


def _merge(schema: Schema, rest: Schema) -> None:
    """Put in place the keywords for the rest beside those of the schema."""
    for keyword, value in rest.items():
        given = schema.get(keyword)
        if isinstance(value, list):
            own = cast("list[Any]", given) if isinstance(given, list) else []
            schema[keyword] = [*own, *cast("list[Any]", value)[len(own) :]]
        elif keyword in ("properties", "patternProperties"):
            joint = {**keywords(given), **{name: each for name, each in value.items() if name not in keywords(given)}}
            if joint:
                schema[keyword] = joint
        else:
            schema[keyword] = value
