"""Anthropic's messages with a real model that reasons, and whose template knows tools."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types import Message, ThinkingBlock

MODEL = "quick-thinking"
HELLO: list[Any] = [{"role": "user", "content": "Say hello."}]
TOOL: dict[str, Any] = {
    "name": "weather",
    "description": "Get the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
ENABLED = {"type": "enabled", "budget_tokens": 8}


def whole(http: httpx.Client, **body: Any) -> Message:
    answer = http.post(
        "/v1/messages", json={"model": MODEL, "max_tokens": 24, "messages": HELLO, "temperature": 0, **body}
    )
    assert answer.status_code == 200, answer.text
    return Message.model_validate_json(answer.text, strict=True)


def count(http: httpx.Client, **body: Any) -> int:
    return http.post("/v1/messages/count_tokens", json={"model": MODEL, "messages": HELLO, **body}).json()[
        "input_tokens"
    ]


def prompt_tokens(message: Message) -> int:
    return message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0)


def test_thoughts_are_blocks_with_a_signature(http: httpx.Client, base_url: str) -> None:
    message = whole(http, thinking=ENABLED)
    thought, answer = message.content
    assert thought.type == "thinking" and thought.thinking and thought.signature
    assert answer.type == "text" and answer.text == answer.text.lstrip() and "think>" not in answer.text
    details = message.usage.output_tokens_details
    assert details is not None and 0 < details.thinking_tokens < message.usage.output_tokens
    with (
        anthropic.Anthropic(base_url=base_url, api_key="any", max_retries=0) as client,
        client.messages.stream(
            model=MODEL,
            max_tokens=24,
            messages=HELLO,
            thinking={"type": "enabled", "budget_tokens": 8},
            extra_body={"temperature": 0},
        ) as stream,
    ):
        kinds = [event.delta.type for event in stream if event.type == "content_block_delta"]
        final = stream.get_final_message()
    assert kinds.count("signature_delta") == 1
    assert kinds.index("signature_delta") < kinds.index("text_delta")
    assert [block.model_dump() for block in final.content] == [block.model_dump() for block in message.content]


def test_thoughts_are_read_back(http: httpx.Client) -> None:
    message = whole(http, thinking=ENABLED)
    blocks = [block.model_dump(exclude_none=True) for block in message.content]
    messages = [*HELLO, {"role": "assistant", "content": blocks}, {"role": "user", "content": "Again."}]
    assert whole(http, messages=messages, max_tokens=1).usage.output_tokens == 1


def test_thoughts_are_omitted_where_asked(http: httpx.Client) -> None:
    shown, omitted = whole(http, thinking=ENABLED), whole(http, thinking={**ENABLED, "display": "omitted"})
    first, second = shown.content[0], omitted.content[0]
    assert isinstance(first, ThinkingBlock) and isinstance(second, ThinkingBlock)
    assert first.thinking and second.thinking == "" and second.signature == first.signature
    assert shown.content[1:] == omitted.content[1:]


@pytest.mark.parametrize("thinking", [{"type": "disabled"}, {"type": "between_tools"}], ids=lambda each: each["type"])
def test_no_thought_where_there_may_be_none(http: httpx.Client, thinking: dict[str, str]) -> None:
    message = whole(http, thinking=thinking)
    assert [block.type for block in message.content] == ["text"]
    assert prompt_tokens(message) == count(http, thinking=thinking)


def test_a_thought_that_is_cut_off(http: httpx.Client) -> None:
    message = whole(http, max_tokens=4)
    assert [block.type for block in message.content] == ["thinking"] and message.stop_reason == "max_tokens"


def test_tokens_of_tools_in_the_form_of_the_template_are_counted(http: httpx.Client) -> None:
    history = [
        *HELLO,
        {"role": "user", "content": [{"type": "text", "text": "The weather"}, {"type": "text", "text": "in Rome?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "warm"}]},
    ]
    for body in (
        {"tools": [TOOL]},
        {"tools": [TOOL], "messages": history, "system": "Be brief."},
        {"tools": [TOOL], "tool_choice": {"type": "any"}},
        {"messages": history},
    ):
        assert prompt_tokens(whole(http, max_tokens=1, **body)) == count(http, **body), body


@pytest.mark.parametrize("tools", [[], [TOOL]], ids=["plain", "tools"])
def test_the_beginning_of_an_answer_stands_after_its_thought(http: httpx.Client, tools: list[Any]) -> None:
    messages = [
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": "The capital of France is"},
    ]
    message = whole(http, messages=messages, tools=tools)
    assert [block.type for block in message.content] == ["text"]
    said = getattr(message.content[0], "text", "")
    assert said
    if not tools:
        prompt = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
        prompt += "<think>\n\n</think>\n\nThe capital of France is"
        raw = {"model": MODEL, "prompt": prompt, "max_tokens": 24, "temperature": 0}
        assert http.post("/v1/completions", json=raw).json()["choices"][0]["text"] == said
    assert prompt_tokens(message) == count(http, messages=messages, tools=tools)


def test_thoughts_come_before_an_answer_with_tools(http: httpx.Client) -> None:
    message = whole(http, tools=[TOOL], thinking=ENABLED, max_tokens=12)
    assert message.content[0].type == "thinking"


def test_the_beginning_of_an_answer_may_have_its_thought(http: httpx.Client) -> None:
    thought = {"type": "thinking", "thinking": "They ask for a capital.", "signature": "xx"}
    messages = [
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": [thought, {"type": "text", "text": "The capital of France is"}]},
    ]
    message = whole(http, messages=messages, max_tokens=4)
    assert [block.type for block in message.content] == ["text"]
    assert prompt_tokens(message) == count(http, messages=messages) > count(http, messages=messages[:1]) + 10
