"""Reading llama-server's stream of a chat with tools: events as it writes them, and as it should not."""

from __future__ import annotations

import json
from typing import Any

from studiolo.config import PredictionConfig
from studiolo.domain.chat import Audio, Image, Message, Text, Tool, ToolCall, ToolResult
from studiolo.domain.generation import (
    Fragment,
    ToolCallArguments,
    ToolCallFailed,
    ToolCallFinished,
    ToolCallNamed,
    ToolCallStarted,
)
from studiolo.domain.progress import PromptProgress
from studiolo.engines.base import Completed, ToolChatRequest
from studiolo.engines.llama_cpp.chat_stream import ChatReader, chat_body, decode_chunk


def delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "finish_reason": None, "delta": fields}]}


def call(index: int, arguments: str | None = None, **first: Any) -> dict[str, Any]:
    function = {key: value for key, value in {"name": first.pop("name", None), "arguments": arguments}.items() if value}
    return delta(tool_calls=[{"index": index, "function": function, **first}])


def end(**verbose: Any) -> dict[str, Any]:
    reported = {
        "stop_type": "eos",
        "tokens_predicted": 7,
        "tokens_evaluated": 5,
        "timings": {"predicted_per_second": 2.0},
    }
    last = {"choices": [{"index": 0, "finish_reason": "stop", "delta": {}}]}
    return {**last, "__verbose": {**reported, **verbose}}


def read(*chunks: dict[str, Any], limit: int | None = None, **config: Any) -> list[Any]:
    reader = ChatReader(PredictionConfig(**config), limit)
    return [event for chunk in chunks for event in reader.feed(decode_chunk(json.dumps(chunk).encode()))]


def test_text_progress_and_the_end() -> None:
    events = read({"choices": [], "prompt_progress": {"total": 5, "processed": 3}}, delta(content="Hi"), end())
    assert events == [
        PromptProgress(3, 5),
        Fragment("Hi"),
        Completed(
            stop_reason="end_of_text", stop_string=None, prompt_tokens=5, predicted_tokens=7, tokens_per_second=2.0
        ),
    ]


def test_calls_follow_each_other_each_with_its_own_end() -> None:
    events = read(
        call(0, name="a", id="x", type="function"),
        call(0, '{"n"'),
        call(0, ": 1}"),
        call(1, "{}", name="b", id="y"),
        end(),
    )
    assert [type(event) for event in events] == [
        *(ToolCallStarted, ToolCallNamed, ToolCallArguments, ToolCallArguments, ToolCallFinished),
        *(ToolCallStarted, ToolCallNamed, ToolCallArguments, ToolCallFinished),
        Completed,
    ]
    first, second = (event.call for event in events if isinstance(event, ToolCallFinished))
    assert (first.name, first.arguments, first.id) == ("a", {"n": 1}, "x")
    assert (second.name, second.arguments, second.id) == ("b", {}, "y")
    assert events[-1].stop_reason == "end_of_text"


def test_a_call_without_an_identifier_gets_one() -> None:
    start, *_, finish, _ = read(call(0, "{}", name="a"), end())
    assert start.id == finish.call.id and len(start.id) == 9


def test_arguments_that_are_cut_off_or_no_object_are_reported_as_such() -> None:
    for arguments in ('{"n": ', "[1]", "nonsense", '{"n": ' + "[" * 100_000):
        *_, failed, completed = read(call(0, arguments, name="a"), end(stop_type="limit"))
        assert isinstance(failed, ToolCallFailed) and arguments in (failed.raw or "")
        assert completed.stop_reason == "max_tokens"


def test_why_it_ended() -> None:
    assert read(end(stop_type="word", stopping_word="x"))[0].stop_reason == "stop_string"
    assert read(end(stop_type="word", stopping_word="x"), tool_call_stop_strings=["x"])[0].stop_reason == "tool_calls"
    assert read(end(stop_type="limit", truncated=True))[0].stop_reason == "context_full"
    limited = read(end(stop_type="limit", truncated=True), max_tokens=7)
    assert limited[0].stop_reason == "max_tokens"
    full = {**delta(content="x"), "timings": {"cache_n": 2, "prompt_n": 3, "predicted_n": 5}}
    *_, completed = read(full, limit=10)
    assert (completed.stop_reason, completed.prompt_tokens, completed.predicted_tokens) == (
        "context_full",
        5,
        5,
    )


def test_a_chat_is_sent_in_openais_form_with_its_images_and_audio() -> None:
    messages = [
        Message("user", [Text("hi"), Image(b"\x89PNG1"), Audio(b"fLaC"), Audio(b"\xff\xfb")]),
        Message("assistant", [ToolCall("a", {"n": 1}, "1")]),
        Message("tool", [ToolResult("2", "1")] * 2),
    ]
    body = chat_body(
        ToolChatRequest(
            messages=messages,
            tools=[Tool("a")],
            config=PredictionConfig(temperature=0.5, max_tokens=9),
            template_variables={"enable_thinking": False},
        )
    )
    user, assistant, *results = body["messages"]
    assert user["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
    # The engine refuses the name of FLAC, and goes by the content.
    assert [part["input_audio"] for part in user["content"][2:]] == [
        {"data": "ZkxhQw==", "format": "wav"},
        {"data": "//s=", "format": "mp3"},
    ]
    assert assistant["tool_calls"][0]["function"] == {"name": "a", "arguments": '{"n": 1}'}
    assert results == [{"role": "tool", "content": "2", "tool_call_id": "1"}] * 2
    assert (body["temperature"], body["n_predict"], body["chat_template_kwargs"]) == (
        0.5,
        9,
        {"enable_thinking": False},
    )
    assert "prompt" not in body
