"""Schemas as grammars: what is taken, what an answer may be, what is refused and where."""

from __future__ import annotations

import dataclasses
import decimal
import json
from typing import Any, Literal

import msgspec
import pydantic
import pytest

from studiolo.engines.schemas.preparation import prepare
from studiolo.engines.schemas.schema_checks import MAX_DEPTH, MAX_SCHEMA_CHARS, RefusedError
from studiolo.engines.schemas.validation import check
from studiolo.sdk.structured import structured_setting
from tests.support.walk_grammar import allows

DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
SAFE = 2**53 - 1


class Shape(pydantic.BaseModel):
    area: decimal.Decimal
    tags: set[str]
    kind: Literal["round", 4, None]
    inner: list[Shape] = pydantic.Field(default=[], description="Shapes within it.")


@dataclasses.dataclass
class Cost:
    amount: decimal.Decimal
    labels: set[str]


def schema_of(kind: Any) -> dict[str, Any]:
    setting = structured_setting(kind)
    assert isinstance(setting.json_schema, dict)
    return setting.json_schema


# A schema, answers that its grammar allows, answers that it does not.
TAKEN: dict[str, tuple[Any, list[str], list[str]]] = {
    "any value": (True, ["1", "null", '{"a":[1]}'], ["x"]),
    "any object": ({"type": "object"}, ["{}", '{"a":1}'], ["1"]),
    "no white space": ({"type": "array", "items": {"type": "integer"}}, ["[1,2]"], ["[1, 2]", "[1,\n2]"]),
    "mixed enum": ({"enum": [1, "a", None, {"k": [1.5]}]}, ["1", '"a"', "null", '{"k":[1.5]}'], ["2", '"b"']),
    "boolean schemas": ({"properties": {"a": True, "b": False}}, ['{"a":1}', "{}"], ['{"b":1}']),
    "Zod's integer": (
        {"type": "integer", "minimum": -SAFE, "maximum": SAFE},
        [str(SAFE), str(-SAFE)],
        [str(SAFE + 1), "0.5"],
    ),
    "uint32": ({"type": "integer", "format": "uint32", "minimum": 0, "maximum": 2**32 - 1}, ["4294967295"], ["-1"]),
    "propertyNames": (
        {"type": "object", "propertyNames": {"pattern": "^a"}, "additionalProperties": {"type": "number"}},
        ['{"a":1}'],
        ['{"a":"x"}'],
    ),
    "any pointer": (
        {
            "type": "object",
            "properties": {"x": {"type": "integer"}, "y": {"$ref": "#/properties/x"}},
            "required": ["x", "y"],
        },
        ['{"x":1,"y":2}'],
        ['{"x":1,"y":"z"}'],
    ),
    "a pointer into a list": (
        {"anyOf": [{"type": "object", "properties": {"a": {"$ref": "#/anyOf/1"}}}, {"type": "null"}]},
        ['{"a":null}', "null"],
        ['{"a":1}', '{"b":1}'],
    ),
    "escaped pointer": ({"definitions": {"a/b": {"type": "null"}}, "$ref": "#/definitions/a~1b"}, ["null"], ["1"]),
    "anchor": ({"$defs": {"x": {"$anchor": "here", "type": "null"}}, "$ref": "#here"}, ["null"], ["1"]),
    "recursion": (
        {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["next"]},
        ['{"next":{"next":null}}'],
        ['{"next":1}', '{"next":{"next":1}}'],
    ),
    "a huge maxItems": ({"type": "array", "maxItems": 10**9, "items": {"const": 1}}, ["[1,1]"], ["[2]"]),
    "a huge maxLength": ({"type": "string", "maxLength": 10**8}, ['"a"'], ["1"]),
    "draft 4's exclusive bound": (
        {"$schema": DRAFT_4, "type": "number", "minimum": 3, "exclusiveMinimum": True},
        ["4"],
        ["3", "2"],
    ),
    "a list of items": (
        {"$schema": DRAFT_7, "type": "array", "items": [{"type": "null"}, {"type": "boolean"}]},
        ["[null,true]"],
        ["[1]"],
    ),
    "siblings that draft 7 ignores": (
        {
            "$schema": DRAFT_7,
            "properties": {"a": {"$ref": "#/definitions/x", "type": "string"}},
            "definitions": {"x": {"type": "null"}},
        },
        ['{"a":null}'],
        ['{"a":"x"}'],
    ),
    "a recursion with siblings": (
        {"$defs": {"N": {"properties": {"c": {"$ref": "#/$defs/N", "minProperties": 1}}}}, "$ref": "#/$defs/N"},
        ['{"c":{"c":1}}', "{}"],
        ["{"],
    ),
    "an unknown draft": ({"$schema": "https://example.com/mine", "type": "null"}, ["null"], ["1"]),
    "annotations": ({"type": "null", "title": "t", "readonly": True, "_format": 1, "x-order": 3}, ["null"], ["1"]),
    "options of llguidance's": ({"type": "array", "x-guidance": {"whitespace_flexible": True}}, ["[1,2]"], ["[1, 2]"]),
    "a pattern that only Rust reads": ({"type": "string", "pattern": r"^[\w-\.]\p{L}$"}, ['".ü"'], ['"!!"']),
    "a pattern that only Python reads": ({"type": "string", "pattern": "^(?!b)"}, ['"a"', '"b"'], ["1"]),
    "pydantic": (
        schema_of(Shape),
        ['{"area":"1.5","tags":["x"],"kind":4}', '{"area":2,"tags":[],"kind":null,"inner":[]}'],
        ['{"area":true,"tags":[],"kind":4}', '{"area":2,"tags":[],"kind":5}'],
    ),
    "msgspec": (schema_of(Cost), ['{"amount":"1.5","labels":["x"]}'], ['{"amount":null,"labels":[]}']),
}


