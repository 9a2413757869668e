"""Dynamic references, and what applies to unevaluated properties and items: in the grammar, or refused by path."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from studiolo.engines.schemas.grammar_samples import draw
from studiolo.engines.schemas.preparation import prepare
from studiolo.engines.schemas.schema_checks import RefusedError
from studiolo.engines.schemas.validation import check
from tests.support.walk_grammar import allows, matcher

DRAFT_7 = "http://json-schema.org/draft-07/schema#"
DRAFT_2019 = "https://json-schema.org/draft/2019-09/schema"
WHOLE: dict[str, Any] = {"type": "integer"}
TEXT: dict[str, Any] = {"type": "string"}
NULL: dict[str, Any] = {"type": "null"}

DYNAMIC: list[tuple[Any, list[Any], list[Any]]] = [
    ({"$defs": {"n": {"$dynamicAnchor": "n", **WHOLE}}, "$dynamicRef": "#n"}, [1], ["a"]),
    ({"$defs": {"n": {"$anchor": "n", **WHOLE}}, "$dynamicRef": "#n"}, [1], ["a"]),
    ({"$defs": {"a/b %": WHOLE}, "$dynamicRef": "#/$defs/a~1b%20%25"}, [1], ["a"]),
    (
        {
            "$dynamicAnchor": "node",
            "type": "object",
            "properties": {"next": {"anyOf": [{"$dynamicRef": "#node"}, NULL]}},
            "required": ["next"],
            "additionalProperties": False,
        },
        [{"next": None}, {"next": {"next": None}}],
        [{"next": 1}, {"next": {}}],
    ),
    (  # the root has the anchor, and validation begins there
        {
            "$id": "https://schemas.example/texts",
            "$ref": "list",
            "$defs": {
                "text": {"$dynamicAnchor": "item", **TEXT},
                "list": {
                    "$id": "list",
                    "type": "array",
                    "items": {"$dynamicRef": "#item"},
                    "$defs": {"any": {"$dynamicAnchor": "item"}},
                },
            },
        },
        [["a"], []],
        [[1]],
    ),
    (
        {"$defs": {"n": {"$dynamicAnchor": "n", "maximum": 5}, "m": WHOLE}, "$ref": "#/$defs/m", "$dynamicRef": "#n"},
        [5],
        [6, 1.5],
    ),
    (
        {
            "$schema": DRAFT_2019,
            "$recursiveAnchor": True,
            "type": "object",
            "properties": {"c": {"$recursiveRef": "#"}},
            "additionalProperties": False,
        },
        [{}, {"c": {"c": {}}}],
        [{"c": 1}],
    ),
]

A_WHOLE = {"properties": {"a": WHOLE}, "required": ["a"]}
B_TEXT = {"properties": {"b": TEXT}, "required": ["b"]}
UNEVALUATED: list[tuple[Any, list[Any], list[Any]]] = [
    ({"properties": {"a": WHOLE}, "unevaluatedProperties": False}, [{}, {"a": 1}], [{"b": 1}, {"a": "x"}]),
    ({"properties": {"a": WHOLE}, "unevaluatedProperties": TEXT}, [{"a": 1, "b": "x"}], [{"b": 1}]),
    ({"patternProperties": {"^x": WHOLE}, "unevaluatedProperties": False}, [{"x1": 1}], [{"y": 1}, {"x": "a"}]),
    ({"allOf": [A_WHOLE, B_TEXT], "unevaluatedProperties": False}, [{"a": 1, "b": "x"}], [{"a": 1, "b": "x", "c": 1}]),
    (
        {"$ref": "#/$defs/a", "properties": {"c": TEXT}, "unevaluatedProperties": False, "$defs": {"a": A_WHOLE}},
        [{"a": 1}, {"a": 1, "c": "x"}],
        [{"c": "x"}, {"a": 1, "b": 1}],
    ),
    ({"anyOf": [A_WHOLE, B_TEXT], "unevaluatedProperties": False}, [{"a": 1}, {"b": "x"}], [{}, {"a": 1, "c": 1}]),
    (
        {"oneOf": [A_WHOLE, B_TEXT], "properties": {"z": NULL}, "unevaluatedProperties": WHOLE},
        [{"a": 1, "q": 1}],
        [{"z": 1, "a": 1}, {"a": 1, "q": "x"}],
    ),
    ({"additionalProperties": WHOLE, "unevaluatedProperties": False}, [{"q": 1}], [{"q": "x"}]),
    ({"allOf": [{"additionalProperties": WHOLE}], "unevaluatedProperties": False}, [{"q": 1}], [{"q": "x"}]),
    ({"properties": {"a": WHOLE}, "unevaluatedProperties": True}, [{"a": 1}], [{"a": "x"}]),
]
LISTS: list[tuple[Any, list[Any], list[Any]]] = [
    ({"unevaluatedItems": False}, [[]], [[1]]),
    ({"unevaluatedItems": WHOLE}, [[], [1]], [["a"]]),
    ({"prefixItems": [WHOLE, TEXT], "unevaluatedItems": False}, [[1, "a"]], [[1, "a", 1]]),
    ({"prefixItems": [WHOLE], "unevaluatedItems": TEXT}, [[1, "a"]], [[1, 1], ["a"]]),
    ({"items": WHOLE, "unevaluatedItems": False}, [[1, 2]], [["a"]]),
    ({"allOf": [{"prefixItems": [WHOLE]}], "unevaluatedItems": False}, [[1], []], [[1, 2], ["a"]]),
    (
        {"anyOf": [{"prefixItems": [WHOLE]}, {"prefixItems": [TEXT, TEXT]}], "unevaluatedItems": False},
        [[1], ["a", "b"]],
        [[1, 1], ["a", "b", "c"]],
    ),
    ({"contains": {"const": 7}, "unevaluatedItems": False}, [[7], [7, 7]], [[1], [7, 1], []]),
    ({"contains": WHOLE, "unevaluatedItems": TEXT}, [[1, "a"]], [[1, None]]),
    ({"$schema": DRAFT_2019, "items": [WHOLE], "unevaluatedItems": False}, [[1]], [[1, 2], ["a"]]),
]
CASES = [
    *DYNAMIC,
    *(({"type": "object", **schema}, right, wrong) for schema, right, wrong in UNEVALUATED),
    *(({"type": "array", **schema}, right, wrong) for schema, right, wrong in LISTS),
]


@pytest.mark.parametrize(("schema", "right", "wrong"), CASES, ids=lambda each: json.dumps(each)[:70])
def test_the_grammar_holds_what_the_schema_says(schema: Any, right: list[Any], wrong: list[Any]) -> None:
    text = json.dumps(schema)
    grammar_json = prepare(text).grammar_json
    for value in right:
        answer = json.dumps(value, separators=(",", ":"))
        assert check(text, answer) is None and allows(grammar_json, answer), answer
    for value in wrong:
        answer = json.dumps(value, separators=(",", ":"))
        assert check(text, answer) is not None and not allows(grammar_json, answer), answer
    rng = random.Random(7)
    drawn = [answer for _ in range(30) if (answer := draw(matcher(grammar_json), rng)) is not None]
    assert drawn and [answer for answer in drawn if check(text, answer) is not None] == []


def test_a_draft_without_the_keyword_ignores_it() -> None:
    schema = {"$schema": DRAFT_7, "type": "object", "properties": {"a": WHOLE}, "unevaluatedProperties": WHOLE}
    assert allows(prepare(json.dumps({**schema, "additionalProperties": TEXT})).grammar_json, '{"b":"x"}')


REFUSED: list[tuple[Any, str, str]] = [
    (
        {
            "$id": "https://schemas.example/r",
            "anyOf": [{"$ref": "a"}, {"$ref": "b"}],
            "$defs": {
                "a": {"$id": "a", "$dynamicAnchor": "x", "properties": {"v": {"$dynamicRef": "#x"}}},
                "b": {"$id": "b", "$dynamicAnchor": "x", **WHOLE},
            },
        },
        "$.$defs.a.properties.v.$dynamicRef",
        "Write $ref",
    ),
    (
        {"if": A_WHOLE, "then": B_TEXT, "unevaluatedProperties": False},
        "$.unevaluatedProperties",
        "List every property in properties",
    ),
    ({"dependentSchemas": {"a": B_TEXT}, "unevaluatedProperties": False}, "$.unevaluatedProperties", "List every"),
    ({"items": {"anyOf": [A_WHOLE], "oneOf": [B_TEXT], "unevaluatedProperties": WHOLE}}, "$.items.unevaluated", "List"),
    ({"anyOf": [{"anyOf": [A_WHOLE]}], "unevaluatedProperties": False}, "$.unevaluatedProperties", "List every"),
    ({"prefixItems": [NULL], "contains": WHOLE, "unevaluatedItems": False}, "$.unevaluatedItems", "prefixItems"),
]


@pytest.mark.parametrize(("schema", "path", "hint"), REFUSED, ids=lambda each: json.dumps(each)[:60])
def test_what_depends_on_the_value_is_refused_by_its_path(schema: Any, path: str, hint: str) -> None:
    with pytest.raises(RefusedError) as caught:
        prepare(json.dumps(schema))
    assert caught.value.kind == "unsupported" and caught.value.path.startswith(path) and hint in caught.value.hint
