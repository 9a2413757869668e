"""Anthropic's API where engines fail, load slowly or are busy, on the fake engine; its models, errors and headers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import anthropic
import httpx
import msgspec
import pytest
import studiolo_fake_engine as fake
from anthropic.types import ErrorResponse, Message, ModelInfo
from jsonschema import Draft202012Validator

from studiolo.dialects.anthropic.blocks import BlockWriter
from studiolo.dialects.anthropic.client_tools import client_tool
from studiolo.dialects.anthropic.conversation import read_conversation
from studiolo.dialects.anthropic.errors import error_answer
from studiolo.dialects.anthropic.request import MessagesBody
from studiolo.dialects.http.gathered import AnswerText, CallArguments, CallBegun, CallEnded, CallText, Thought
from studiolo.domain.chat import Message as DomainMessage
from studiolo.domain.chat import Text, ToolCall, ToolResult
from studiolo.domain.vocabulary import Vocabulary
from studiolo.errors import (
    BusyError,
    EngineDiedError,
    NotEnoughMemoryError,
    QuarantinedError,
    StoppingError,
    StudioloError,
)
from tests.support.http_server import ServerInThread
from tests.support.running import wait_until

pytestmark = pytest.mark.slow

VERSION = {"anthropic-version": "2023-06-01"}
BODY: dict[str, Any] = {"model": "alpha", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}


def streamed(server: ServerInThread, **body: Any) -> list[tuple[str, dict[str, Any]]]:
    """The names of a stream's events, and their data."""
    found: list[tuple[str, dict[str, Any]]] = []
    with httpx.stream("POST", f"{server.url}/v1/messages", json={**BODY, "stream": True, **body}, timeout=30) as answer:
        assert answer.status_code == 200, answer.read()
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                found.append((name, json.loads(line.removeprefix("data: "))))
    assert all(name == data["type"] for name, data in found)
    return found


def whole(server: ServerInThread, **body: Any) -> Message:
    answer = httpx.post(f"{server.url}/v1/messages", json={**BODY, **body}, timeout=30)
    assert answer.status_code == 200, answer.text
    return Message.model_validate_json(answer.text, strict=True)


def test_an_engine_that_dies_ends_a_stream_with_an_error_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(dies_after=2)
    found = streamed(fake_server)
    names = [name for name, _ in found]
    assert names[0] == "message_start" and names[-1] == "error" and "message_stop" not in names
    error = ErrorResponse.model_validate(found[-1][1], strict=True)
    assert error.error.type == "api_error" and error.request_id


def test_a_stream_pings_while_its_model_loads_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(load=fake.Step(1.5))
    names = [name for name, _ in streamed(fake_server)]
    first = names.index("message_start")
    assert first >= 1 and set(names[:first]) == {"ping"} and names[-1] == "message_stop"


def test_a_refusal_after_a_slow_load_is_an_error_in_the_stream_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(load=fake.Step(1.5))
    found = streamed(fake_server, messages=[{"role": "user", "content": "word " * 5000}])
    assert found[-1][0] == "error" and found[-1][1]["error"]["type"] == "invalid_request_error"
    assert "message_start" not in [name for name, _ in found]


def test_a_client_that_leaves_frees_its_slot_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(endless=True, token=fake.Step(0.01))
    body = {**BODY, "max_tokens": 2000}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{fake_server.url}/v1/messages", json=body, timeout=0.5)
    wait_until(lambda: fake_server.host.requests_under_way() == 0, "the slot")
    with httpx.stream("POST", f"{fake_server.url}/v1/messages", json={**body, "stream": True}) as answer:
        assert next(answer.iter_lines()) == "event: message_start"
    wait_until(lambda: fake_server.host.requests_under_way() == 0, "the slot")


def test_an_answer_that_fills_the_context_says_so_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(endless=True)
    assert whole(fake_server, max_tokens=9000).stop_reason == "model_context_window_exceeded"
    delta = streamed(fake_server, max_tokens=9000)[-2][1]["delta"]
    assert delta == {"stop_reason": "model_context_window_exceeded", "stop_sequence": None}