@pytest.mark.parametrize("name", TAKEN)
def test_taken(name: str) -> None:
    schema, right, wrong = TAKEN[name]
    prepared = prepare(json.dumps(schema))
    assert "\n" not in prepared.grammar_json
    for answer in right:
        assert allows(prepared.grammar_json, answer), answer
    for answer in wrong:
        assert not allows(prepared.grammar_json, answer), answer


ONLY_IN_THE_FINISHED_ANSWER: list[tuple[Any, str, str]] = [
    ({"type": "array", "uniqueItems": True}, "[1,1]", "$.uniqueItems"),
    ({"not": {"type": "number"}}, "1", "$.not"),
    ({"type": "array", "contains": {"const": 7}, "minContains": 0, "maxContains": 1}, "[7,7]", "$.contains"),
    ({"type": "object", "dependentRequired": {"a": ["b"]}}, '{"a":1}', "$.dependentRequired"),
    ({"type": "object", "propertyNames": {"maxLength": 1}}, '{"ab":1}', "$.propertyNames.maxLength"),
    ({"oneOf": [{"type": "integer", "maximum": 9}, {"minimum": 3}]}, "4", "$.oneOf"),
    ({"type": "string", "pattern": "^(?!b)"}, '"b"', "$.pattern"),
    ({"if": {"type": "string"}, "then": {"maxLength": 1}}, '"ab"', "$.then.maxLength"),
    # llguidance 1.0.1 loses one of two control characters.
    ({"type": "string", "pattern": r"^\t[\n-\r]$"}, r'"\u0009"', "$.pattern"),
]


@pytest.mark.parametrize(("schema", "answer", "path"), ONLY_IN_THE_FINISHED_ANSWER, ids=lambda each: str(each)[:40])
def test_what_the_grammar_does_not_hold_is_found_in_the_finished_answer(schema: Any, answer: str, path: str) -> None:
    text = json.dumps(schema)
    assert allows(prepare(text).grammar_json, answer)
    problem = check(text, answer)
    assert problem is not None and f" breaks {path}" in problem


REFUSED: list[tuple[Any, str, str]] = [
    ({"type": "strin"}, "invalid", "$.type"),
    ({"properties": []}, "invalid", "$.properties"),
    (
        {"type": "object", "properties": {"a": {"items": {"minLength": -1}}}},
        "invalid",
        "$.properties.a.items.minLength",
    ),
    ([], "invalid", "$"),
    (3, "invalid", "$"),
    ({"type": "array", "items": {"$ref": "https://example.com/schema"}}, "invalid", "$.items.$ref"),
    ({"$ref": "#/$defs/none"}, "invalid", "$.$ref"),
    ({"$ref": "#nowhere"}, "invalid", "$.$ref"),
    (False, "unsatisfiable", "$"),
    ({"$ref": "#"}, "unsatisfiable", "$"),
    ({"enum": []}, "unsatisfiable", "$.enum"),
    ({"type": "integer", "minimum": 3, "maximum": 2}, "unsatisfiable", "$.minimum"),
    ({"type": "object", "required": ["a"], "additionalProperties": False}, "unsatisfiable", "$.required"),
    (
        {"type": "object", "properties": {"a": {"type": "string", "enum": [1]}}, "required": ["a"]},
        "unsatisfiable",
        "$.properties.a.enum",
    ),
    ({"type": "string", "pattern": "("}, "unsupported", "$.pattern"),
    ({"items": {"type": "string", "pattern": "a^b"}}, "unsupported", "$.items.pattern"),
    (
        {"type": "object", "properties": {"a": {"type": "object", "properties": {f"p{i}": True for i in range(600)}}}},
        "unsupported",
        "$.properties.a.properties",
    ),
    ({"type": "string", "not": {"not": {"pattern": "a9{9}z"}}}, "unsupported", "$.not"),
    ({"oneOf": [{"type": "null"}, {"enum": [None]}]}, "unsatisfiable", "$.oneOf"),
    ({"type": "object", "patternProperties": {"(": {}}}, "unsupported", "$.patternProperties"),
    (
        {"anyOf": [{"allOf": [{"pattern": "a$"}, {"pattern": "^b"}, {"pattern": "1{19}"}, {"maxLength": 20}]}]},
        "unsupported",
        "$.anyOf[0].allOf",
    ),
]


