"""Keywords that llguidance ignores, in terms of those that it holds an answer to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from studiolo.engines.schemas.preparation import prepare
from studiolo.engines.schemas.schema_checks import RefusedError
from studiolo.engines.schemas.validation import check
from tests.support import walk_grammar


def allows(schema: Any, value: Any) -> bool:
    """Whether the grammar of a schema has a value."""
    return walk_grammar.allows(prepare(json.dumps(schema)).grammar_json, json.dumps(value, separators=(",", ":")))


ENUM = {"enum": ["red", "green"]}
WHOLE = {"type": "integer"}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        # a record as Zod writes it
        (
            {"propertyNames": {"type": "string", **ENUM}, "additionalProperties": WHOLE, "required": ["red"]},
            [{"red": 1}, {"red": 1, "green": 2}],
            [{"blue": 1}, {"red": "1"}, {"green": 2}, {"red": 1, "blue": 2}],
        ),
        (
            {"propertyNames": ENUM, "properties": {"red": WHOLE, "blue": WHOLE}},
            [{"red": 1, "green": "x"}],
            [{"blue": 1}, {"red": "x"}],
        ),
        ({"propertyNames": ENUM, "additionalProperties": False, "properties": {"red": WHOLE}}, [{"red": 1}, {}], []),
        (
            {"propertyNames": {"pattern": "^x"}, "additionalProperties": WHOLE},
            [{"xa": 1}, {}],
            [{"a": 1}, {"xa": "1"}],
        ),
        # two of them
        (
            {"properties": {"a": {"propertyNames": ENUM}, "b": {"propertyNames": ENUM}}, "required": ["a", "b"]},
            [{"a": {"red": 1}, "b": {"green": 1}}],
            [{"a": {"blue": 1}, "b": {}}, {"a": {}, "b": {"blue": 1}}],
        ),
        # what stays as it is, for the check at the end
        ({"propertyNames": {"maxLength": 3}}, [{"red": 1}, {"green": 1}], []),
        ({"propertyNames": ENUM, "patternProperties": {"^r": WHOLE}}, [{"red": 1}, {"blue": 1}], [{"red": "1"}]),
        ({"propertyNames": {"pattern": "^x"}, "properties": {"a": WHOLE}}, [{"a": 1}], [{"a": "1"}]),
    ],
)
def test_names_of_properties(schema: Any, good: list[Any], bad: list[Any]) -> None:
    schema = {"type": "object", **schema}
    assert [value for value in good if not allows(schema, value)] == []
    assert [value for value in bad if allows(schema, value)] == []


def test_names_that_cannot_all_be_there_are_refused() -> None:
    schema = {"type": "object", "propertyNames": ENUM, "required": ["blue"]}
    with pytest.raises(RefusedError, match="hardly one satisfies it") as caught:
        prepare(json.dumps(schema))
    assert caught.value.path == "$.propertyNames.enum"


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^(?=.*[A-Z])(?=.*\d)[A-Za-z\d]{4,}$", ["abC1", "1Cab"], ["abcd", "ABCD", "aC1", "aC1_"]),
        (r"^(?!admin$)[a-z]+$", ["eva", "admin"], ["Eva", "john_doe"]),
        (r"^(?=[(\])])(?!x).[a-z]$", ["(a", "]a"], ["aa", "(A"]),
        (r"^(?=a)b|.*$", ["x"], []),  # alternatives: the look-ahead speaks of one of them alone
        (r"^(?=a|b)[a-c]{2}$", ["ac", "bc"], ["cc"]),
        (r"^(?=a)[^|].*(?<!c)$", ["ab", "a"], ["b"]),  # the rest has look-around, too, and is left out
    ],
)
def test_look_ahead(pattern: str, good: list[str], bad: list[str]) -> None:
    schema = {"type": "string", "pattern": pattern}
    assert [value for value in bad if allows(schema, value)] == []
    assert [value for value in good if not allows(schema, value)] == []


def test_other_demands_stay_beside_a_look_ahead() -> None:
    schema = {"type": "string", "pattern": r"^(?=.*\d)\w+$", "maxLength": 3, "allOf": [{"minLength": 2}]}
    assert allows(schema, "a1") and not allows(schema, "a111") and not allows(schema, "1")


OVERLAPPING = {"type": "object", "patternProperties": {"a": {"type": "integer"}, "b": {"type": "string"}}}
"""llguidance makes no grammar of patterns that one name may have both of."""


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
def test_an_alternative_without_a_grammar_is_left_out(keyword: str) -> None:
    schema = {"type": "object", "properties": {"x": {keyword: [{"type": "integer"}, OVERLAPPING, {"type": "null"}]}}}
    assert allows(schema, {"x": 1}) and allows(schema, {"x": None}) and not allows(schema, {"x": {"a": 1}})


@pytest.mark.parametrize("schema", [OVERLAPPING, {"anyOf": [OVERLAPPING]}, {"allOf": [OVERLAPPING, OVERLAPPING]}])
def test_what_is_no_alternative_is_refused(schema: Any) -> None:
    with pytest.raises(RefusedError) as refused:
        prepare(json.dumps(schema))
    assert refused.value.kind == "unsupported" and "patternProperties" in refused.value.path


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "array", "contains": {"const": 7}}, [7, 1], [1, 7]),
        ({"type": "array", "contains": {"const": 7}, "items": {"type": "integer"}}, [7, 1], [7, "a"]),
        ({"type": "array", "contains": {"const": 7}, "minItems": 2}, [7, 1], [7]),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "contains": {"const": 7}},
            [7, 1],
            [],
        ),
    ],
)
def test_what_an_array_shall_contain_comes_first(schema: dict[str, Any], right: Any, wrong: Any) -> None:
    assert allows(schema, right) and not allows(schema, wrong)
    assert check(json.dumps(schema), json.dumps(right)) is None