def test_a_full_queue_is_a_rate_limit_on_a_fake_engine(fake_server: ServerInThread) -> None:
    with fake_server.host.home.settings.open("a") as settings:
        settings.write("\n[limits]\nqueue_length = 0\n")
    said = threading.Event()
    fake.models["alpha"] = fake.FakeModel(token=fake.Step(gate=said))
    threads = [threading.Thread(target=whole, args=(fake_server,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: fake_server.host.requests_under_way() == 4, "four requests")
    answer = httpx.post(f"{fake_server.url}/v1/messages", json=BODY)
    said.set()
    for thread in threads:
        thread.join(60)
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) > 0
    assert ErrorResponse.model_validate_json(answer.text, strict=True).error.type == "rate_limit_error"


ERRORS: list[tuple[Callable[[str], StudioloError], int, str]] = [
    (BusyError, 429, "rate_limit_error"),
    (NotEnoughMemoryError, 529, "overloaded_error"),
    (QuarantinedError, 529, "overloaded_error"),
    (StoppingError, 529, "overloaded_error"),
    (EngineDiedError, 500, "api_error"),
]


@pytest.mark.parametrize(("kind", "status", "name"), ERRORS, ids=[kind.__name__ for kind, _, _ in ERRORS])
def test_errors_of_the_host_have_their_own_status(kind: type[StudioloError], status: int, name: str) -> None:
    error = kind("wrong")
    answer = error_answer(error, error.http_status)
    assert (answer.status, answer.body["error"]["type"]) == (status, name)
    assert ("retry-after" in answer.headers) == (status in (429, 529))
    assert answer.headers["request-id"] == answer.body["request_id"]


@pytest.mark.parametrize(("status", "name"), [(413, "request_too_large"), (403, "permission_error")])
def test_refusals_of_the_server_have_their_own_type(status: int, name: str) -> None:
    assert error_answer(StudioloError("wrong"), status).body["error"]["type"] == name


def test_unknown_paths_and_wrong_methods_have_the_form_of_the_api(fake_server: ServerInThread) -> None:
    for method, path, status in (("GET", "/v1/messages", 405), ("POST", "/v1/messages/nothing", 404)):
        answer = httpx.request(method, f"{fake_server.url}{path}")
        assert answer.status_code == status and answer.headers["request-id"].startswith("req_")
        ErrorResponse.model_validate_json(answer.text, strict=True)


def test_models_have_the_form_of_the_api_for_its_clients(fake_server: ServerInThread) -> None:
    with anthropic.Anthropic(base_url=fake_server.url, api_key="any", max_retries=0) as client:
        everything = [model.id for model in client.models.list()]
        assert everything == ["alpha", "beta", "text-embedding-vectors"]
        assert [model.id for model in client.models.list(limit=1)] == everything  # page after page
        first = client.models.list(limit=2)
        assert (first.has_more, first.first_id, first.last_id) == (True, "alpha", "beta")
        assert [model.id for model in client.models.list(after_id="beta").data] == ["text-embedding-vectors"]
        assert [model.id for model in client.models.list(before_id="text-embedding-vectors", limit=1).data] == ["beta"]
        assert client.models.retrieve("alpha").display_name
        with pytest.raises(anthropic.NotFoundError):
            client.models.retrieve("no-such")
        with pytest.raises(anthropic.BadRequestError):
            client.models.list(after_id="no-such")
    page = httpx.get(f"{fake_server.url}/v1/models", headers=VERSION)
    for entry in page.json()["data"]:
        model = ModelInfo.model_validate_json(json.dumps(entry), strict=True)
        assert model.lifecycle == "active" and model.max_input_tokens == 2048
    for path in ("fake/alpha", "fake%2Falpha"):
        found = httpx.get(f"{fake_server.url}/v1/models/{path}", headers=VERSION)
        assert found.status_code == 200 and found.json()["type"] == "model"
    assert httpx.get(f"{fake_server.url}/v1/models?limit=0", headers=VERSION).status_code == 400
    assert httpx.get(f"{fake_server.url}/v1/models").json()["object"] == "list"  # to all other clients


def test_white_space_between_blocks_is_dropped() -> None:
    call = CallText("toolu_1", "f", "{}", ToolCall("f", {}, "toolu_1"))
    pieces = [
        Thought("\n\n"),
        AnswerText("\n", ()),
        CallBegun(0, "toolu_1", "f"),
        CallArguments(0, "{}"),
        CallEnded(0, call),
        AnswerText("\n", ()),
    ]
    writer = BlockWriter()
    events = [event for piece in pieces for event in writer.add(piece)] + list(writer.close())
    assert writer.content == [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]
    assert [event["type"] for event in events] == ["content_block_start", "content_block_delta", "content_block_stop"]
    answer = BlockWriter()
    for piece in (Thought("\n\n"), AnswerText("\n", ()), AnswerText("Hi", ())):
        assert all(event["index"] == 0 for event in answer.add(piece))
    assert [event["type"] for event in answer.close()] == ["content_block_stop"]
    assert answer.content == [{"type": "text", "text": "Hi"}]
    alone = BlockWriter()
    assert list(alone.add(AnswerText(" ", ()))) == [] and list(alone.close()) and alone.content[0]["text"] == " "


def test_two_calls_are_two_blocks_one_after_the_other() -> None:
    writer = BlockWriter()
    events: list[dict[str, Any]] = []
    for number in (0, 1):
        call = CallText(f"toolu_{number}", "f", "{}", ToolCall("f", {"n": number}, f"toolu_{number}"))
        for piece in (
            CallBegun(number, call.id, "f"),
            CallArguments(number, f'{{"n": {number}}}'),
            CallEnded(number, call),
        ):
            events += writer.add(piece)
    events += writer.close()
    assert [event["index"] for event in events] == [0, 0, 0, 1, 1, 1]
    assert [block["input"] for block in writer.content] == [{"n": 0}, {"n": 1}]


def test_a_conversation_is_read_in_order_and_whole() -> None:
    def results(*blocks: dict[str, Any]) -> dict[str, Any]:
        return {"role": "user", "content": list(blocks)}

    uses = [{"type": "tool_use", "id": f"t{number}", "name": f"f{number}", "input": {"n": number}} for number in (1, 2)]
    found = read_conversation(
        [{"type": "text", "text": "S"}, {"type": "text", "text": "T"}],
        [
            {"role": "user", "content": "A"},
            {"role": "user", "content": [{"type": "text", "text": "B"}, {"type": "text", "text": "C"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "D"}, *uses]},
            results(
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "one"}]},
                {"type": "tool_result", "tool_use_id": "t2", "content": "two", "is_error": True},
                {"type": "text", "text": "E"},
            ),
            {"role": "system", "content": "F"},
            {
                "role": "assistant",
                "content": [
                    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "Q"}},
                    {"type": "redacted_thinking", "data": "xx"},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "document",
                        "title": "G",
                        "source": {"type": "text", "data": "H", "media_type": "text/plain"},
                    },
                    {
                        "type": "search_result",
                        "title": "I",
                        "source": "http://i",
                        "content": [{"type": "text", "text": "J"}],
                    },
                ],
            },
        ],
    )
    assert not found.continues
    assert found.messages == [
        DomainMessage("system", [Text("S\nT")]),
        DomainMessage("user", [Text("A\nB\nC")]),
        DomainMessage("assistant", [Text("D"), ToolCall("f1", {"n": 1}, "t1"), ToolCall("f2", {"n": 2}, "t2")]),
        DomainMessage("tool", [ToolResult("one", "t1", "f1"), ToolResult("Error: two", "t2", "f2")]),
        DomainMessage("user", [Text("E\nF")]),
        DomainMessage(
            "assistant",
            [Text('{"type":"server_tool_use","id":"s","name":"web_search","input":{"query":"Q"}}')],
        ),
        DomainMessage("user", [Text("G\nH\nI\nhttp://i\nJ")]),
    ]


