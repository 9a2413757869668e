"""Responses with the official client and a real model: every answer and event has the official type."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import openai
import pytest
from jsonschema import validate
from openai.types.responses import Response, ResponseItemList
from openai.types.responses.input_token_count_response import InputTokenCountResponse
from PIL import Image
from pydantic import BaseModel

from tests.support.http_server import LLM, SENSIBLE, VALUES
from tests.support.official_events import RESPONSE_EVENT

TEXT_EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]
CALL_EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
]

CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome", "Paris"]}},
    "required": ["city"],
    "additionalProperties": False,
}


def function(name: str) -> dict[str, Any]:
    return {"type": "function", "name": name, "description": "The weather.", "parameters": CITY, "strict": True}


@pytest.fixture
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key="any", max_retries=0, timeout=120) as client:
        yield client


def settings(**body: Any) -> dict[str, Any]:
    return {"model": LLM, "input": "Say hello.", "max_output_tokens": 8, "temperature": 0, **body}


def whole(http: httpx.Client, **body: Any) -> Response:
    """The whole response, checked."""
    answer = http.post("/v1/responses", json=settings(**body))
    assert answer.status_code == 200, answer.text
    return Response.model_validate_json(answer.text, strict=True)


def stream(http: httpx.Client, **body: Any) -> list[dict[str, Any]]:
    """The events of a stream, checked."""
    with http.stream("POST", "/v1/responses", json=settings(stream=True, **body)) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        frames = "".join(answer.iter_text()).split("\n\n")
    found: list[dict[str, Any]] = []
    for frame in frames:
        if not frame or frame.startswith(": "):
            continue
        name, _, data = frame.partition("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}" and event["sequence_number"] == len(found)
        checked = RESPONSE_EVENT.validate_json(data.removeprefix("data: "), strict=True)
        assert checked.type == event["type"]
        found.append(event)
    assert len({event["response"]["id"] for event in found if "response" in event}) == 1
    return found


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """The types of events, those of several pieces once."""
    found = [event["type"] for event in events]
    return [kind for index, kind in enumerate(found) if index == 0 or found[index - 1] != kind]


def refusal(http: httpx.Client, status: int = 400, **body: Any) -> dict[str, Any]:
    """The error that a request gets, whole and streamed."""
    errors: list[Any] = []
    for streamed in (False, True):
        answer = http.post("/v1/responses", json=settings(**{"stream": streamed, **body}))
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        errors.append(answer.json()["error"])
    assert errors[0] == errors[1] and errors[0].keys() == {"message", "type", "param", "code"}
    return errors[0]


def tokens(http: httpx.Client, **body: Any) -> int:
    """The number of tokens of an input."""
    answer = http.post("/v1/responses/input_tokens", json={"model": LLM, **body})
    assert answer.status_code == 200, answer.text
    return InputTokenCountResponse.model_validate_json(answer.text, strict=True).input_tokens


def test_the_events_of_a_text_come_in_order_with_every_member(http: httpx.Client) -> None:
    events = stream(http, metadata={"a": "b"})
    assert kinds(events) == [*TEXT_EVENTS, "response.incomplete"]
    item_id = events[2]["item"]["id"]
    assert {event.get("item_id", item_id) for event in events} == {item_id}
    assert {event.get("output_index", 0) for event in events} == {event.get("content_index", 0) for event in events}
    assert all(event["logprobs"] == [] for event in events if event["type"] == "response.output_text.delta")
    assert events[2]["item"]["content"] == [] and events[3]["part"]["text"] == ""
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    last = events[-1]["response"]
    assert text == last["output"][0]["content"][0]["text"] == whole(http).output_text
    for event in (events[0], events[1], events[-1]):
        response = event["response"]
        assert response["model"] == LLM and response["created_at"] and response["metadata"] == {"a": "b"}
        assert (response["tools"], response["tool_choice"], response["parallel_tool_calls"]) == ([], "auto", True)
    assert events[0]["response"]["output"] == [] and events[0]["response"]["usage"] is None
    assert events[0]["response"]["status"] == "in_progress"


def test_the_official_stream_ends_with_the_response_that_is_stored(client: openai.OpenAI) -> None:
    with client.responses.stream(model=SENSIBLE, input="Say hi.", temperature=0) as events:
        seen = [event.type for event in events]
        final = events.get_final_response()
    assert (seen[0], seen[-1]) == ("response.created", "response.completed")
    assert final.status == "completed" and final.output_text and final.completed_at
    stored = client.responses.retrieve(final.id)
    assert (stored.output_text, stored.usage) == (final.output_text, final.usage)


def test_a_cut_answer_is_incomplete_and_its_usage_whole(http: httpx.Client) -> None:
    answer = whole(http, max_output_tokens=3)
    assert answer.status == "incomplete" and answer.incomplete_details
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.output[0].status == "incomplete"  # type: ignore[union-attr]
    usage = answer.usage
    assert usage is not None and usage.output_tokens == 3 and usage.output_tokens_details.reasoning_tokens == 0
    assert usage.input_tokens + 3 == usage.total_tokens
    details = usage.input_tokens_details
    assert details.cached_tokens + details.cache_write_tokens == usage.input_tokens == tokens(http, input="Say hello.")


def test_a_response_continues_any_stored_one(http: httpx.Client) -> None:
    first = stream(http, input="My name is Ada.", instructions="Answer in one word. " * 20)[-1]["response"]
    said = first["output"][0]["content"][0]["text"]
    second = whole(http, input="What is my name?", previous_response_id=first["id"])
    third = whole(http, input="What is my name?", previous_response_id=first["id"])
    history = [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": said},
        {"role": "user", "content": "What is my name?"},
    ]
    expected = tokens(http, input=history)
    assert second.usage and third.usage and second.usage.input_tokens == third.usage.input_tokens == expected
    assert second.output_text == third.output_text == whole(http, input=history).output_text
    assert second.previous_response_id == first["id"]
    fourth = whole(http, input="And mine?", previous_response_id=second.id)
    assert fourth.usage and fourth.usage.input_tokens > expected
    assert tokens(http, input="What is my name?", previous_response_id=first["id"]) == expected


def test_a_response_that_is_not_stored_cannot_be_continued_or_retrieved(http: httpx.Client) -> None:
    kept, other = whole(http, max_output_tokens=1), whole(http, store=False, max_output_tokens=1)
    assert http.get(f"/v1/responses/{other.id}").status_code == 404
    for unknown in ("resp_none", other.id):
        error = refusal(http, previous_response_id=unknown)
        assert (error["param"], error["code"]) == ("previous_response_id", "previous_response_not_found")
    path = f"/v1/responses/{kept.id}"
    found = Response.model_validate_json(http.get(path).text, strict=True)
    assert found == kept
    assert http.post(f"{path}/cancel").status_code == 400
    assert http.delete(path).json() == {"id": kept.id, "object": "response", "deleted": True}
    for method, url in (("GET", path), ("DELETE", path), ("GET", f"{path}/input_items"), ("POST", f"{path}/cancel")):
        answer = http.request(method, url)
        assert answer.status_code == 404 and answer.json()["error"]["type"] == "invalid_request_error"


def test_the_items_of_an_input_are_listed_in_pages(http: httpx.Client, client: openai.OpenAI) -> None:
    first = whole(http, input=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi."}])
    second = whole(http, input="More.", previous_response_id=first.id, max_output_tokens=1)
    path = f"/v1/responses/{second.id}/input_items"
    listed = ResponseItemList.model_validate_json(http.get(path).text, strict=True)
    assert [getattr(item, "role", None) for item in listed.data] == ["user", "assistant", "user", "developer"]
    assert (listed.first_id, listed.last_id, listed.has_more) == (listed.data[0].id, listed.data[-1].id, False)
    page = http.get(path, params={"order": "asc", "limit": 2, "after": listed.data[-1].id}).json()
    assert [item["id"] for item in page["data"]] == [listed.data[2].id, listed.data[1].id] and page["has_more"]
    assert len(list(client.responses.input_items.list(second.id, limit=1))) == 4
    for query in ({"order": "up"}, {"limit": 0}, {"limit": 101}, {"after": "msg_none"}):
        assert http.get(path, params=query).json()["error"]["param"] == next(iter(query))


def test_a_function_is_called_and_its_output_taken_back(http: httpx.Client) -> None:
    asked: dict[str, Any] = {"tools": [function("a"), function("b")], "max_output_tokens": 40}
    events = stream(http, **asked, tool_choice="required")
    assert kinds(events) == [*CALL_EVENTS, "response.completed"]
    assert events[2]["item"]["arguments"] == "" and events[2]["item"]["status"] == "in_progress"
    deltas = [event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta"]
    output = events[-1]["response"]["output"]
    (call,) = output
    assert call["type"] == "function_call" and call["status"] == "completed" and call["name"] in "ab"
    assert "".join(deltas) == call["arguments"] and call["id"] != call["call_id"]
    validate(json.loads(call["arguments"]), CITY)
    answer: dict[str, Any] = {"type": "function_call_output", "call_id": call["call_id"]}
    start = [{"role": "user", "content": "Say hello."}]
    counts = [
        tokens(http, input=[*start, *items, {**answer, "output": result}], tools=asked["tools"])
        for items in (output, [{"type": "item_reference", "id": call["id"]}], [{"id": call["id"]}])
        for result in ("42", [{"type": "input_text", "text": "42"}])
    ]
    assert len(set(counts)) == 1
    continued = whole(
        http, input=[{**answer, "output": "42"}], previous_response_id=events[-1]["response"]["id"], **asked
    )
    assert continued.usage and continued.usage.input_tokens == counts[0]


def test_a_cut_call_is_incomplete_and_can_be_continued(http: httpx.Client) -> None:
    asked: dict[str, Any] = {"tools": [function("a")], "tool_choice": {"type": "function", "name": "a"}}
    cut = whole(http, **asked, max_output_tokens=14)
    assert cut.status == "incomplete"
    assert all(item.status == "incomplete" for item in cut.output if item.type == "function_call")
    assert whole(http, input="More.", previous_response_id=cut.id, max_output_tokens=1).status == "incomplete"


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("none", set()),
        ("required", {"a", "b"}),
        ({"type": "function", "name": "b"}, {"b"}),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "b"}]}, {"b"}),
    ],
    ids=["none", "required", "named", "allowed"],
)
def test_the_choice_of_a_tool_is_followed(http: httpx.Client, choice: Any, names: set[str]) -> None:
    tools = [function("a"), function("b")]
    answer = whole(http, tools=tools, tool_choice=choice, parallel_tool_calls=False, max_output_tokens=40)
    called = [item.name for item in answer.output if item.type == "function_call"]
    assert set(called) <= names and len(called) == bool(names)
    echoed = json.loads(answer.model_dump_json(by_alias=True))["tool_choice"]
    assert echoed == choice or choice.items() <= echoed.items()


def test_tools_in_namespaces_and_with_free_text_are_called_and_hosted_ones_are_not_offered(http: httpx.Client) -> None:
    space = {"type": "namespace", "name": "mcp__x", "description": "", "tools": [function("f")]}
    tools = [
        {"type": "web_search"},
        {"type": "image_generation"},
        space,
        {"type": "custom", "name": "exec", "description": "Runs a command."},
        function("g"),
        {"type": "some_newer_tool"},
    ]
    more = {"type": "additional_tools", "role": "developer", "tools": [function("h")]}
    asked: dict[str, Any] = {"tools": tools, "max_output_tokens": 60}
    asked["input"] = [more, {"role": "user", "content": "Say hello."}]
    events = stream(http, **asked, tool_choice={"type": "custom", "name": "exec"})
    assert kinds(events)[2:-1] == [
        "response.output_item.added",
        "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done",
        "response.output_item.done",
    ]
    response = Response.model_validate(events[-1]["response"], strict=True)
    (call,) = response.output
    assert call.type == "custom_tool_call" and call.name == "exec"
    assert call.input == events[-2]["item"]["input"] == events[-3]["input"]
    assert [tool.type for tool in response.tools] == ["namespace", "custom", "function", "function"]
    (named,) = whole(http, **asked, tool_choice={"type": "function", "name": "f", "namespace": "mcp__x"}).output
    assert named.type == "function_call" and (named.name, named.namespace) == ("f", "mcp__x")
    (other,) = whole(http, **asked, tool_choice={"type": "function", "name": "h"}).output
    assert other.type == "function_call" and other.name == "h"
    outputs = [
        {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "done"},
        {"type": "function_call_output", "call_id": named.call_id, "output": "sunny"},
    ]
    sent_back = [json.loads(item.model_dump_json(exclude_none=True)) for item in (call, named)]
    history = [*asked["input"], *sent_back, *outputs]
    assert tokens(http, input=history, tools=tools) > tokens(http, input=asked["input"], tools=tools)
    assert "web_search" in refusal(http, **asked, tool_choice={"type": "web_search"})["message"]


class Weather(BaseModel):
    city: str
    degrees: int


def test_a_text_has_the_form_that_is_asked_for(http: httpx.Client, client: openai.OpenAI) -> None:
    parsed = client.responses.parse(
        model=VALUES, input="Weather in Rome? {", text_format=Weather, temperature=0, max_output_tokens=60
    )
    assert isinstance(parsed.output_parsed, Weather)
    plain = whole(http)
    for text in ({"verbosity": "low"}, {}, {"format": {"type": "text"}}):
        assert whole(http, text=text).output_text == plain.output_text
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    form = {"type": "json_schema", "name": "x", "strict": True, "schema": schema}
    for body in (whole(http, text={"format": form}, max_output_tokens=30),):
        validate(json.loads(body.output_text), schema)
        assert json.loads(body.model_dump_json(by_alias=True))["text"]["format"]["schema"] == schema
        events = stream(http, text={"format": form}, max_output_tokens=30)
        assert events[-1]["response"]["output"][0]["content"][0]["text"] == body.output_text
    as_object = whole(http, text={"format": {"type": "json_object"}}, max_output_tokens=30).output_text
    assert as_object.lstrip().startswith("{")
    error = refusal(http, response_format={"type": "json_object"})
    assert error["param"] == "response_format" and "text.format" in error["message"]


def test_log_probabilities_are_given_where_they_are_asked_for(http: httpx.Client) -> None:
    asked: dict[str, Any] = {"include": ["message.output_text.logprobs"], "top_logprobs": 2, "max_output_tokens": 3}
    events = stream(http, **asked)
    pieces = [one for event in events if event["type"].endswith("_text.delta") for one in event["logprobs"]]
    (part,) = Response.model_validate(events[-1]["response"], strict=True).output[0].content  # type: ignore
    assert part.type == "output_text" and part.logprobs and len(part.logprobs) == 3
    assert [one["token"] for one in pieces] == [one.token for one in part.logprobs]
    assert all(len(one.top_logprobs) == 2 and one.bytes for one in part.logprobs)


def test_items_are_taken_in_all_the_shapes_that_clients_send_back(http: httpx.Client) -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    call = {"type": "function_call", "call_id": "c1", "name": "a", "arguments": '{"city": "Rome"}'}
    items = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {**thought, "encrypted_content": "of another server"},
        {**thought, "content": [{"type": "reasoning_text", "text": "I look."}], "encrypted_content": None},
        {**thought, "summary": [{"type": "summary_text", "text": "I look."}], "status": None},
        {
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
            "id": "msg_1",
        },
        call,
        {**call, "call_id": "c2", "status": "completed"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "rainy"}]},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "And?"},
    ]
    answer = whole(http, input=items, max_output_tokens=2)
    listed = ResponseItemList.model_validate_json(http.get(f"/v1/responses/{answer.id}/input_items").text, strict=True)
    assert len(listed.data) == len(items)


def test_images_are_read_in_messages_and_in_the_outputs_of_tools(http: httpx.Client) -> None:
    data = BytesIO()
    Image.new("RGB", (64, 48), "red").save(data, "PNG")
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{b64encode(data.getvalue()).decode()}"}
    text = {"type": "input_text", "text": "What is it?"}
    call = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c", "output": [text, image]}
    for given in ([{"role": "user", "content": [text, image]}], [{"role": "user", "content": "Look."}, call, result]):
        answer = whole(http, model="tiny-vision", input=given, max_output_tokens=2)
        assert answer.usage and answer.usage.input_tokens > 25
        path = f"/v1/responses/{answer.id}/input_items"
        assert ResponseItemList.model_validate_json(http.get(path).text, strict=True).data
        assert tokens(http, model="tiny-vision", input=given) == answer.usage.input_tokens
    assert refusal(http, input=[{"role": "user", "content": [text, image]}])["param"] == "input"


WRONG = [
    ({"input": {"input": []}}, "input"),
    ({"input": []}, "input"),
    ({"input": None}, "input"),
    ({"input": ["text"]}, "input.0"),
    ({"input": [{"role": "boss", "content": "x"}]}, "input.0.role"),
    ({"input": [{"role": "user"}]}, "input.0.content"),
    ({"input": [{"role": "user", "content": [{"type": "smell"}]}]}, "input.0.content.0"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "input.0.content.0.file_id"),
    ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input.0.type"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0"),
    ({"input": [{"type": "function_call", "call_id": "c", "name": "a", "arguments": "{"}]}, "input.0.arguments"),
    ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input.0.output"),
    ({"input": [{"type": "function_call_output", "output": "x"}]}, "input.0.call_id"),
    ({"temperature": "hot"}, "temperature"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"max_tokens": 5}, "max_tokens"),
    ({"top_logprobs": 21}, "top_logprobs"),
    ({"include": ["everything"]}, "include.0"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
    (
        {"text": {"format": {"type": "json_schema", "name": "x", "schema": {"$ref": "#/$defs/no"}}}},
        "text.format",
    ),
    ({"reasoning": {"effort": "high"}}, "reasoning.effort"),
    ({"tools": [{"name": "a"}]}, "tools.0.type"),
    ({"tools": [{"type": "function"}]}, "tools.0.name"),
    ({"tools": [{"type": "mcp", "server_label": "x", "server_url": "file:///x"}]}, "tools.0"),
    ({"tools": [function("a"), function("a")]}, "tools.1"),
    ({"tools": [function("a")], "tool_choice": {"type": "function", "name": "zzz"}}, "tool_choice"),
    ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice"),
    ({"background_options": {"mode": "x"}}, "background_options"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"prompt": {"id": "x"}}, "prompt"),
    ({"metadata": {"a": "b" * 513}}, "metadata"),
    ({"model": None}, "model"),
]


@pytest.mark.parametrize(("body", "param"), WRONG, ids=[param for _, param in WRONG])
def test_a_wrong_field_is_refused_by_its_path(http: httpx.Client, body: dict[str, Any], param: str) -> None:
    error = refusal(http, **body)
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert "Error" not in error["message"] and "`" not in error["message"]


def test_an_unknown_model_and_a_prompt_that_does_not_fit_are_refused(http: httpx.Client) -> None:
    error = refusal(http, 404, model="no-such-model")
    assert (error["param"], error["code"]) == ("model", "model_not_found")
    error = refusal(http, input="word " * 9000)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input")
    cut = [{"role": "user", "content": "word " * 9000}, {"role": "assistant", "content": "Yes."}]
    assert whole(http, input=[*cut, {"role": "user", "content": "Hi."}], truncation="auto").output_text


def test_null_is_absent(http: httpx.Client) -> None:
    names = ("tools", "tool_choice", "text", "reasoning", "include", "previous_response_id", "store", "stream", "user")
    nulls: dict[str, Any] = dict.fromkeys((*names, "truncation", "metadata", "instructions", "seed", "stop"))
    assert whole(http, **nulls).output_text == whole(http).output_text


def test_additions_have_their_effect(http: httpx.Client) -> None:
    usual = whole(http).output_text
    assert whole(http, stop=usual[5:9]).output_text == usual[: usual.index(usual[5:9])]
    assert whole(http, temperature=1, seed=7).output_text == whole(http, temperature=1, seed=7).output_text
