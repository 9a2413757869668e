"""Anthropic's messages by the official client's types, against a real server with the default model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types import (
    ErrorResponse,
    Message,
    MessageTokensCount,
    RawMessageStreamEvent,
    TextBlock,
    ToolUseBlock,
)
from anthropic.types.beta import BetaMessage
from jsonschema import validate
from pydantic import TypeAdapter

from tests.support.homes import DEFAULT_MODEL as LLM

EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
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


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=base_url, api_key="any", max_retries=0, timeout=60) as found:
        yield found


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
                    found.append(EVENT.validate_json(data, strict=True))
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
    ({"messages": [{"role": "user", "content": "Say only: yes."}], "max_tokens": 200}, "end_turn", None),
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


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": None}, "max_tokens: missing"),
    ({"max_tokens": -1}, "max_tokens: "),
    ({"model": None}, "model: missing"),
    ({"model": ""}, "model: "),
    ({"temperature": "hot"}, "temperature: "),
    ({"messages": []}, "messages: "),
    ({"messages": {"messages": []}}, "messages: expected an array, got an object"),
    ({"messages": [{"role": "user"}]}, "messages.0.content: missing"),
    ({"messages": [{"role": "narrator", "content": "x"}]}, "messages.0.role: "),
    ({"messages": [{"role": "user", "content": [{"type": "sound"}]}]}, "messages.0.content.0: "),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text: missing"),
    ({"messages": [{"role": "user", "content": [{"type": "tool_use"}]}]}, "messages.0.content.0: "),
    ({"messages": [*HELLO, {"role": "assistant", "content": [SENT_BACK[2]["content"][3]]}]}, "messages.1.content: "),
    (
        {
            "messages": [
                *HELLO,
                {"role": "assistant", "content": "x"},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_9", "content": "y"}]},
            ]
        },
        "messages.2.content.0: ",
    ),
    ({"system": [{"type": "image"}]}, "system.0: "),
    ({"system": 5}, "system: "),
    ({"tools": [{"name": "a"}]}, "tools.0.input_schema: missing"),
    ({"tools": [TOOLS[0], TOOLS[0]]}, "tools.1: "),
    ({"tool_choice": {"type": "any"}}, "tool_choice: "),
    ({"thinking": {"type": "deep"}}, "thinking.type: "),
    ({"output_config": {"effort": "enormous"}}, "output_config.effort: "),
    ({"output_config": {"format": {"type": "xml"}}}, "output_config.format."),
    ({"speed": "fast"}, "speed: not supported"),
    ({"container": "c"}, "container: not supported"),
    ({"mcp_servers": [{"type": "url", "url": "http://127.0.0.1", "name": "x"}]}, "mcp_servers: not supported"),
]


@pytest.mark.parametrize(("body", "beginning"), WRONG, ids=[beginning for _, beginning in WRONG])
def test_a_wrong_field_is_refused_by_its_path(http: httpx.Client, body: dict[str, Any], beginning: str) -> None:
    assert refusal(http, **body).startswith(beginning)


@pytest.mark.parametrize("body", [b"[]", b"{", b"", b"[" * 5000])
def test_a_body_that_is_no_object_is_refused(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/v1/messages", content=body)
    assert answer.status_code == 400
    ErrorResponse.model_validate_json(answer.text, strict=True)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_an_unknown_model_is_an_error_while_another_is_loaded(http: httpx.Client, path: str) -> None:
    whole(http, max_tokens=1)
    assert "no-such-model" in refusal(http, 404, path, model="no-such-model")


def test_a_prompt_that_does_not_fit_is_refused_before_the_stream(http: httpx.Client) -> None:
    message = refusal(http, messages=[{"role": "user", "content": "word " * 9000}])
    assert message.startswith("prompt is too long: ") and "> 8192 maximum" in message


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
        "messages": [
            {"role": "user", "content": "What is the capital of France?"},
            {"role": "assistant", "content": "The capital of France is"},
        ]
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