THINKING: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"type": "enabled", "budget_tokens": 2000}, {"enable_thinking": True, "reasoning_budget": 2000}, {}),
    ({"type": "adaptive"}, {"enable_thinking": True}, {}),
    ({"type": "between_tools"}, {"enable_thinking": False}, {"enable_thinking": False}),
    ({"type": "disabled"}, {"enable_thinking": False}, {"enable_thinking": False}),
]


@pytest.mark.parametrize(("thinking", "reasoning", "other"), THINKING, ids=[each["type"] for each, _, _ in THINKING])
def test_thinking_and_effort_become_settings_of_models_that_reason(
    thinking: dict[str, Any], reasoning: dict[str, Any], other: dict[str, Any]
) -> None:
    body = msgspec.convert({**BODY, "thinking": thinking, "output_config": {"effort": "low"}}, MessagesBody)
    conversation = body.conversation()
    for template, expected in (("<think>", {**reasoning, "reasoning_effort": "low"}), ("", other)):
        ignored: list[str] = []
        instance: Any = SimpleNamespace(vocabulary=Vocabulary(chat_template=template))
        config = body.config_for(instance, conversation, ignored)
        fields = ("enable_thinking", "reasoning_budget", "reasoning_effort")
        assert {name: value for name in fields if (value := getattr(config, name)) is not None} == expected
        without_effect = ["output_config.effort", *(["thinking"] if not other else [])]
        assert ignored == ([] if template else without_effect)


