"""Responses where engines fail, load slowly or reason, and where clients leave, on the fake engine."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import studiolo_fake_engine as fake
from openai.types.responses import CompactedResponse, Response

from studiolo.paths import Home
from studiolo.server.token_file import ApiTokenFile, add_api_token
from tests.support.fake_host import SETTINGS as FAKE_ENGINE
from tests.support.fake_models import add_model
from tests.support.http_server import ServerInThread, serving_in_thread
from tests.support.official_events import RESPONSE_EVENT
from tests.support.running import wait_until

pytestmark = pytest.mark.slow

THOUGHT = ("<think>", "I ", "wonder", "</think>", "\n", "Forty", "-two.")


def stream(server: ServerInThread, **body: Any) -> list[dict[str, Any]]:
    """The events of a stream, checked."""
    settings = {"model": "alpha", "input": "hi", "stream": True, **body}
    with httpx.stream("POST", f"{server.url}/v1/responses", json=settings, timeout=30) as answer:
        assert answer.status_code == 200, answer.read()
        texts = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    events = [json.loads(text) for text in texts]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [RESPONSE_EVENT.validate_json(text, strict=True).type for text in texts] == [
        event["type"] for event in events
    ]
    return events


def whole(server: ServerInThread, headers: dict[str, str] | None = None, **body: Any) -> Response:
    settings = {"model": "alpha", "input": "hi", **body}
    answer = httpx.post(f"{server.url}/v1/responses", json=settings, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return Response.model_validate_json(answer.text, strict=True)


def test_an_engine_that_dies_ends_a_stream_with_what_there_is_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(dies_after=2)
    events = stream(fake_server)
    failed = events[-1]["response"]
    assert (events[-1]["type"], failed["status"], failed["error"]["code"]) == (
        "response.failed",
        "failed",
        "server_error",
    )
    assert failed["error"]["message"] and failed["output"][0]["content"][0]["text"].startswith("One two ")
    assert not any(event["type"] in ("response.completed", "response.output_item.done") for event in events)
    assert httpx.get(f"{fake_server.url}/v1/responses/{failed['id']}").status_code == 404


def test_the_official_client_gets_a_refusal_after_a_slow_load_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(load=fake.Step(1.5))
    with (
        openai.OpenAI(base_url=f"{fake_server.url}/v1", api_key="any", max_retries=0) as client,
        client.responses.stream(model="alpha", input="word " * 5000) as events,
    ):
        found = list(events)
    assert [event.type for event in found] == ["response.created", "response.in_progress", "response.failed"]
    last = found[-1]
    assert last.type == "response.failed" and last.response.error and last.response.error.code == "invalid_prompt"


def test_an_engine_that_dies_before_it_answers_is_an_error_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(dies_after=0)
    answer = httpx.post(f"{fake_server.url}/v1/responses", json={"model": "alpha", "input": "hi"}, timeout=30)
    assert answer.status_code >= 500
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_leaves_ends_its_response_on_a_fake_engine(fake_server: ServerInThread, streamed: bool) -> None:
    fake.models["alpha"] = fake.FakeModel(endless=True, token=fake.Step(0.01))
    body = {"model": "alpha", "input": "hi", "stream": streamed}
    with (
        contextlib.suppress(httpx.ReadTimeout),
        httpx.Client(timeout=0.3) as client,
        client.stream("POST", f"{fake_server.url}/v1/responses", json=body) as answer,
    ):
        data = answer.iter_raw()
        assert next(data) and streamed and fake_server.host.requests_under_way() == 1
    wait_until(lambda: fake_server.host.requests_under_way() == 0, "the slot")


def test_reasoning_is_an_item_of_its_own_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(tokens=THOUGHT)
    events = stream(fake_server, include=["reasoning.encrypted_content"])
    kinds = list(dict.fromkeys(event["type"] for event in events))
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.completed",
    ]
    assert {event["output_index"] for event in events if "output_index" in event} == {0, 1}
    response = Response.model_validate(events[-1]["response"], strict=True)
    thought, message = response.output
    assert thought.type == "reasoning" and thought.content and thought.content[0].text == "I wonder"
    assert thought.summary == [] and thought.encrypted_content and message.type == "message"
    assert response.output_text.strip() == "Forty-two."
    assert response.usage and response.usage.output_tokens_details.reasoning_tokens == 4
    plain = whole(fake_server)
    assert plain.output[0].type == "reasoning" and plain.output[0].encrypted_content is None
    assert plain.output_text == response.output_text
    first = {"role": "user", "content": "hi"}
    back = json.loads(thought.model_dump_json(exclude_none=True))
    sealed = {key: value for key, value in back.items() if key != "content"}
    counts = [
        httpx.post(
            f"{fake_server.url}/v1/responses/input_tokens", json={"model": "alpha", "input": [first, item, first]}
        ).json()["input_tokens"]
        for item in (back, sealed)
    ]
    assert counts[0] == counts[1]


def test_an_answer_that_is_cut_within_its_reasoning_has_no_message_on_a_fake_engine(
    fake_server: ServerInThread,
) -> None:
    fake.models["alpha"] = fake.FakeModel(tokens=THOUGHT)
    cut = whole(fake_server, max_output_tokens=2)
    assert (cut.status, [item.type for item in cut.output]) == ("incomplete", ["reasoning"])
    assert cut.output[0].status == "incomplete"  # type: ignore[union-attr]


def test_an_answer_without_text_is_an_empty_message_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(tokens=())
    for response in (whole(fake_server), Response.model_validate(stream(fake_server)[-1]["response"], strict=True)):
        assert (response.status, response.output_text, len(response.output)) == ("completed", "", 1)


def test_what_is_not_offered_is_named_in_the_header_on_a_fake_engine(fake_server: ServerInThread) -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}
    tools = [{"type": "web_search"}, {"type": "custom", "name": "x", "format": grammar}]
    body = {"model": "alpha", "input": "hi", "tools": tools, "tool_choice": "none"}
    answer = httpx.post(f"{fake_server.url}/v1/responses", json=body)
    assert answer.headers["studiolo-ignored-fields"] == "tools.0, tools.1.format"
    assert [tool["type"] for tool in answer.json()["tools"]] == ["custom"]


@pytest.fixture
def guarded(empty_home: Home, tmp_path: Path) -> Iterator[tuple[ServerInThread, list[dict[str, str]]]]:
    """A server that wants an API token, and the headers of two of them."""
    add_model(empty_home, "alpha")
    empty_home.settings.write_text(FAKE_ENGINE)
    tokens = [str(add_api_token(tmp_path / "tokens")) for _ in range(2)]
    fake.reset()
    with serving_in_thread(ApiTokenFile(tmp_path / "tokens")) as server:
        yield server, [{"authorization": f"Bearer {token}"} for token in tokens]
    fake.reset()


def test_a_response_belongs_to_its_api_token(guarded: tuple[ServerInThread, list[dict[str, str]]]) -> None:
    server, (mine, other) = guarded
    response = whole(server, mine)
    path = f"{server.url}/v1/responses/{response.id}"
    assert httpx.get(path, headers=mine).status_code == 200
    for answer in (
        httpx.get(path, headers=other),
        httpx.delete(path, headers=other),
        httpx.get(f"{path}/input_items", headers=other),
    ):
        assert answer.status_code == 404
    item = {"type": "item_reference", "id": response.output[0].id}
    for body in ({"input": "hi", "previous_response_id": response.id}, {"input": [item]}):
        answer = httpx.post(f"{server.url}/v1/responses", json={"model": "alpha", **body}, headers=other)
        assert answer.status_code == 400
        assert httpx.post(f"{server.url}/v1/responses", json={"model": "alpha", **body}, headers=mine).is_success


def test_a_response_outlives_its_server_on_a_fake_engine(empty_home: Home) -> None:
    add_model(empty_home, "alpha")
    empty_home.settings.write_text(FAKE_ENGINE)
    fake.reset()
    with serving_in_thread() as server:
        first = whole(server)
    with serving_in_thread() as server:
        assert httpx.get(f"{server.url}/v1/responses/{first.id}").json()["id"] == first.id
        assert whole(server, previous_response_id=first.id).previous_response_id == first.id
    fake.reset()


def begin(server: ServerInThread, **body: Any) -> tuple[Response, str]:
    """A response in the background, and its address."""
    response = whole(server, background=True, **body)
    assert (response.status, response.background, response.output) == ("queued", True, [])
    return response, f"{server.url}/v1/responses/{response.id}"


def read(path: str) -> Response:
    return Response.model_validate_json(httpx.get(path).text, strict=True)


def test_a_response_in_the_background_is_retrieved_when_it_is_made_on_a_fake_engine(
    fake_server: ServerInThread,
) -> None:
    said = threading.Event()
    fake.models["alpha"] = fake.FakeModel(token=fake.Step(gate=said))
    begun, path = begin(fake_server)
    wait_until(lambda: read(path).status == "in_progress", "the beginning")
    body = {"model": "alpha", "input": "more", "previous_response_id": begun.id}
    answer = httpx.post(f"{fake_server.url}/v1/responses", json=body)
    assert answer.json()["error"]["param"] == "previous_response_id"
    said.set()
    wait_until(lambda: read(path).status == "completed", "the end")
    done = read(path)
    assert done.output_text == "One two three." and done.usage and done.background
    assert httpx.post(f"{path}/cancel").json()["status"] == "completed"
    assert whole(fake_server, previous_response_id=done.id).status == "completed"


def test_a_response_in_the_background_is_cancelled_with_what_there_is_on_a_fake_engine(
    fake_server: ServerInThread,
) -> None:
    fake.models["alpha"] = fake.FakeModel(endless=True, token=fake.Step(0.01))
    _, path = begin(fake_server)
    wait_until(lambda: bool(read(path).output), "some text")
    cancelled = Response.model_validate_json(httpx.post(f"{path}/cancel").text, strict=True)
    assert cancelled.status == "cancelled" and cancelled.output_text.startswith("One")
    wait_until(lambda: fake_server.host.requests_under_way() == 0, "the slot")
    assert read(path) == cancelled
    _, other = begin(fake_server)
    assert httpx.delete(other).json()["deleted"] and httpx.get(other).status_code == 404
    wait_until(lambda: fake_server.host.requests_under_way() == 0, "the slot")


def test_the_stream_of_a_response_in_the_background_is_read_again_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(token=fake.Step(0.1))
    with openai.OpenAI(base_url=f"{fake_server.url}/v1", api_key="any", max_retries=0) as client:
        first: list[Any] = []
        with client.responses.create(model="alpha", input="hi", background=True, stream=True) as events:
            for event in events:
                first.append(event)
                if event.type == "response.output_text.delta":
                    break  # the client leaves, and the response is made all the same
        response_id = first[0].response.id
        rest = list(client.responses.retrieve(response_id, stream=True, starting_after=first[-1].sequence_number))
        wait_until(lambda: client.responses.retrieve(response_id).status == "completed", "the end")
        again = list(client.responses.retrieve(response_id, stream=True))
        plain = client.responses.create(model="alpha", input="hi")
    assert [*first, *rest] == again
    assert [event.sequence_number for event in again] == list(range(len(again)))
    assert again[-1].type == "response.completed" and again[-1].response.output_text == "One two three."
    address = f"{fake_server.url}/v1/responses"
    for path in (f"{plain.id}?stream=true", f"{response_id}?stream=true&starting_after=x"):
        assert httpx.get(f"{address}/{path}").status_code == 400
    body = {"model": "alpha", "input": "word " * 9000, "background": True, "stream": True}
    with httpx.stream("POST", address, json=body) as answer:
        types = [line.removeprefix("event: ") for line in answer.iter_lines() if line.startswith("event: ")]
    assert types == ["response.created", "response.in_progress", "response.failed"]


def test_a_response_in_the_background_can_fail_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(load_fails=True)
    _, path = begin(fake_server)
    wait_until(lambda: read(path).status == "failed", "the failure")
    error = read(path).error
    assert error and error.code == "server_error" and error.message
    body = {"model": "alpha", "input": "hi", "background": True, "store": False}
    assert httpx.post(f"{fake_server.url}/v1/responses", json=body).json()["error"]["param"] == "background"
    unknown = {"model": "none", "input": "hi", "background": True}
    assert httpx.post(f"{fake_server.url}/v1/responses", json=unknown).status_code == 404


def test_a_response_in_the_background_has_failed_when_its_server_ends_on_a_fake_engine(empty_home: Home) -> None:
    add_model(empty_home, "alpha")
    empty_home.settings.write_text(FAKE_ENGINE)
    fake.reset()
    fake.models["alpha"] = fake.FakeModel(endless=True, token=fake.Step(0.01))
    with serving_in_thread() as server:
        begun, _ = begin(server)
    with serving_in_thread() as server:
        found = read(f"{server.url}/v1/responses/{begun.id}")
        assert found.status == "failed" and found.error and found.error.code == "server_error"
    fake.reset()


def test_a_long_input_is_compacted_to_one_item_on_a_fake_engine(fake_server: ServerInThread) -> None:
    def refused(body: dict[str, Any], path: str = "/v1/responses") -> Any:
        answer = httpx.post(f"{fake_server.url}{path}", json={"model": "alpha", **body})
        assert answer.status_code in (400, 404), answer.text
        return answer.json()["error"]["param"]

    first = whole(fake_server, input="word " * 200)
    body = {"model": "alpha", "input": "more", "previous_response_id": first.id}
    answer = httpx.post(f"{fake_server.url}/v1/responses/compact", json=body)
    compacted = CompactedResponse.model_validate_json(answer.text, strict=True)
    assert compacted.usage.input_tokens > 200
    (item,) = compacted.output
    assert item.type == "compaction"
    sent_back = item.model_dump(exclude_none=True)
    last = whole(fake_server, input=[sent_back, {"role": "user", "content": "And?"}])
    assert last.usage and last.usage.input_tokens < 100
    assert httpx.get(f"{fake_server.url}/v1/responses/{last.id}/input_items").json()["data"][-1] == sent_back
    foreign = {**sent_back, "encrypted_content": "gAAAA"}
    assert refused({"input": [foreign]}) == "input.0.encrypted_content"
    assert refused({}, "/v1/responses/compact") == "input"
    assert refused({"input": "x", "model": "none"}, "/v1/responses/compact") == "model"


def test_what_an_agent_sends_each_turn_is_answered_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(tokens=THOUGHT)
    parameters = {"type": "object", "properties": {"command": {"type": "array", "items": {"type": "string"}}}}
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}
    body: dict[str, Any] = {
        "instructions": "You are an agent.",
        "tools": [
            {"type": "function", "name": "shell", "description": "Run.", "strict": False, "parameters": parameters},
            {"type": "custom", "name": "apply_patch", "description": "Edit.", "format": grammar},
            {"type": "web_search", "external_web_access": False},
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"summary": "auto"},
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "a",
        "text": {"verbosity": "medium"},
        "client_metadata": {"a": "b"},
    }
    history: list[dict[str, Any]] = []
    for text in ("first", "second", "third"):
        part = {"type": "input_text", "text": text}
        history.append({"type": "message", "role": "user", "content": [part]})
        events = stream(fake_server, **body, input=history)
        assert events[-1]["type"] == "response.completed"
        for event in events:
            if event["type"] == "response.output_item.done":
                history.append({key: value for key, value in event["item"].items() if key not in ("id", "status")})
        call_id = f"call_{text}"
        history.append({"type": "function_call", "name": "shell", "arguments": '{"command": []}', "call_id": call_id})
        history.append({"type": "function_call_output", "call_id": call_id, "output": "done"})
    assert [item["type"] for item in history[:5]] == [
        "message",
        "reasoning",
        "message",
        "function_call",
        "function_call_output",
    ]