@pytest.mark.parametrize(("schema", "kind", "path"), REFUSED, ids=lambda each: json.dumps(each)[:50])
def test_refused(schema: Any, kind: str, path: str) -> None:
    with pytest.raises(RefusedError) as caught:
        prepare(json.dumps(schema))
    assert (caught.value.kind, caught.value.path) == (kind, path), caught.value.why
    assert caught.value.why and caught.value.hint
    assert "%llguidance" not in caught.value.why


def test_what_is_too_large_or_too_deep_is_refused_before_it_is_read() -> None:
    with pytest.raises(RefusedError, match="characters"):
        prepare(json.dumps({"description": "x" * MAX_SCHEMA_CHARS}))
    deep = '{"not":' * (MAX_DEPTH + 1) + "true" + "}" * (MAX_DEPTH + 1)
    with pytest.raises(RefusedError, match="nested"):
        prepare(deep)
    braces = json.dumps({"description": '{[" \\' * 200})
    assert prepare(braces).grammar_json  # those in strings do not count


def test_a_likely_typo_is_a_warning_with_its_path() -> None:
    schema = {
        "type": "object",
        "properties": {"minLenght": {"type": "string", "maxLenght": 2}, "note": {"readonly": True, "note": 1}},
        "additionalPropeties": False,
    }
    assert prepare(json.dumps(schema)).warnings == [
        "$.additionalPropeties is not a keyword and is ignored; did you mean 'additionalProperties'?",
        "$.properties.minLenght.maxLenght is not a keyword and is ignored; did you mean 'maxLength'?",
    ]


CLOSED: list[tuple[Any, str, bool]] = [
    ({"properties": {"a": {}}}, '{"b":1}', False),
    ({"properties": {"a": {}}, "additionalProperties": True}, '{"b":1}', True),
    ({"properties": {"a": {}}, "required": ["b"]}, '{"b":1}', True),
    ({"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}, '{"a":1,"b":1}', True),
    ({"anyOf": [{"properties": {"a": {}}}, {"type": "null"}]}, '{"b":1}', False),
    ({"properties": {"a": {}}, "anyOf": [{"properties": {"b": {}}}]}, '{"a":1,"b":1}', True),
    ({"$defs": {"x": {"properties": {"a": {}}}}, "$ref": "#/$defs/x"}, '{"b":1}', False),
    ({"$defs": {"x": {"properties": {"a": {}}}}, "$ref": "#/$defs/x", "required": ["b"]}, '{"b":1}', True),
    ({"patternProperties": {"^b": {"properties": {"a": {}}}}}, '{"b":{"c":1}}', True),
    ({"items": {"properties": {"a": {}}}}, '[{"b":1}]', False),
]


@pytest.mark.parametrize(("schema", "answer", "allowed"), CLOSED, ids=lambda each: json.dumps(each)[:60])
def test_where_a_schema_names_properties_no_others_are_written(schema: Any, answer: str, allowed: bool) -> None:
    text = json.dumps(schema)
    assert check(text, answer) is None
    assert allows(prepare(text).grammar_json, answer) == allowed


def test_an_answer_that_is_no_json_or_cannot_be_validated_says_so() -> None:
    assert "not a whole JSON value" in str(check("{}", '{"a":'))
    assert "too large" in str(check('{"multipleOf":0.1}', "1E400"))
    assert "could not be validated" in str(check('{"const":[]}', "[" * 5000 + "]" * 5000))
    long = check('{"const":1}', json.dumps("x" * 5000))
    assert long is not None and len(long) < 500


def test_formats_are_not_checked_in_the_finished_answer() -> None:
    assert check('{"type":"string","format":"date"}', '"x"') is None
    assert not allows(prepare('{"type":"string","format":"date"}').grammar_json, '"x"')


def test_the_llguidance_of_the_wheel_is_the_one_that_checks() -> None:
    """A grammar that passes here and not there would be dropped by the engine in silence."""
    import re
    from importlib.util import find_spec
    from pathlib import Path

    def versions(package: str) -> set[bytes]:
        spec = find_spec(package)
        assert spec is not None and spec.origin is not None
        (library,) = Path(spec.origin).parent.glob("*.so")
        return set(re.findall(rb"derivre-\d+\.\d+\.\d+", library.read_bytes()))

    assert versions("llguidance") == versions("xllamacpp") != set()


def test_msgspec_kinds_are_closed_by_their_schema() -> None:
    class Point(msgspec.Struct):
        x: int

    grammar_json = prepare(json.dumps(schema_of(Point))).grammar_json
    assert allows(grammar_json, '{"x":1}') and not allows(grammar_json, '{"x":1,"y":2}')
