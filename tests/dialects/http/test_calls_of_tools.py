"""Calls of tools and their way back, where the fake engine says what a test scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
import studiolo_fake_engine as fake
from openai.types.chat import ChatCompletionChunk

from tests.support.calling import prompt, said, scripted
from tests.support.http_server import ServerInThread

pytestmark = pytest.mark.slow

HI: Any = [{"role": "user", "content": "hi"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS: Any = [{"type": "function", "function": {"name": name, "parameters": PARAMETERS}} for name in ("a", "b")]
FLAT: Any = [{"type": "function", "name": name, "parameters": PARAMETERS, "strict": True} for name in ("a", "b")]
BOTH = ["Let me see. ", *said("a", city="Rome"), "\n", *said("b", city="Oslo")]


@pytest.fixture
def client(fake_server: ServerInThread) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{fake_server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def test_two_calls_of_a_chat_stay_apart_on_a_fake_engine(client: openai.OpenAI) -> None:
    scripted(BOTH)
    chunks: list[ChatCompletionChunk] = []
    with client.chat.completions.stream(model="alpha", messages=HI, tools=TOOLS) as stream:
        chunks += [event.chunk for event in stream if event.type == "chunk"]
        final = stream.get_final_completion().choices[0]
    calls = [call for call in final.message.tool_calls or () if call.type == "function"]
    names = [(call.function.name, json.loads(call.function.arguments)) for call in calls]
    assert names == [("a", {"city": "Rome"}), ("b", {"city": "Oslo"})] and final.finish_reason == "tool_calls"
    assert (final.message.content or "").strip() == "Let me see." and calls[0].id != calls[1].id
    pieces = [piece for chunk in chunks for piece in chunk.choices[0].delta.tool_calls or ()]
    for index, call in enumerate(calls):
        first, *rest = [piece for piece in pieces if piece.index == index]
        assert first.function and (first.id, first.type) == (call.id, "function")
        assert first.function.name == call.function.name
        assert rest and not any(piece.id or piece.type or (piece.function and piece.function.name) for piece in rest)
        texts = [piece.function.arguments or "" for piece in (first, *rest) if piece.function]
        assert "".join(texts) == call.function.arguments
    scripted(BOTH)
    whole = client.chat.completions.create(model="alpha", messages=HI, tools=TOOLS).choices[0]
    made = [call.function for call in whole.message.tool_calls or () if call.type == "function"]
    assert [(call.name, json.loads(call.arguments)) for call in made] == names and whole.finish_reason == "tool_calls"


def test_two_calls_of_a_response_stay_apart_on_a_fake_engine(client: openai.OpenAI) -> None:
    scripted(BOTH)
    with client.responses.stream(model="alpha", input="hi", tools=FLAT) as stream:
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["message", "function_call", "function_call"]
    calls = [item for item in final.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["a", "b"] and len({call.call_id for call in calls}) == 2
    assert [json.loads(call.arguments) for call in calls] == [{"city": "Rome"}, {"city": "Oslo"}]


def test_several_answers_each_have_their_calls_on_a_fake_engine(client: openai.OpenAI) -> None:
    scripted(BOTH, BOTH)
    settings: Any = {"model": "alpha", "messages": HI, "tools": TOOLS, "n": 2}
    whole = client.chat.completions.create(**settings)
    assert [len(choice.message.tool_calls or ()) for choice in whole.choices] == [2, 2]
    assert len({call.id for choice in whole.choices for call in choice.message.tool_calls or ()}) == 4
    scripted(BOTH, BOTH)
    with client.chat.completions.stream(**settings) as stream:
        choices = stream.get_final_completion().choices
    for choice in choices:
        made = [call.function for call in choice.message.tool_calls or () if call.type == "function"]
        assert [call.name for call in made] == ["a", "b"] and choice.finish_reason == "tool_calls"
        assert [json.loads(call.arguments)["city"] for call in made] == ["Rome", "Oslo"]


def test_one_call_at_most_where_that_is_asked_for_on_a_fake_engine(client: openai.OpenAI) -> None:
    scripted(BOTH, BOTH)
    chat = client.chat.completions.create(model="alpha", messages=HI, tools=TOOLS, parallel_tool_calls=False)
    assert len(chat.choices[0].message.tool_calls or ()) == 1 and chat.choices[0].finish_reason == "tool_calls"
    response = client.responses.create(model="alpha", input="hi", tools=FLAT, parallel_tool_calls=False)
    assert [item.type for item in response.output] == ["message", "function_call"]


def test_without_a_need_to_call_a_model_may_answer_on_a_fake_engine(client: openai.OpenAI) -> None:
    for choice in ("auto", None, openai.omit):
        scripted(["Hello."], said("a"))
        settings: Any = {"model": "alpha", "messages": HI, "tools": TOOLS, "tool_choice": choice}
        answer, call = (client.chat.completions.create(**settings).choices[0] for _ in range(2))
        assert (answer.message.content, answer.message.tool_calls, answer.finish_reason) == ("Hello.", None, "stop")
        assert len(call.message.tool_calls or ()) == 1 and call.message.content is None


def test_anthropics_choices_of_a_tool_on_a_fake_engine(fake_server: ServerInThread) -> None:
    tools = [{"name": name, "input_schema": PARAMETERS} for name in ("a", "b")]

    def blocks(**choice: Any) -> list[str]:
        body = {"model": "alpha", "max_tokens": 50, "messages": HI, "tools": tools, "tool_choice": choice}
        kinds: list[list[str]] = []
        for stream in (False, True):
            answer = httpx.post(f"{fake_server.url}/v1/messages", json={**body, "stream": stream}, timeout=30)
            assert answer.status_code == 200, answer.text
            events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
            begun = [event["content_block"] for event in events if event["type"] == "content_block_start"]
            kinds.append([block["type"] for block in (begun if stream else answer.json()["content"])])
        assert kinds[0] == kinds[1]
        return kinds[0]

    for alone, expected in ((False, ["text", "tool_use", "tool_use"]), (True, ["text", "tool_use"])):
        scripted(BOTH, BOTH)
        assert blocks(type="auto", disable_parallel_tool_use=alone) == expected
    scripted(["Hello."], ["Hello."])
    assert blocks(type="auto") == ["text"]


def test_a_model_that_is_loaded_for_a_request_has_its_ttl_and_its_draft_model_on_a_fake_engine(
    fake_server: ServerInThread,
) -> None:
    body = {"model": "alpha", "ttl": 77, "draft_model": "beta", "max_tokens": 2}
    for path, prompted in (("/v1/chat/completions", {"messages": HI}), ("/v1/completions", {"prompt": "hi"})):
        answer = httpx.post(f"{fake_server.url}{path}", json={**body, **prompted}, timeout=30)
        assert answer.json()["stats"]["draft_model"] == "beta", answer.text
        (instance,) = fake_server.host.instances.loaded()
        assert instance.ttl_sec == 77 and fake.engines[-1].draft == "beta"
    unknown = httpx.post(f"{fake_server.url}/v1/completions", json={**body, "prompt": "hi", "draft_model": "none"})
    assert unknown.status_code == 404 and "none" in unknown.json()["error"]["message"]


SENT_BACK: Any = [
    {"role": "developer", "content": "ALPHA"},
    {"role": "user", "content": [{"type": "text", "text": "BRAVO"}, {"type": "text", "text": "CHARLIE"}]},
    {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "audio": None,
        "reasoning_content": "DELTA",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "a", "arguments": '{"city": "ECHO"}'}}],
    },
    {
        "role": "tool",
        "tool_call_id": "c1",
        "content": [{"type": "text", "text": "FOX"}, {"type": "text", "text": "TROT"}],
    },
    {"role": "system", "content": "GOLF"},
    {"role": "assistant", "content": [{"type": "text", "text": "HOTEL"}]},
    {"role": "user", "content": "INDIA"},
]
WORDS = ("ALPHA", "BRAVO", "CHARLIE", "DELTA", "ECHO", "FOXTROT", "GOLF", "HOTEL", "INDIA")


@pytest.mark.parametrize("tools", [None, TOOLS], ids=["plain", "tools"])
def test_every_text_that_is_sent_back_is_in_the_prompt_once_and_in_order_on_a_fake_engine(
    client: openai.OpenAI, tools: Any
) -> None:
    client.chat.completions.create(model="alpha", messages=SENT_BACK, tools=tools or openai.omit)
    every_word_once()


@pytest.mark.parametrize("tools", [None, TOOLS], ids=["plain", "tools"])
def test_so_it_is_in_ollamas_chats_on_a_fake_engine(fake_server: ServerInThread, tools: Any) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "ALPHA"},
        {"role": "user", "content": "BRAVO CHARLIE"},
        {
            "role": "assistant",
            "content": "",
            "thinking": "DELTA",
            "tool_calls": [{"function": {"name": "a", "arguments": {"city": "ECHO"}}}],
        },
        {"role": "tool", "tool_name": "a", "content": "FOXTROT"},
        {"role": "system", "content": "GOLF"},
        {"role": "assistant", "content": "HOTEL"},
        {"role": "user", "content": "INDIA"},
    ]
    body = {"model": "alpha", "messages": messages, "tools": tools, "stream": False}
    assert httpx.post(f"{fake_server.url}/api/chat", json=body, timeout=30).status_code == 200
    every_word_once()


def every_word_once() -> None:
    """Check that the last prompt has every word once, in order, and no parts of messages as data."""
    rendered = prompt()
    assert [rendered.count(word) for word in WORDS] == [1] * len(WORDS)
    places = [rendered.index(word) for word in WORDS]
    assert places == sorted(places) and "input_text" not in rendered and "'type'" not in rendered
