"""``oneOf``: what a grammar has of its alternatives is valid for exactly one, as far as types and values decide it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from studiolo.engines.schemas.preparation import prepare
from studiolo.engines.schemas.schema_checks import RefusedError
from studiolo.engines.schemas.validation import check
from tests.support.walk_grammar import allows

WHOLE: dict[str, Any] = {"type": "integer"}
NUMBER: dict[str, Any] = {"type": "number"}
TEXT: dict[str, Any] = {"type": "string"}
NULL: dict[str, Any] = {"type": "null"}


@pytest.mark.parametrize(
    ("alternatives", "right", "wrong"),
    [
        ([WHOLE, NUMBER, TEXT], ["a"], [1, 1.5]),
        ([{"type": ["integer", "null"]}, NUMBER], [None], [1]),
        ([WHOLE, True], ["a", None, [1]], [1]),
        ([{"type": ["string", "null"]}, NULL], ["a"], [None]),
        ([{"type": ["string", "null"]}, {"type": ["number", "null"]}], ["a", 1, 1.5], [None]),
        ([{"enum": [1, 2]}, {"enum": [2, 3]}], [1, 3], [2]),
        ([{"enum": [1, "a"]}, {"$ref": "#/$defs/whole"}], ["a", 7], []),
        ([{"type": "boolean"}, {"const": True}], [False], [True]),
        ([TEXT, {"type": "string", "enum": ["a"]}, NULL], ["b", None], []),
        ([{"type": "integer", "maximum": 0}, {"type": "number", "exclusiveMinimum": 0}], [-1, 0.5, 2], []),
        ([{"const": 1}, {"const": True}], [1, True], []),
        ([{"oneOf": [WHOLE, NUMBER, NULL]}, TEXT], [None, "a"], [1]),
        ([WHOLE], [1], [1.5]),
    ],
    ids=lambda each: json.dumps(each)[:60],
)
def test_only_values_of_one_alternative_are_generated(alternatives: Any, right: list[Any], wrong: list[Any]) -> None:
    text = json.dumps({"oneOf": alternatives, "$defs": {"whole": WHOLE}})
    grammar_json = prepare(text).grammar_json
    for value in right:
        answer = json.dumps(value, separators=(",", ":"))
        assert check(text, answer) is None and allows(grammar_json, answer), answer
    for value in wrong:
        assert not allows(grammar_json, json.dumps(value)), value


def test_numbers_that_are_left_out_are_a_warning() -> None:
    (warning,) = prepare(json.dumps({"items": {"oneOf": [WHOLE, NUMBER, TEXT]}})).warnings
    assert warning.startswith("$.items.oneOf: an integer satisfies alternative 1 and another one")
    assert prepare(json.dumps({"oneOf": [WHOLE, TEXT]})).warnings == []


@pytest.mark.parametrize(
    ("schema", "kind", "path", "why"),
    [
        ({"oneOf": [WHOLE, NUMBER]}, "unsupported", "$.oneOf", "only numbers with decimals are valid"),
        ({"properties": {"x": {"oneOf": [NUMBER, WHOLE]}}}, "unsupported", "$.properties.x.oneOf", "alternative 0"),
        (
            {"items": {"type": "number", "oneOf": [{"allOf": [WHOLE]}, NUMBER]}},
            "unsupported",
            "$.items.oneOf",
            "decimals",
        ),
        ({"oneOf": [WHOLE, {"$ref": "#/$defs/n"}], "$defs": {"n": NUMBER}}, "unsupported", "$.oneOf", "decimals"),
        ({"oneOf": [TEXT, TEXT]}, "unsatisfiable", "$.oneOf", "several of its alternatives"),
        ({"oneOf": [{"const": 1}, {"enum": [1.0]}]}, "unsatisfiable", "$.oneOf", "several of its alternatives"),
        ({"oneOf": [True, True]}, "unsatisfiable", "$.oneOf", "several of its alternatives"),
        ({"oneOf": [TEXT, {"type": "string", "format": "date"}]}, "unsupported", "$.oneOf", "hardly one"),
    ],
    ids=lambda each: json.dumps(each)[:60],
)
def test_what_no_value_satisfies_once_is_refused(schema: Any, kind: str, path: str, why: str) -> None:
    with pytest.raises(RefusedError) as caught:
        prepare(json.dumps(schema))
    assert (caught.value.kind, caught.value.path) == (kind, path), caught.value.why
    assert why in caught.value.why and (kind == "unsupported" or "anyOf" in caught.value.hint)
