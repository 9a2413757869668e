"""Schemas that no grammar can hold: refused with the place and what to write instead, in the form of each dialect."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from jsonschema import validate

from tests.support.homes import DEFAULT_MODEL as LLM
from tests.support.http_server import SENSIBLE

HELLO = [{"role": "user", "content": "How many seconds has a year?"}]

# A schema, the place of what is refused, and the beginning of what to write instead.
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "number", "minimum": 1e300}, "$.minimum", "Use a bound within"),
    ({"type": "array", "items": {"const": 2**53 + 1}}, "$.items.const", "Write it as a string"),
    ({"type": "string", "pattern": r"^(.)\1$"}, "$.pattern", "List the texts that may repeat"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "$.oneOf", "Write anyOf in place of oneOf"),
    (
        {"type": "object", "if": {"properties": {"a": {"const": 1}}}, "unevaluatedProperties": False},
        "$.unevaluatedProperties",
        "List every property in properties",
    ),
]


@pytest.mark.parametrize(("schema", "place", "suggestion"), REFUSED, ids=lambda each: str(each)[:40])
def test_a_refusal_says_where_and_what_to_write(
    http: httpx.Client, schema: dict[str, Any], place: str, suggestion: str
) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = http.post("/v1/chat/completions", json={"model": LLM, "messages": HELLO, "response_format": form})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", "response_format")
    assert f"at {place}" in error["message"] and suggestion in error["message"]

    form = {"format": {"type": "json_schema", "schema": schema}}
    body = {"model": LLM, "messages": HELLO, "output_config": form, "max_tokens": 5}
    answer = http.post("/v1/messages", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, answer.json()["type"], error["type"]) == (400, "error", "invalid_request_error")
    assert f"at {place}" in error["message"] and suggestion in error["message"]


SECONDS = {
    "type": "object",
    "properties": {"seconds": {"type": "integer", "minimum": 0.5, "maximum": 999.5, "multipleOf": 60}},
    "required": ["seconds"],
}


def test_the_arguments_of_a_forced_tool_have_the_same_grammar(http: httpx.Client) -> None:
    tools: list[Any] = [{"type": "function", "function": {"name": "wait", "parameters": SECONDS}}]
    body: dict[str, Any] = {"model": SENSIBLE, "messages": HELLO, "max_tokens": 80, "temperature": 0}
    answer = http.post("/v1/chat/completions", json={**body, "tools": tools, "tool_choice": "required"})
    (call,) = answer.json()["choices"][0]["message"]["tool_calls"]
    validate(json.loads(call["function"]["arguments"]), SECONDS)

    tools = [{"name": "wait", "input_schema": SECONDS}]
    answer = http.post("/v1/messages", json={**body, "tools": tools, "tool_choice": {"type": "any"}})
    (use,) = [block for block in answer.json()["content"] if block["type"] == "tool_use"]
    validate(use["input"], SECONDS)
