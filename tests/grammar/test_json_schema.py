"""JSON Schema as grammars: what they generate satisfies the schema, or the schema is refused with its path."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from studiolo.engines.llama_cpp.grammar import grammar_of
from studiolo.engines.llama_cpp.grammar.formats import FORMATS, LENGTHS
from studiolo.errors import UnsupportedError

from .sampler import Grammar
from .schemas import documents


def check(schema: Any, rng: random.Random, times: int = 12) -> None:
    """Draw texts from the grammar of ``schema`` and validate them."""
    grammar = Grammar(grammar_of(schema))
    old = isinstance(schema.get("items"), list)
    kind = jsonschema.Draft7Validator if old else jsonschema.Draft202012Validator
    validator = kind(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    for _ in range(times):
        text = grammar.sample(rng)
        validator.validate(json.loads(text))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(schema=documents(), seed=st.integers(0, 2**32))
def test_what_a_random_schema_generates_satisfies_it(schema: dict[str, Any], seed: int) -> None:
    try:
        grammar_of(schema)
    except UnsupportedError as error:
        event("refused")
        assert error.data["path"].startswith("$")
        return
    event("supported")
    check(schema, random.Random(seed))


KEYWORDS = (
    *("type", "properties", "required", "items", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "minimum"),
    *("maximum", "pattern", "format", "minLength", "maxItems", "additionalProperties", "prefixItems", "not"),
    "multipleOf",
)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(KEYWORDS) | st.text(max_size=3),
                inner,
                max_size=3,
            )
        ),
        max_leaves=12,
    )
)
@settings(deadline=None)
def test_any_nonsense_is_compiled_or_refused(schema: Any) -> None:
    try:
        Grammar(grammar_of(schema))
    except UnsupportedError as error:
        assert "JSON schema" in str(error)


SUPPORTED: list[dict[str, Any]] = [
    {"type": "string", "maxLength": 1234},
    {"type": "string", "minLength": 501, "maxLength": 2001},
    {"type": "string", "minLength": 1, "maxLength": 2083, "format": "uri"},
    {"type": "string", "minLength": 10, "maxLength": 10, "format": "date"},
    {"type": "integer", "minimum": 7},
    {"type": "integer", "maximum": -7},
    {"type": "integer", "minimum": -15, "maximum": 1234},
    {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 2},
    {"type": "integer", "minimum": 0.5, "maximum": 1.5},
    {"type": "number", "minimum": 0, "maximum": 1},
    {"type": "number", "exclusiveMinimum": 0, "maximum": 0.25},
    {"type": "number", "minimum": -0.125, "exclusiveMaximum": 3.5},
    {"type": "number", "exclusiveMinimum": 99.9},
    {"type": "number", "maximum": -0.01},
    {"type": "number", "minimum": 10**12},
    {"type": "number", "multipleOf": 1, "minimum": 1, "maximum": 3},
    {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1, "maxProperties": 2},
    {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a", "z"], "additionalProperties": True},
    {"properties": {"a": False, "b": True}},
    {"type": "array", "items": [{"type": "null"}, {"type": "boolean"}]},
    {"type": "array", "prefixItems": [{"type": "null"}], "items": {"type": "boolean"}, "minItems": 3, "maxItems": 4},
    {"type": "array", "uniqueItems": True, "maxItems": 1, "items": {"type": "null"}},
    {"type": ["object", "null"], "properties": {"a": {"const": 1}}, "required": ["a"]},
    {"minimum": 3},
    {"enum": [1, "a", None, True, {"k": [1.5]}], "type": ["string", "object"]},
    {"const": {"deep": ["ü", '"', "\n"]}},
    {
        "allOf": [
            {"properties": {"a": {"type": "number"}}},
            {"properties": {"a": {"minimum": 3, "maximum": 5}}, "required": ["a"]},
        ]
    },
    {
        "type": "object",
        "properties": {"kind": {"type": "string"}},
        "required": ["kind"],
        "oneOf": [
            {"properties": {"kind": {"const": "cat"}, "claws": {"type": "integer"}}, "required": ["claws", "kind"]},
            {"properties": {"kind": {"const": "dog"}}, "required": ["kind"]},
        ],
    },
    {"oneOf": [{"type": "string"}, {"type": "integer"}, {"enum": [None, True]}]},
    {"definitions": {"a/b": {"type": "null"}}, "$ref": "#/definitions/a~1b"},
    {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["next"]},
    {"title": "t", "description": "d", "default": 1, "examples": [1], "type": "integer", "x-order": 3, "$comment": "c"},
]


@pytest.mark.parametrize("schema", SUPPORTED, ids=lambda schema: json.dumps(schema)[:60])
def test_supported(schema: dict[str, Any]) -> None:
    check(schema, random.Random(1), times=80)


REFUSED: list[tuple[Any, str]] = [
    ({"not": {"type": "null"}}, "$.not"),
    ({"type": "object", "properties": {"a": {"if": True}}}, "$.properties.a.if"),
    ({"type": "object", "patternProperties": {"^a": {}}}, "$.patternProperties"),
    ({"type": "object", "propertyNames": {"pattern": "a"}}, "$.propertyNames"),
    ({"type": "object", "dependentRequired": {"a": ["b"]}}, "$.dependentRequired"),
    ({"type": "object", "unevaluatedProperties": False}, "$.unevaluatedProperties"),
    ({"type": "array", "contains": {"type": "null"}}, "$.contains"),
    ({"type": "array", "uniqueItems": True}, "$.uniqueItems"),
    ({"type": "array", "items": {"$ref": "https://example.com/schema"}}, "$.items.$ref"),
    ({"$ref": "#/$defs/none"}, "$.$ref"),
    ({"$ref": "#"}, "$"),
    ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "$.anyOf[0]"),
    ({"type": "string", "pattern": "^(?=a)"}, "$.pattern"),
    ({"type": "string", "pattern": r"(a)\1"}, "$.pattern"),
    ({"type": "string", "pattern": r"a\b"}, "$.pattern"),
    ({"type": "string", "pattern": "("}, "$.pattern"),
    ({"type": "string", "pattern": "(?i)a"}, "$.pattern"),
    ({"type": "string", "pattern": "a", "minLength": 3}, "$"),
    ({"type": "string", "format": "regex"}, "$.format"),
    ({"type": "string", "maxLength": 10**6}, "$.maxLength"),
    ({"type": "string", "minLength": 20, "format": "date"}, "$"),
    ({"type": "string", "minLength": 1001}, "$.minLength"),
    ({"type": "number", "multipleOf": 0.5}, "$.multipleOf"),
    ({"type": "integer", "multipleOf": 3}, "$.multipleOf"),
    ({"type": "integer", "minimum": 3, "maximum": 2}, "$"),
    ({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 4}, "$"),
    ({"type": "integer", "minimum": True}, "$.minimum"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "$.oneOf[1]"),
    ({"enum": []}, "$"),
    ({"enum": [1], "type": "string"}, "$"),
    ({"enum": ["abc"], "maxLength": 2}, "$"),
    ({"type": "object", "required": ["a"], "additionalProperties": False}, "$.required"),
    ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "$.properties.a"),
    ({"type": "strin"}, "$.type"),
    ({"mininum": 3}, "$.mininum"),
    ({"properties": []}, "$.properties"),
    (False, "$"),
    ([], "$"),
]


@pytest.mark.parametrize(("schema", "path"), REFUSED, ids=lambda case: json.dumps(case)[:50])
def test_refused_with_its_path(schema: Any, path: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        grammar_of(schema)
    assert caught.value.data["path"] == path
    assert f"at {path} " in str(caught.value)


def test_a_schema_that_unfolds_without_end_is_given_up() -> None:
    doubling: dict[str, Any] = {"type": "null"}
    definitions: dict[str, Any] = {}
    for level in range(40):
        definitions[f"d{level}"] = doubling
        reference = {"$ref": f"#/$defs/d{level}"}
        doubling = {
            "type": "object",
            "properties": {"a": {"allOf": [reference, {"title": "x"}, reference]}, "b": reference},
        }
        doubling["properties"]["c"] = {"allOf": [reference, {"description": "y", "minProperties": 0}]}
    with pytest.raises(UnsupportedError, match="too large"):
        grammar_of({**doubling, "$defs": definitions})


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_the_lengths_of_formats(form: str) -> None:
    grammar = Grammar(grammar_of({"type": "string", "format": form}))
    shortest, longest = LENGTHS[form]
    lengths = {len(json.loads(grammar.sample(random.Random(seed)))) for seed in range(500)}
    assert shortest <= min(lengths) <= max(lengths) <= longest


def test_any_json_object_without_a_schema() -> None:
    for schema in (None, True):
        grammar = Grammar(grammar_of(schema))
        assert all(isinstance(json.loads(grammar.sample(random.Random(seed))), dict) for seed in range(30))