def test_a_system_message_may_end_with_the_next_turn_of_the_user() -> None:
    passing = {"role": "system", "content": "P", "clear_at": "next_user_message"}
    asked, said = {"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}
    texts = [message.text for message in read_conversation(None, [asked, passing, said, asked]).messages]
    assert texts == ["A", "B", "A"]
    assert [message.text for message in read_conversation(None, [asked, passing]).messages] == ["A\nP"]


def test_a_hundred_thousand_messages_in_a_row_are_read_in_no_time() -> None:
    found = read_conversation("S", [{"role": "user", "content": "a"}] * 100_000)
    assert len(found.messages) == 2 and len(found.messages[1].text) == 199_999


def test_where_an_answer_begins() -> None:
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}
    asked, called = {"role": "user", "content": "A"}, {"role": "assistant", "content": [use]}
    begun = read_conversation(None, [asked, {"role": "assistant", "content": "B"}])
    assert (begun.continues, begun.after_result) == (True, False)
    empty = read_conversation(None, [asked, called, result, {"role": "assistant", "content": ""}])
    assert (empty.continues, empty.after_result, empty.messages[-1].role) == (False, True, "tool")
    later = read_conversation(None, [asked, called, result, {"role": "assistant", "content": "B"}, asked])
    assert (later.continues, later.after_result) == (False, False)


def test_the_tools_that_clients_run_have_schemas() -> None:
    commands = {
        "text_editor_20250124": {"view", "create", "str_replace", "insert", "undo_edit"},
        "text_editor_20250728": {"view", "create", "str_replace", "insert"},
        "memory_20250818": {"view", "create", "str_replace", "insert", "delete", "rename"},
    }
    for kind, names in commands.items():
        tool = client_tool(kind, None)
        assert tool is not None and tool.parameters is not None
        assert {each["properties"]["command"]["const"] for each in tool.parameters["anyOf"]} == names
        Draft202012Validator.check_schema(tool.parameters)
    assert client_tool("web_search_20250305", "web_search") is None and client_tool("custom", "x") is None


@pytest.mark.parametrize(
    ("system", "prompt"),
    [
        ("x-anthropic-billing-header: a=1;", None),
        ("x-anthropic-billing-header: a=1;\nBe brief.", "Be brief."),
        ("Say x-anthropic-billing-header: often.", "Say x-anthropic-billing-header: often."),
        ([{"type": "text", "text": ""}], None),
    ],
)
def test_the_billing_header_is_no_part_of_the_system_prompt(system: Any, prompt: str | None) -> None:
    found = read_conversation(system, [{"role": "user", "content": "A"}]).messages
    assert [message.text for message in found if message.role == "system"] == ([] if prompt is None else [prompt])
