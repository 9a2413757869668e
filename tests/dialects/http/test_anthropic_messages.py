"""Anthropic's messages by the official client's types, against a real server with the default model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types import (
    Message,
    TextBlock,
    ToolUseBlock,
)
from anthropic.types.beta import BetaMessage
from jsonschema import validate

from tests.support.anthropic_messages import (
    HELLO,
    SCHEMA,
    SENT_BACK,
    TOOLS,
    count,
    events,
    prompt_tokens,
    refusal,
    request,
    streamed_text,
    text_of,
    whole,
)
from tests.support.http_server import LLM, SENSIBLE


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=base_url, api_key="any", max_retries=0, timeout=60) as found:
        yield found


def test_a_message_is_of_the_official_type(http: httpx.Client) -> None:
    message = whole(http)
    assert message.id.startswith("msg_") and message.model == LLM
    assert [block.type for block in message.content] == ["text"] and text_of(message)
    assert (message.stop_reason, message.stop_sequence) == ("max_tokens", None)
    assert message.usage.output_tokens == 10 and prompt_tokens(message.usage) == count(http)


def test_a_stream_says_what_the_whole_message_says(http: httpx.Client) -> None:
    message, found = whole(http), events(http)
    start, delta = found[0], found[-2]
    assert start.type == "message_start" and delta.type == "message_delta"
    assert start.message.content == [] and start.message.stop_reason is None
    assert prompt_tokens(start.message.usage) == prompt_tokens(delta.usage) == prompt_tokens(message.usage)
    assert streamed_text(found) == text_of(message)
    assert delta.delta.stop_reason == message.stop_reason
    assert delta.usage.output_tokens == message.usage.output_tokens


def test_the_official_client_streams(client: anthropic.Anthropic) -> None:
    settings: dict[str, Any] = {"model": LLM, "max_tokens": 10, "messages": HELLO, "extra_body": {"temperature": 0}}
    with client.messages.stream(**settings) as stream:
        said = "".join(stream.text_stream)
        final = stream.get_final_message()
    message = client.messages.create(**settings)
    assert said == text_of(final) == text_of(message)
    assert final.usage.output_tokens == 10
    assert message._request_id and stream.request_id and message._request_id != stream.request_id


STOPS = [
    ({"stop_sequences": ["zzz", "e"]}, "stop_sequence", "e"),
    ({"max_tokens": 2}, "max_tokens", None),
    (
        {"model": SENSIBLE, "messages": [{"role": "user", "content": "Say only: yes."}], "max_tokens": 200},
        "end_turn",
        None,
    ),
]


@pytest.mark.parametrize(("body", "reason", "sequence"), STOPS, ids=[reason for _, reason, _ in STOPS])
def test_why_a_message_ended(http: httpx.Client, body: dict[str, Any], reason: str, sequence: str | None) -> None:
    message = whole(http, **body)
    assert (message.stop_reason, message.stop_sequence) == (reason, sequence)
    delta = events(http, **body)[-2]
    assert delta.type == "message_delta"
    assert (delta.delta.stop_reason, delta.delta.stop_sequence) == (reason, sequence)


CHOICES = [
    ({"type": "any"}, {"a", "b"}),
    ({"type": "any", "disable_parallel_tool_use": True}, {"a", "b"}),
    ({"type": "tool", "name": "b"}, {"b"}),
]


@pytest.mark.parametrize(("choice", "names"), CHOICES)
def test_a_forced_call_is_made(http: httpx.Client, client: anthropic.Anthropic, choice: Any, names: set[str]) -> None:
    body: dict[str, Any] = {"tools": TOOLS, "tool_choice": choice, "max_tokens": 60}
    message = whole(http, **body)
    assert {block.type for block in message.content} == {"tool_use"}
    calls = [block for block in message.content if isinstance(block, ToolUseBlock)]
    assert calls and {call.name for call in calls} <= names and calls[0].id.startswith("toolu_")
    for call in calls:
        validate(call.input, SCHEMA)
    with client.messages.stream(model=LLM, messages=HELLO, extra_body={"temperature": 0}, **body) as stream:
        final = stream.get_final_message()
    assert [block.input for block in final.content if block.type == "tool_use"] == [call.input for call in calls]
    assert final.stop_reason == "tool_use"
    assert prompt_tokens(message.usage) == count(http, tools=TOOLS, tool_choice=choice)


def test_no_call_is_made_where_none_is_allowed(http: httpx.Client) -> None:
    message = whole(http, tools=TOOLS, tool_choice={"type": "none"})
    assert [block.type for block in message.content] == ["text"] and message.stop_reason == "max_tokens"


def test_a_call_that_is_cut_off_is_not_a_finished_one(http: httpx.Client) -> None:
    body: dict[str, Any] = {"tools": TOOLS, "tool_choice": {"type": "any"}, "max_tokens": 5}
    assert whole(http, **body).stop_reason == "max_tokens"
    assert events(http, **body)[-2].delta.stop_reason == "max_tokens"  # type: ignore[union-attr]


CLIENT_TOOLS = [
    ({"type": "bash_20250124", "name": "bash"}, {"command"}),
    ({"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 9}, {"command", "path"}),
    ({"type": "memory_20250818", "name": "memory"}, {"command"}),
]


@pytest.mark.parametrize(("tool", "fields"), CLIENT_TOOLS, ids=[tool["name"] for tool, _ in CLIENT_TOOLS])
def test_tools_that_clients_run_are_called(http: httpx.Client, tool: dict[str, Any], fields: set[str]) -> None:
    asked = [{"role": "user", "content": "List the files in /tmp."}]
    message = whole(http, messages=asked, tools=[tool], tool_choice={"type": "any"}, max_tokens=80)
    call = message.content[0]
    assert isinstance(call, ToolUseBlock) and call.name == tool["name"]
    assert message.stop_reason == "max_tokens" or fields <= call.input.keys()


@pytest.mark.parametrize("name", ["zzz", "web_search"])
def test_a_tool_that_is_not_offered_cannot_be_chosen(http: httpx.Client, name: str) -> None:
    message = refusal(http, tools=TOOLS, tool_choice={"type": "tool", "name": name})
    assert message.startswith("tool_choice.name:") and name in message


@pytest.mark.parametrize(
    "extra",
    [
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "high"}},
        {"thinking": {"type": "between_tools"}},
        {"thinking": {"type": "disabled"}, "metadata": {"user_id": "u"}, "service_tier": "auto"},
        {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}, "tools": TOOLS},
    ],
)
def test_what_agents_send_back_is_read(http: httpx.Client, extra: dict[str, Any]) -> None:
    body: dict[str, Any] = {"messages": SENT_BACK, "system": [{"type": "text", "text": "Be brief."}], **extra}
    answer = http.post(
        "/v1/messages?beta=true",
        json=request(max_tokens=2, **body),
        headers={"anthropic-beta": "unheard-of-2030-01-01", "anthropic-version": "2023-06-01"},
    )
    assert answer.status_code == 200, answer.text
    message = BetaMessage.model_validate_json(answer.text, strict=True)
    counted = {key: value for key, value in body.items() if key not in ("metadata", "service_tier")}
    assert prompt_tokens(message.usage) == count(http, **counted)
    edits = message.context_management
    assert (edits is not None and edits.applied_edits == []) == ("context_management" in extra)


def test_null_is_absent(http: httpx.Client) -> None:
    nulls = dict.fromkeys(
        ("system", "tools", "tool_choice", "stop_sequences", "thinking", "top_k", "metadata", "stream")
    )
    answer = http.post("/v1/messages", json={**request(), **nulls})
    assert answer.status_code == 200
    assert text_of(Message.model_validate_json(answer.text, strict=True)) == text_of(whole(http))


def test_fields_that_nobody_knows_are_named(http: httpx.Client) -> None:
    answer = http.post("/v1/messages", json=request(max_tokens=1, wibble=1))
    assert answer.headers["studiolo-ignored-fields"] == "wibble"


@pytest.mark.parametrize("stream", [False, True])
def test_what_has_no_effect_here_is_named(http: httpx.Client, stream: bool) -> None:
    body = request(
        max_tokens=1, stream=stream, tools=TOOLS, thinking={"type": "adaptive"}, output_config={"effort": "high"}
    )
    answer = http.post("/v1/messages", json=body)
    assert answer.status_code == 200
    named = answer.headers["studiolo-ignored-fields"].split(", ")
    assert set(named) == {"tools.2", "tools.3", "tools.3.newness", "thinking", "output_config.effort"}
    plain = http.post("/v1/messages", json=request(max_tokens=1, stream=stream, tools=TOOLS[:1]))
    assert "studiolo-ignored-fields" not in plain.headers


def test_settings_have_their_effect(http: httpx.Client) -> None:
    def said(**body: Any) -> str:
        return text_of(whole(http, max_tokens=8, **body))

    assert said(temperature=1.5, top_k=1) == said()
    assert said(temperature=1.5, top_p=0.0001) == said()
    assert len({said(temperature=1.9, top_k=0, top_p=1) for _ in range(3)}) > 1
    assert said(system="Answer in French, at length.") != said()


def test_a_last_message_of_the_assistant_is_continued(http: httpx.Client) -> None:
    asked: dict[str, Any] = {
        "model": SENSIBLE,
        "messages": [
            {"role": "user", "content": "What is the capital of France?"},
            {"role": "assistant", "content": "The capital of France is"},
        ],
    }
    message = whole(http, **asked)
    assert text_of(message).startswith(" Paris")
    assert streamed_text(events(http, **asked)) == text_of(message)
    assert prompt_tokens(message.usage) == count(http, **asked)
    with_tools = whole(http, tools=TOOLS, **asked)
    assert "capital of France is" not in text_of(with_tools)
    assert prompt_tokens(with_tools.usage) == count(http, tools=TOOLS, **asked)


def test_control_tokens_in_the_beginning_of_an_answer_stay_text(http: httpx.Client) -> None:
    begun = [*HELLO, {"role": "assistant", "content": "<|im_end|> is a token"}]
    plain = [*HELLO, {"role": "assistant", "content": " is a token"}]
    assert count(http, messages=begun) > count(http, messages=plain) + 1


def test_zero_tokens_fill_the_prompt_cache(http: httpx.Client) -> None:
    messages = [{"role": "user", "content": "The cache is filled by this sentence. " * 12}]
    message = whole(http, max_tokens=0, messages=messages)
    assert (message.content, message.stop_reason, message.usage.output_tokens) == ([], "max_tokens", 0)
    assert [event.type for event in events(http, max_tokens=0, messages=messages)][1:] == [
        "message_delta",
        "message_stop",
    ]
    usage = whole(http, max_tokens=1, messages=messages).usage
    assert (usage.cache_read_input_tokens or 0) > 0.95 * prompt_tokens(usage)


def test_a_billing_header_is_not_part_of_the_prompt(http: httpx.Client) -> None:
    def system(number: str) -> list[Any]:
        header = {"type": "text", "text": f"x-anthropic-billing-header: cc_version=2.1; cch={number};"}
        prompt = "You know x-anthropic-billing-header: as a word. " * 15
        return [header, {"type": "text", "text": prompt, "cache_control": {"type": "ephemeral"}}]

    first, second = (whole(http, max_tokens=1, system=system(number)).usage for number in ("a91f", "0b77"))
    assert prompt_tokens(first) == prompt_tokens(second) == count(http, system=system("1234"))
    assert (second.cache_read_input_tokens or 0) >= 0.95 * prompt_tokens(second)
    assert count(http, system=system("1")[1:]) == prompt_tokens(first)


def test_the_form_of_an_answer(http: httpx.Client) -> None:
    form = {"type": "json_schema", "schema": SCHEMA}
    body: dict[str, Any] = {"output_config": {"format": form}, "max_tokens": 40}
    message = whole(http, **body)
    assert message.stop_reason == "end_turn"
    validate(json.loads(text_of(message)), SCHEMA)
    assert streamed_text(events(http, **body)) == text_of(message)
    assert text_of(whole(http, output_format=form, max_tokens=40)) == text_of(message)
    broken = {"format": {"type": "json_schema", "schema": {"$ref": "#/$defs/no"}}}
    refusal(http, output_config=broken)


def test_an_image_is_refused_where_the_model_does_not_see(http: httpx.Client) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    assert "image" in refusal(http, messages=[{"role": "user", "content": [image]}])
    remote = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1/a.png"}}
    assert refusal(http, messages=[{"role": "user", "content": [remote]}]).startswith("messages.0.content.0")


def test_the_official_client_counts_tokens_and_reads_errors(client: anthropic.Anthropic) -> None:
    messages: list[Any] = HELLO
    plain = client.messages.count_tokens(model=LLM, messages=messages).input_tokens
    with_tools = client.messages.count_tokens(model=LLM, messages=messages, tools=TOOLS[:1]).input_tokens
    assert with_tools > plain + 20
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(model="no-such", max_tokens=1, messages=messages)
    assert caught.value.request_id and caught.value.request_id.startswith("req_")
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model=LLM, max_tokens=1, messages=[])


def test_the_result_of_a_call_is_answered(client: anthropic.Anthropic) -> None:
    first = client.messages.create(
        model=LLM, max_tokens=60, messages=HELLO, tools=TOOLS[:1], tool_choice={"type": "any"}
    )
    call = first.content[0]
    assert isinstance(call, ToolUseBlock)
    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "42"}
    messages: list[Any] = [
        *HELLO,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    last = client.messages.create(model=LLM, max_tokens=5, messages=messages, tools=TOOLS[:1])
    assert isinstance(last.content[0], TextBlock)
