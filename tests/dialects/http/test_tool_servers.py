"""Tools of MCP servers that the server calls itself, by LM Studio's REST API: on a fake engine that calls them."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import sys
from collections.abc import AsyncGenerator
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import pytest
import studiolo_fake_engine as fake

from studiolo import outbound
from studiolo.dialects.http import tool_servers
from studiolo.dialects.http.gathered import Event
from studiolo.domain.chat import ChatRequest, Message, Text, ToolCall
from studiolo.domain.generation import PredictionResult, ToolCallFinished, ToolCallNamed, Usage
from studiolo.host.host import MAX_TOOL_REQUESTS
from studiolo.mcp import connections
from studiolo.mcp.checked_http import checked_client
from studiolo.mcp.config import ServerConfig
from studiolo.mcp.connections import Connections
from tests.support.calling import allow, prompt, said, scripted
from tests.support.command_line import MCP_SERVER
from tests.support.http_server import ServerInThread
from tests.support.running import free_port, wait_until

pytestmark = pytest.mark.slow


def remote(url: str, **fields: Any) -> dict[str, Any]:
    return {"type": "ephemeral_mcp", "server_label": "sums", "server_url": url, **fields}


def chat(server: ServerInThread, status: int = 200, **body: Any) -> Any:
    answer = httpx.post(f"{server.url}/api/v1/chat", json={"model": "alpha", "input": "Go.", **body}, timeout=60)
    assert answer.status_code == status, answer.text
    return answer.json()


def events(server: ServerInThread, **body: Any) -> list[Any]:
    body = {"model": "alpha", "input": "Go.", "stream": True, **body}
    with httpx.stream("POST", f"{server.url}/api/v1/chat", json=body, timeout=60) as answer:
        assert answer.status_code == 200
        return [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]


SUMS = {"type": "ephemeral_mcp", "server_label": "sums"}
CALLED = {
    "type": "tool_call",
    "tool": "multiply",
    "arguments": {"a": 6, "b": 7},
    "output": '[{"type":"text","text":"42"}]',
    "provider_info": SUMS,
}


def test_a_tool_of_a_server_is_called_and_the_model_answers_on_a_fake_engine(
    fake_server: ServerInThread, mcp_url: str
) -> None:
    allow(fake_server, 'mcp_urls = "any"')
    scripted(["Let me see. ", *said("multiply", a=6, b=7)], ["It is 42."])
    found = chat(fake_server, integrations=[remote(mcp_url, headers={"X-Test": "1"})])
    message = {"type": "message", "content": "It is 42."}
    assert [each["type"] for each in found["output"]] == ["message", "tool_call", "message"]
    assert found["output"][1:] == [CALLED, message]
    assert "multiply" in prompt(request=0) and "42" in prompt() and "greet" in prompt()
    stats = found["stats"]
    assert stats["total_output_tokens"] == 5
    scripted(["Again."])
    chat(fake_server, input="And?", previous_response_id=found["response_id"], store=False)
    assert "42" in prompt() and "It is 42." in prompt()

    scripted(["Let me see. ", *said("multiply", a=6, b=7)], ["It is 42."])
    stream = events(fake_server, integrations=[remote(mcp_url)])
    kinds = [kind for kind, _ in itertools.groupby(each["type"] for each in stream)]
    processing = ["prompt_processing.start", "prompt_processing.progress", "prompt_processing.end"]
    text = ["message.start", "message.delta", "message.end"]
    calls = ["tool_call.start", "tool_call.arguments", "tool_call.success"]
    assert kinds == ["chat.start", *processing, *text, *calls, *processing, *text, "chat.end"]
    call = {key: value for key, value in CALLED.items() if key != "type"}
    start, arguments, success = (each for each in stream if each["type"].startswith("tool_call."))
    assert start == {"type": "tool_call.start", "tool": "multiply", "provider_info": SUMS}
    assert arguments == {"type": "tool_call.arguments", **{k: v for k, v in call.items() if k != "output"}}
    assert success == {"type": "tool_call.success", **call}
    assert stream[-1]["result"]["output"] == found["output"]


def test_only_allowed_tools_are_offered_on_a_fake_engine(fake_server: ServerInThread, mcp_url: str) -> None:
    allow(fake_server, 'mcp_urls = "any"')
    scripted(["Nothing."])
    chat(fake_server, integrations=[remote(mcp_url, allowed_tools=["greet"])])
    assert "greet" in prompt() and "multiply" not in prompt()
    error = chat(fake_server, 400, integrations=[remote(mcp_url, allowed_tools=["add"])])["error"]
    assert error["param"] == "integrations.0.allowed_tools" and "'add'" in error["message"]


def test_a_tool_that_fails_says_so_to_the_model_on_a_fake_engine(fake_server: ServerInThread, mcp_url: str) -> None:
    allow(fake_server, 'mcp_urls = "any"')
    scripted(said("broken"), ["It is broken."])
    found = chat(fake_server, integrations=[remote(mcp_url)])
    assert "Error: " in found["output"][0]["output"] and "it is broken" in found["output"][0]["output"]
    assert "it is broken" in prompt()


def test_servers_of_mcp_json_are_called_on_a_fake_engine(fake_server: ServerInThread) -> None:
    entry = {"command": sys.executable, "args": [MCP_SERVER], "env": {"SECRET": "x"}}
    path = fake_server.host.home.root / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"own": entry, "gone": {"command": "/no/such/program"}}}))
    refused = chat(fake_server, 400, integrations=["mcp/own"])["error"]
    assert refused["param"] == "integrations.0" and "server.mcp_json" in refused["message"]
    allow(fake_server, "mcp_json = true")
    scripted(said("greet", name="Ann"), ["Done."])
    found = chat(fake_server, integrations=[{"type": "plugin", "id": "mcp/own", "allowed_tools": ["greet"]}])
    assert found["output"][0]["provider_info"] == {"type": "plugin", "plugin_id": "mcp/own"}
    assert "Hello, Ann!" in found["output"][0]["output"]
    unknown = chat(fake_server, 400, integrations=["mcp/other"])["error"]
    assert unknown["param"] == "integrations.0" and "own" not in unknown["message"]
    gone = chat(fake_server, 502, integrations=["mcp/gone"])["error"]
    assert gone["type"] == "mcp_connection_error" and "/no/such/program" not in gone["message"]


WRONG: list[tuple[list[Any], str]] = [
    ([{"type": "ephemeral_mcp", "server_url": "http://a.example"}], "integrations.0.server_label"),
    ([{"type": "ephemeral_mcp", "server_label": "a"}], "integrations.0.server_url"),
    ([remote("file:///etc/passwd")], "integrations.0"),
    ([remote("http://a:b@c.example/")], "integrations.0"),
    ([remote("http://a.example"), remote("http://b.example")], "integrations.1"),
    ([{"type": "plugin", "id": "own"}], "integrations.0"),
    (["own"], "integrations.0"),
    ([{"type": "plugin", "id": "mcp/own", "server_url": "http://a.example"}], "integrations.0.server_url"),
    ([{"type": "magic"}], "integrations.0.type"),
    ([3], "integrations.0"),
    ([remote("http://a.example", nonsense=1)], "integrations.0.nonsense"),
]


@pytest.mark.usefixtures("patient")
def test_wrong_and_forbidden_servers_are_refused_by_their_path_on_a_fake_engine(
    fake_server: ServerInThread, mcp_url: str
) -> None:
    fake.models["alpha"] = fake.FakeModel()
    error = chat(fake_server, 400, integrations=[remote(mcp_url)])["error"]
    assert error["param"] == "integrations.0" and "server.mcp_urls" in error["message"]
    allow(fake_server, 'mcp_urls = "public"')
    for integrations, place in WRONG:
        assert chat(fake_server, 400, integrations=integrations)["error"]["param"] == place, integrations
    for stream in (False, True):
        private = chat(fake_server, 502, integrations=[remote(mcp_url)], stream=stream)["error"]
        assert private["type"] == "mcp_connection_error" and "public internet" in private["message"]
    assert fake.engines == []


@pytest.mark.usefixtures("patient")
def test_a_server_that_does_not_answer_is_an_error_before_a_stream_on_a_fake_engine(
    fake_server: ServerInThread,
) -> None:
    allow(fake_server, 'mcp_urls = "any"')
    url = f"http://127.0.0.1:{free_port()}/mcp"
    error = chat(fake_server, 502, integrations=[remote(url)], stream=True)["error"]
    assert error["type"] == "mcp_connection_error" and "sums" in error["message"]


def test_rounds_results_and_times_have_limits_on_a_fake_engine(
    fake_server: ServerInThread, mcp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(fake_server, 'mcp_urls = "any"')
    monkeypatch.setattr(tool_servers, "MAX_ROUNDS", 3)
    monkeypatch.setattr(tool_servers, "MAX_RESULT_CHARS", 10)
    call = said("greet", name="x" * 50)
    scripted(call, call, call, call)
    found = chat(fake_server, integrations=[remote(mcp_url)])
    assert [each["type"] for each in found["output"]].count("tool_call") == 2
    assert len(fake.engines[-1].requests) == 3 and "cut off" in prompt() and "x" * 20 not in prompt().split("cut")[-1]
    monkeypatch.setattr(tool_servers, "CALL_LIMIT_SEC", 0.0)
    scripted(said("greet", name="Ann"), ["Done."])
    found = chat(fake_server, integrations=[remote(mcp_url)])
    assert "did not end within" in found["output"][0]["output"]


REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/api/v1/chat", {"input": "Go.", "integrations": [{"type": "ephemeral_mcp", "server_label": "sums"}]}),
    (
        "/v1/responses",
        {"input": "Go.", "tools": [{"type": "mcp", "server_label": "sums", "require_approval": "never"}]},
    ),
    (
        "/v1/messages",
        {
            "max_tokens": 50,
            "messages": [{"role": "user", "content": "Go."}],
            "mcp_servers": [{"type": "url", "name": "sums"}],
        },
    ),
]


def test_a_client_that_leaves_ends_the_call_of_a_tool_in_every_dialect_on_a_fake_engine(
    fake_server: ServerInThread, mcp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(fake_server, 'mcp_urls = "any"')
    calls: list[str] = []

    async def endless(self: Any, client: Any, tool: str, arguments: Any) -> Any:
        calls.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            calls.append("ended")

    monkeypatch.setattr(connections._Connection, "_call", endless)
    places = fake_server.host.tool_requests
    for path, body in REQUESTS:
        (entry,) = body.get("integrations") or body.get("tools") or body["mcp_servers"]
        entry["url" if path == "/v1/messages" else "server_url"] = mcp_url
        for stream in (False, True):
            scripted(said("multiply", a=1, b=2))
            calls.clear()
            address = urlsplit(fake_server.url)
            data = json.dumps({"model": "alpha", "stream": stream, **body}).encode()
            with socket.create_connection((address.hostname, address.port)) as connection:
                head = f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(data)}\r\n\r\n"
                connection.sendall(head.encode() + data)
                wait_until(lambda: calls == ["begun"], f"the call ({path})")
            wait_until(lambda: calls == ["begun", "ended"], f"the end of the call ({path})")
            wait_until(lambda: places._value == MAX_TOOL_REQUESTS, f"the end of the request ({path})")


def test_requests_with_servers_have_a_limit_on_a_fake_engine(fake_server: ServerInThread, mcp_url: str) -> None:
    allow(fake_server, 'mcp_urls = "any"')
    settings = fake_server.host.home.settings
    settings.write_text(settings.read_text().replace("[server]", "[server]\nmax_tools = 2"))
    error = chat(fake_server, 400, integrations=[remote(mcp_url)])["error"]
    assert error["param"] == "integrations.0" and "5 tools are more than 2" in error["message"]
    fake_server.host.tool_requests = asyncio.Semaphore(0)
    assert "Too many requests" in chat(fake_server, 503, integrations=[remote(mcp_url)])["error"]["message"]


async def test_without_tokens_left_no_further_answer_begins_by_a_stub_of_the_model() -> None:
    left: list[int | None] = []

    async def predict(_: ChatRequest, max_tokens: int | None) -> AsyncGenerator[Event, None]:
        left.append(max_tokens)
        yield ToolCallNamed("add")
        yield ToolCallFinished(ToolCall("add", {}))
        yield PredictionResult(stop_reason="tool_calls", usage=Usage(9, 0, 3))

    class Tool:
        name = "add"

        async def call(self) -> str:
            return "1"

    for limit, seen in ((3, [3]), (4, [4, 1])):
        left.clear()
        chat = ChatRequest(messages=[Message("user", [Text("Go.")])])
        rounds = tool_servers.Rounds(chat, {"add": cast("Any", Tool())}, predict, max_tokens=limit)
        steps = [step async for step in rounds.steps()]
        assert sum(isinstance(step, tool_servers.Answered) for step in steps) == len(seen)
        assert left == seen and rounds.total().end.stop_reason == "max_tokens"


def test_tools_of_a_request_and_of_its_servers_count_together_on_a_fake_engine(
    fake_server: ServerInThread, mcp_url: str
) -> None:
    allow(fake_server, 'mcp_urls = "any"', "max_tools = 5")
    own = {"type": "function", "name": "own", "parameters": {"type": "object", "properties": {}}}
    server = {"type": "mcp", "server_label": "sums", "server_url": mcp_url, "require_approval": "never"}
    body = {"model": "alpha", "input": "Go.", "tools": [server]}
    scripted(["Done."])
    assert httpx.post(f"{fake_server.url}/v1/responses", json=body).status_code == 200
    answer = httpx.post(f"{fake_server.url}/v1/responses", json={**body, "tools": [own, server]})
    assert answer.status_code == 400 and "6 tools are more than 5" in answer.text


async def test_each_request_to_a_server_goes_to_an_address_that_was_checked(
    mcp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ["127.0.0.1", "127.0.0.2"]

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

    monkeypatch.setattr(outbound, "is_public", lambda address: address == "127.0.0.1")
    async with checked_client({}, "public") as client:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
        url = mcp_url.replace("127.0.0.1", "tools.example")
        answer = await client.post(url, json={})
        assert answer.status_code >= 400 and str(answer.request.url) == url, (
            "the server has refused the name or the body"
        )
        with pytest.raises(outbound.ForbiddenAddressError):
            await client.post(url, json={})
    assert answers == []


async def test_variables_of_the_environment_are_not_sent_to_servers_of_requests(
    mcp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2-hunter2")
    written = ServerConfig(url=mcp_url, headers={"X-Test": "${MY_SECRET}"})
    expanded: list[str] = []
    monkeypatch.setattr(ServerConfig, "expanded", lambda self, name: expanded.append(name) or self)
    for group, count in ((Connections("any"), 0), (Connections(), 1)):
        await group.begin({"sums": written})
        await group.end(1)
        assert len(expanded) == count
