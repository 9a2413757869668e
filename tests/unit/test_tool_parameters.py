"""Parameters of tools as llama-server's own converter is given them."""

from __future__ import annotations

from typing import Any

import pytest

from studiolo.config import LoadConfig, PredictionConfig
from studiolo.domain.chat import Tool
from studiolo.engines.base import ToolChatRequest
from studiolo.engines.llama_cpp.chat_stream import chat_body
from studiolo.engines.llama_cpp.tool_parameters import for_converter
from studiolo.host.prediction_settings import settings_in_force

PLAIN = {
    "type": "object",
    "title": "A search",
    "properties": {
        "query": {"type": "string", "description": "What for", "minLength": 1, "maxLength": 100},
        "plate": {"type": "string", "pattern": r"^[A-Z]{2}-\d{1,3}$"},
        "count": {"type": "integer", "minimum": 1, "exclusiveMaximum": 10, "default": 5},
        "kind": {"enum": ["a", 1, None]},
        "always": {"const": 1},
        "maybe": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        "tree": {"$ref": "#/$defs/node"},
        "more": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
        "list": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 5},
        "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]},
        "both": {"allOf": [{"$ref": "#/$defs/leaf"}, {"properties": {"b": {"type": "string"}}}]},
    },
    "required": ["query"],
    "additionalProperties": False,
    "$defs": {
        "leaf": {"type": "object", "properties": {"a": {"type": "string"}}},
        "node": {"type": "object", "properties": {"left": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}},
    },
}


def test_what_the_converter_takes_stays_as_it_is() -> None:
    assert for_converter(PLAIN) == PLAIN


@pytest.mark.parametrize(
    ("schema", "form"),
    [
        ({"minLength": 5, "maxLength": 1}, {}),  # ends the engine
        ({"minItems": 5, "maxItems": 1}, {}),
        ({"minLength": 5000, "maxLength": 6000}, {"minLength": 500}),
        ({"items": {"type": "string"}, "maxItems": 5000}, {"items": {"type": "string"}}),
        ({"pattern": "^(?!a)b$"}, {}),
        ({"pattern": "^[^\x00]+$"}, {}),
        ({"pattern": "^a{3000}$"}, {}),
        ({"pattern": 5, "title": {}, "format": 5}, {}),
        ({"type": "any"}, {}),
        ({"type": ["string", "any"]}, {}),
        ({"type": []}, {}),
        ({"enum": []}, {}),
        ({"anyOf": [], "allOf": [], "oneOf": []}, {}),
        ({"not": {"type": "string"}, "if": {}, "patternProperties": {"a": {}}}, {}),
        ({"items": True}, {}),
        ({"prefixItems": [True, {"type": "null"}]}, {"prefixItems": [{}, {"type": "null"}]}),
        ({"$ref": "https://example.org/schema"}, {}),
        ({"$ref": "#"}, {}),
        ({"$ref": "#/$defs/missing"}, {}),
        ({"$ref": "#/properties/x"}, {}),
        (True, {}),
        (5, {}),
    ],
)
def test_what_it_does_not_take_is_left_out(schema: Any, form: Any) -> None:
    assert for_converter({"type": "object", "properties": {"x": schema}}) == {
        "type": "object",
        "properties": {"x": form},
    }


def definitions(**named: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": {"$ref": "#/$defs/a"}}, "$defs": named}


def test_references_that_never_end_are_left_out() -> None:
    to_a, to_b, null = {"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}, {"type": "null"}
    # instead of themselves
    assert for_converter(definitions(a=to_a))["properties"] == {"x": {}}
    looping = for_converter(definitions(a={"anyOf": [to_b, null]}, b={"oneOf": [to_a, null]}))
    assert looping["properties"] == {"x": {}} and looping["$defs"]["b"] == {"oneOf": [{}, null]}
    # what the converter copies into one, and so without end
    child = {"allOf": [to_a, {"properties": {"b": null}}]}
    form = for_converter(definitions(a={"properties": {"child": child}}))
    assert form["properties"] == {"x": to_a}
    assert form["$defs"]["a"] == {"properties": {"child": {"allOf": [{}, {"properties": {"b": null}}]}}}


def test_depth_has_a_limit() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(300):
        schema = {"type": "object", "properties": {"a": schema}}
    form: Any = for_converter(schema)
    depth = 0
    while "properties" in form:
        form, depth = form["properties"]["a"], depth + 1
    assert depth == 51 and form == {}


def test_objects_of_too_many_properties_are_any() -> None:
    many = {
        "properties": {f"p{number}": {} for number in range(301)},
        "required": ["p1"],
        "additionalProperties": False,
    }
    assert for_converter({"type": "object", **many}) == {"type": "object"}
    assert for_converter({"properties": {"x": many}}) == {"properties": {"x": {}}}


def body(parameters: Any, **variables: Any) -> dict[str, Any]:
    tool = Tool("f", None, parameters)
    config = settings_in_force(PredictionConfig(), LoadConfig())
    return chat_body(ToolChatRequest(messages=[], tools=[tool], config=config, template_variables=variables))


def test_the_model_is_shown_the_whole_definitions() -> None:
    odd = {"type": "object", "properties": {"x": {"pattern": "^(?!a)b$"}}}
    sent = body(odd, enable_thinking=False)
    assert sent["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {"x": {}}}
    (shown,) = sent["chat_template_kwargs"].pop("tools")
    assert shown["function"] == {"name": "f", "parameters": odd}
    assert sent["chat_template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize("parameters", [None, PLAIN])
def test_what_is_plain_is_sent_once(parameters: Any) -> None:
    sent = body(parameters)
    assert sent["tools"][0]["function"].get("parameters") == parameters
    assert sent["chat_template_kwargs"] == {}
