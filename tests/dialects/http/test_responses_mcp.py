"""Tools of MCP servers in OpenAI's Responses API, on a fake engine that calls them: items, events and approvals."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response, ResponseItemList

from studiolo.dialects.openai.responses_mcp import McpServerTool
from studiolo.domain.chat import Tool
from studiolo.mcp.connections import McpTool
from tests.support.calling import allow, prompt, said, scripted
from tests.support.http_server import VALUES, ServerInThread
from tests.support.official_events import RESPONSE_EVENT


def server_tool(url: str, **fields: Any) -> dict[str, Any]:
    return {"type": "mcp", "server_label": "sums", "server_url": url, "require_approval": "never", **fields}


def create(server: ServerInThread, **body: Any) -> Response:
    answer = httpx.post(f"{server.url}/v1/responses", json={"model": "alpha", "input": "Go.", **body}, timeout=60)
    assert answer.status_code == 200, answer.text
    return Response.model_validate_json(answer.text, strict=True)


def refusal(server: ServerInThread, status: int = 400, **body: Any) -> Any:
    errors: list[Any] = []
    for stream in (False, True):
        given = {"model": "alpha", "input": "Go.", "stream": stream, **body}
        answer = httpx.post(f"{server.url}/v1/responses", json=given, timeout=60)
        assert answer.status_code == status, answer.text
        errors.append(answer.json()["error"])
    assert errors[0] == errors[1] and errors[0].keys() == {"message", "type", "param", "code"}
    return errors[0]


def streamed(server: ServerInThread, **body: Any) -> list[Any]:
    body = {"model": "alpha", "input": "Go.", "stream": True, **body}
    with httpx.stream("POST", f"{server.url}/v1/responses", json=body, timeout=60) as answer:
        assert answer.status_code == 200
        lines = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
    events = [json.loads(line) for line in lines]
    for line, event in zip(lines, events, strict=True):
        assert RESPONSE_EVENT.validate_json(line, strict=True).type == event["type"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def kinds(found: Response) -> list[str]:
    return [item.type for item in found.output]


def dumped(found: Response) -> list[Any]:
    """The output without its ids."""
    return [item.model_dump(exclude={"id"}) for item in found.output]


def test_a_tool_is_called_and_the_answer_follows_on_a_fake_engine(fake_server: ServerInThread, mcp_url: str) -> None:
    allow(fake_server, 'mcp_urls = "any"')
    scripted(["Let me see. ", *said("multiply", a=6, b=7)], ["It is 42."])
    tool = server_tool(mcp_url, authorization="hunter2", headers={"X-Test": "hunter2"}, allowed_tools=["multiply"])
    found = create(fake_server, tools=[tool])
    assert kinds(found) == ["mcp_list_tools", "message", "mcp_call", "message"]
    listed, _, call, message = found.output
    assert listed.type == "mcp_list_tools" and [each.name for each in listed.tools] == ["multiply"]
    assert call.type == "mcp_call" and (call.name, call.server_label, call.output) == ("multiply", "sums", "42")
    assert (json.loads(call.arguments), call.status, call.error) == ({"a": 6, "b": 7}, "completed", None)
    assert message.type == "message" and found.output_text.endswith("It is 42.") and found.status == "completed"
    assert found.usage and found.usage.output_tokens == 5
    assert "hunter2" not in found.model_dump_json() and found.tools[0].type == "mcp"

    scripted(["Again."])
    more = create(fake_server, tools=[tool], previous_response_id=found.id, input="And?")
    assert kinds(more) == ["message"] and "42" in prompt() and "It is 42." in prompt()
    items = httpx.get(f"{fake_server.url}/v1/responses/{more.id}/input_items")
    assert len(ResponseItemList.model_validate_json(items.text, strict=True).data) == 6
    scripted(["Again."])
    sent = [{"role": "user", "content": "Go."}, *(item.model_dump() for item in found.output)]
    create(fake_server, tools=[tool], input=[*sent, {"role": "user", "content": "And?"}])
    assert "42" in prompt()

    scripted(["Let me see. ", *said("multiply", a=6, b=7)], ["It is 42."])
    events = streamed(fake_server, tools=[tool])
    assert [event["type"].removeprefix("response.") for event in events if "delta" not in event["type"]] == [
        *("created", "in_progress"),
        *("output_item.added", "mcp_list_tools.in_progress", "mcp_list_tools.completed", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "mcp_call.in_progress", "mcp_call_arguments.done", "mcp_call.completed"),
        "output_item.done",
        *("output_item.added", "content_part.added", "output_text.done", "content_part.done", "output_item.done"),
        "completed",
    ]
    assert events[0]["response"]["output"] == []
    assert dumped(Response.model_validate(events[-1]["response"])) == dumped(found)
    indexes = [event["output_index"] for event in events if "output_index" in event]
    assert indexes == sorted(indexes) and set(indexes) == {0, 1, 2, 3}
    arguments = [event["delta"] for event in events if event["type"] == "response.mcp_call_arguments.delta"]
    assert json.loads("".join(arguments)) == {"a": 6, "b": 7}


def test_a_call_waits_for_its_approval_on_a_fake_engine(fake_server: ServerInThread, mcp_url: str) -> None:
    allow(fake_server, 'mcp_urls = "any"')
    for stored in (True, False):
        approve_and_deny(fake_server, mcp_url, stored=stored)


def approve_and_deny(fake_server: ServerInThread, mcp_url: str, *, stored: bool) -> None:
    tools = [server_tool(mcp_url, require_approval=None)]

    def answer(asked: Response, **approval: Any) -> dict[str, Any]:
        request = asked.output[-1]
        assert request.type == "mcp_approval_request" and json.loads(request.arguments) == {"a": 2, "b": 3}
        reply = {"type": "mcp_approval_response", "approval_request_id": request.id, **approval}
        if stored:
            return {"tools": tools, "previous_response_id": asked.id, "input": [reply]}
        earlier = [{"role": "user", "content": "Go."}, *(item.model_dump() for item in asked.output)]
        return {"tools": tools, "store": False, "input": [*earlier, reply]}

    scripted(said("multiply", a=2, b=3), ["It is 6."])
    asked = create(fake_server, tools=tools, store=stored)
    assert kinds(asked) == ["mcp_list_tools", "mcp_approval_request"] and asked.status == "completed"
    done = create(fake_server, **answer(asked, approve=True))
    assert kinds(done) == ["mcp_call", "message"] and done.output_text == "It is 6."
    call = done.output[0]
    assert call.type == "mcp_call" and (call.output, call.approval_request_id) == ("6", asked.output[-1].id)
    assert "6" in prompt()

    scripted(said("multiply", a=2, b=3), ["A pity."])
    asked = create(fake_server, tools=tools, store=stored)
    events = streamed(fake_server, **answer(asked, approve=False, reason="too dear"))
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["message"]
    assert "denied the call: too dear" in prompt()


def test_failed_calls_and_limits_of_calls_are_said_on_a_fake_engine(fake_server: ServerInThread, mcp_url: str) -> None:
    allow(fake_server, 'mcp_urls = "any"')
    scripted(said("broken"), ["It is broken."])
    call = create(fake_server, tools=[server_tool(mcp_url)]).output[1]
    assert call.type == "mcp_call" and (call.status, call.output) == ("failed", None)
    assert call.error and "it is broken" in call.error.model_dump_json() and "it is broken" in prompt()
    once = said("multiply", a=1, b=1)
    scripted([*once, *once], once)
    found = create(fake_server, tools=[server_tool(mcp_url)], max_tool_calls=1)
    assert [item.status for item in found.output if item.type == "mcp_call"] == ["completed", "failed"]
    scripted(once, ["x", "y", "z"])
    cut = create(fake_server, tools=[server_tool(mcp_url)], max_output_tokens=5)
    assert cut.status == "incomplete" and cut.usage and cut.usage.output_tokens == 5


def test_functions_of_the_client_are_left_to_it_on_a_fake_engine(fake_server: ServerInThread, mcp_url: str) -> None:
    allow(fake_server, 'mcp_urls = "any"')
    function = {"type": "function", "name": "greet", "parameters": {"type": "object", "properties": {}}}
    scripted([*said("multiply", a=2, b=2), *said("greet")])
    found = create(fake_server, tools=[function, server_tool(mcp_url)])
    assert kinds(found) == ["mcp_list_tools", "mcp_call", "function_call"]
    call = found.output[1]
    assert call.type == "mcp_call" and call.output == "4"
    assert "sums_greet" in prompt(), "the server's tool of the same name has another one"


@pytest.mark.usefixtures("patient")
def test_wrong_servers_and_choices_are_refused_on_a_fake_engine(fake_server: ServerInThread, mcp_url: str) -> None:
    error = refusal(fake_server, tools=[server_tool(mcp_url)])
    assert error["param"] == "tools.0" and "server.mcp_urls" in error["message"]
    allow(fake_server, 'mcp_urls = "any"')
    connector = {"type": "mcp", "server_label": "a", "connector_id": "connector_gmail"}
    assert refusal(fake_server, tools=[connector])["param"] == "tools.0.connector_id"
    assert refusal(fake_server, tools=[{"type": "mcp", "server_label": "a"}])["param"] == "tools.0.server_url"
    assert refusal(fake_server, tools=[server_tool(mcp_url)] * 2)["param"] == "tools.1"
    choice = {"type": "mcp", "server_label": "sums", "name": "add"}
    assert refusal(fake_server, tools=[server_tool(mcp_url)], tool_choice=choice)["param"] == "tool_choice"
    answer = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
    given = [{"role": "user", "content": "Go."}, answer]
    error = refusal(fake_server, tools=[server_tool(mcp_url)], input=given)
    assert error["param"] == "input.1.approval_request_id"
    made = {"type": "mcp_call", "server_label": "s", "name": "f", "arguments": "{}", "approval_request_id": {}}
    assert refusal(fake_server, input=[given[0], made])["param"] == "input.1.approval_request_id"
    assert refusal(fake_server, 502, tools=[server_tool("http://127.0.0.1:9/")])["code"] == "mcp_connection_error"


def test_the_official_client_and_the_count_of_tokens_on_a_fake_engine(
    fake_server: ServerInThread, mcp_url: str
) -> None:
    allow(fake_server, 'mcp_urls = "any"')
    scripted(said("multiply", a=6, b=7), ["It is 42."])
    tools: Any = [server_tool(mcp_url)]
    with openai.OpenAI(base_url=f"{fake_server.url}/v1", api_key="any", max_retries=0) as client:
        with client.responses.stream(model="alpha", input="Go.", tools=tools) as stream:
            found = stream.get_final_response()
        assert found.output_text == "It is 42." and kinds(found) == ["mcp_list_tools", "mcp_call", "message"]
        plain = client.responses.input_tokens.count(model="alpha", input="Go.").input_tokens
        assert client.responses.input_tokens.count(model="alpha", input="Go.", tools=tools).input_tokens > plain


def test_a_real_model_calls_a_tool(http: httpx.Client, mcp_url: str) -> None:
    body = {
        "model": VALUES,
        "input": "Greet Ann.",
        "tools": [server_tool(mcp_url, allowed_tools=["greet"])],
        "tool_choice": "required",
        "temperature": 0,
        "max_output_tokens": 40,
    }
    answer = http.post("/v1/responses", json=body)
    found = Response.model_validate_json(answer.text, strict=True)
    call = found.output[1]
    assert call.type == "mcp_call" and (call.name, call.status) == ("greet", "completed")
    assert call.output and f"Hello, {json.loads(call.arguments)['name']}!".upper() == call.output.upper()
    assert found.usage and found.usage.output_tokens <= 41 and kinds(found)[:2] == ["mcp_list_tools", "mcp_call"]


async def _never(**_: Any) -> Any:
    raise AssertionError


RULES: list[tuple[Any, bool, bool]] = [
    (None, True, True),
    ("always", True, True),
    ("never", False, False),
    ({"never": {"tool_names": ["read"]}}, False, True),
    ({"always": {"tool_names": ["write"]}}, False, True),
    ({"never": {"read_only": True}}, False, True),
    ({"always": {"tool_names": ["write"]}, "never": {"tool_names": ["read"]}}, False, True),
    ({}, True, True),
]


@pytest.mark.parametrize(("rule", "read", "write"), RULES)
def test_which_calls_need_approval(rule: Any, read: bool, write: bool) -> None:
    from studiolo.dialects.http.fields import converted

    server = converted(
        {"type": "mcp", "server_label": "s", "server_url": "http://x", "require_approval": rule}, McpServerTool
    )
    for name, expected in (("read", read), ("write", write)):
        tool = McpTool(
            server="s",
            name=name,
            definition=Tool(name),
            call=_never,
            is_remote=True,
            annotations={"readOnlyHint": name == "read"},
        )
        assert server.needs_approval(tool) is expected
