"""Requests to Anthropic's messages and their answers, checked by the official client's types."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from anthropic.types import ErrorResponse, Message, MessageTokensCount, RawMessageStreamEvent
from anthropic.types.beta import BetaMessage

from tests.support.homes import DEFAULT_MODEL as LLM
from tests.support.official_events import MESSAGE_EVENT

HELLO: list[Any] = [{"role": "user", "content": "Say hello."}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 8}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS: list[Any] = [
    {"name": "a", "description": "Get the weather.", "input_schema": SCHEMA},
    {
        "type": "custom",
        "name": "b",
        "input_schema": SCHEMA,
        "strict": True,
        "cache_control": {"type": "ephemeral"},
        "input_examples": [{"city": "Oslo"}],
    },
    {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
    {"type": "a_tool_of_the_future", "name": "x", "newness": 1},
]


SENT_BACK: list[Any] = [
    {"role": "user", "content": "Weather?"},
    {"role": "user", "content": [{"type": "text", "text": "In Rome", "cache_control": {"type": "ephemeral"}}]},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "I need a tool.", "signature": "EqoBCkgIARABGAIiQL"},
            {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix"},
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "toolu_1", "name": "a", "input": {"city": "Rome"}},
            {"type": "tool_use", "id": "toolu_2", "name": "a", "input": {"city": "Oslo"}, "caller": {"type": "direct"}},
            {"type": "tool_use", "id": "toolu_3", "name": "b", "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "42 degrees"},
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": [{"type": "text", "text": "no such city"}]},
            {"type": "tool_result", "tool_use_id": "toolu_3", "is_error": True},
            {"type": "text", "text": "And?"},
        ],
    },
    {"role": "system", "content": "Answer in one word."},
]


def request(**body: Any) -> dict[str, Any]:
    whole = {"model": LLM, "max_tokens": 10, "messages": HELLO, "temperature": 0, **body}
    return {key: value for key, value in whole.items() if value is not None}


def whole(http: httpx.Client, **body: Any) -> Message:
    answer = http.post("/v1/messages", json=request(**body))
    assert answer.status_code == 200, answer.text
    assert answer.headers["request-id"].startswith("req_")
    BetaMessage.model_validate_json(answer.text, strict=True)
    return Message.model_validate_json(answer.text, strict=True)


def events(http: httpx.Client, **body: Any) -> list[RawMessageStreamEvent]:
    """Return the events of a stream, after a check of their order."""
    found: list[RawMessageStreamEvent] = []
    with http.stream("POST", "/v1/messages", json=request(stream=True, **body)) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["request-id"].startswith("req_")
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                data = line.removeprefix("data: ")
                assert json.loads(data)["type"] == name
                if name != "ping":
                    found.append(MESSAGE_EVENT.validate_json(data, strict=True))
    kinds = [event.type for event in found]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"]
    index, is_open = -1, False
    for event in found[1:-2]:
        match event.type:
            case "content_block_start":
                assert not is_open and event.index == index + 1
                index, is_open = event.index, True
            case "content_block_delta":
                assert is_open and event.index == index
            case "content_block_stop":
                assert is_open and event.index == index
                is_open = False
            case kind:
                pytest.fail(f"{kind} in the middle of a message")
    assert not is_open
    return found


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def streamed_text(found: list[RawMessageStreamEvent]) -> str:
    return "".join(
        event.delta.text for event in found if event.type == "content_block_delta" and event.delta.type == "text_delta"
    )


def refusal(http: httpx.Client, status: int = 400, path: str = "/v1/messages", **body: Any) -> str:
    """Return the message of the error by which a request is refused, whole and streamed alike."""
    messages: set[str] = set()
    for stream in (False, True):
        answer = http.post(path, json={**request(**body), **({"stream": True} if stream else {})})
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        error = ErrorResponse.model_validate_json(answer.text, strict=True)
        assert error.request_id == answer.headers["request-id"]
        assert error.error.type == {400: "invalid_request_error", 404: "not_found_error"}[status]
        assert "Traceback" not in error.error.message and "`" not in error.error.message
        messages.add(error.error.message)
    assert len(messages) == 1
    return messages.pop()


def count(http: httpx.Client, **body: Any) -> int:
    answer = http.post("/v1/messages/count_tokens", json={"model": LLM, "messages": HELLO, **body})
    assert answer.status_code == 200, answer.text
    return MessageTokensCount.model_validate_json(answer.text, strict=True).input_tokens


def prompt_tokens(usage: Any) -> int:
    return (usage.input_tokens or 0) + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
