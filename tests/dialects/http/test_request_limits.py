"""The limits of requests over HTTP in each dialect, on the fake engine."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import studiolo_fake_engine as fake
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from studiolo.dialects.http.answers import AnswerApp, Client, Streamed
from studiolo.dialects.http.fields import MAX_DEPTH
from studiolo.dialects.lmstudio import connection
from studiolo.settings import ServerSettings
from tests.support.http_server import ServerInThread
from tests.support.running import wait_until

HELLO = [{"role": "user", "content": "hi"}]

ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HELLO},
    "/v1/responses": {"input": "hi", "store": False},
    "/v1/messages": {"messages": HELLO, "max_tokens": 5},
    "/api/chat": {"messages": HELLO},
    "/api/v1/chat": {"input": "hi", "store": False},
}

FUNCTION = {"name": "f#", "parameters": {"type": "object"}}
TOOLS: dict[str, Any] = {
    "/v1/chat/completions": {"type": "function", "function": FUNCTION},
    "/v1/responses": {"type": "function", **FUNCTION},
    "/v1/messages": {"name": "f#", "input_schema": {"type": "object"}},
    "/api/chat": {"type": "function", "function": FUNCTION},
}


def set_limits(server: ServerInThread, text: str) -> None:
    with server.host.home.settings.open("a") as settings:
        settings.write(f"[server]\n{text}\n")


def ask(server: ServerInThread, path: str, **more: Any) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json={"model": "alpha", **ASKED[path], **more}, timeout=30)


def error_type(answer: httpx.Response) -> Any:
    error = answer.json()["error"]
    return error if isinstance(error, str) else error["type"]


def test_requests_beyond_those_at_once_are_refused_on_a_fake_engine(fake_server: ServerInThread) -> None:
    set_limits(fake_server, "max_requests = 1")
    fake.models["alpha"] = fake.FakeModel(endless=True, token=fake.Step(0.01))
    body = {"model": "alpha", "messages": HELLO, "stream": True}
    with httpx.stream("POST", f"{fake_server.url}/v1/chat/completions", json=body, timeout=30) as answer:
        lines = answer.iter_lines()  # a reader that is dropped closes the connection
        next(lines)
        refused = {path: ask(fake_server, path) for path in ASKED}
        assert httpx.get(f"{fake_server.url}/v1/models").status_code == 200
    assert {path: each.status_code for path, each in refused.items()} == {
        **dict.fromkeys(ASKED, 503),
        "/v1/messages": 529,
    }
    assert all(int(each.headers["retry-after"]) > 0 for each in refused.values())
    assert refused["/v1/chat/completions"].json()["error"]["code"] == "server_overloaded"
    assert error_type(refused["/v1/messages"]) == "overloaded_error"
    fake.models["alpha"] = fake.FakeModel()
    wait_until(lambda: ask(fake_server, "/v1/chat/completions", max_tokens=1).status_code == 200, "the request's end")


def test_too_many_tools_are_refused_on_a_fake_engine(fake_server: ServerInThread) -> None:
    set_limits(fake_server, "max_tools = 2")
    for path, tool in TOOLS.items():
        tools = [json.loads(json.dumps(tool).replace("f#", f"f{number}")) for number in range(3)]
        answer = ask(fake_server, path, tools=tools, stream=True)
        assert answer.status_code == 400 and "3 tools are more than 2" in answer.text
        space = {"type": "namespace", "name": "n", "description": "", "tools": tools}
        if path == "/v1/responses":
            assert "3 tools are more than 2" in ask(fake_server, path, tools=[space]).text


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 0


def test_a_body_that_is_nested_too_deeply_is_refused_on_a_fake_engine(fake_server: ServerInThread) -> None:
    for path in ASKED:
        deep = ask(fake_server, path, odd=nested(MAX_DEPTH))  # in the body itself
        assert deep.status_code == 400 and f"more than {MAX_DEPTH} levels" in deep.text
        assert "levels" not in ask(fake_server, path, odd=nested(MAX_DEPTH - 1), stream=False).text


def test_a_request_takes_no_longer_than_its_limit_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(endless=True, token=fake.Step(0.01))
    ask(fake_server, "/v1/chat/completions", max_tokens=1)  # which loads it
    set_limits(fake_server, "request_limit_sec = 0.3")
    for path in ASKED:
        long = {"max_tokens": 100_000} if path == "/v1/messages" else {}
        whole = ask(fake_server, path, stream=False, **long)
        assert whole.status_code == 504 and "longer than 0.3 s" in whole.text
        streamed = ask(fake_server, path, stream=True, **long)
        assert streamed.status_code in (200, 504)  # by whether it has begun by then
        assert "longer than 0.3 s" in streamed.text and "[DONE]" not in streamed.text
    wait_until(lambda: fake_server.host.requests_under_way() == 0, "the slot")


def test_a_client_that_stops_sending_is_not_waited_for_on_a_fake_engine(fake_server: ServerInThread) -> None:
    set_limits(fake_server, "idle_limit_sec = 0.2")
    address = urlsplit(fake_server.url)
    for path in ASKED:
        head = f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 50\r\n\r\n"
        with socket.create_connection((address.hostname, address.port or 0), timeout=10) as connection:
            connection.sendall(f'{head}{{"'.encode())
            assert connection.recv(65536).startswith(b"HTTP/1.1 408")


def test_a_socket_without_a_handshake_is_closed_on_a_fake_engine(
    fake_server: ServerInThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HANDSHAKE_LIMIT_SEC", 0.1)
    with connect(f"{fake_server.url.replace('http', 'ws')}/llm", proxy=None) as socket:
        refusal = json.loads(socket.recv(timeout=30))
        assert refusal["success"] is False and "No authentication within" in refusal["error"]
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=30)


async def test_a_client_that_stops_reading_ends_its_stream_by_scripted_frames() -> None:
    ended = asyncio.Event()
    never = asyncio.Event()

    async def frames() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x"
        finally:
            ended.set()

    async def receive() -> Any:
        await never.wait()

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) > 3:
            await never.wait()

    limits = ServerSettings(idle_limit_sec=0.1)
    client, stream = Client(receive), Streamed(frames(), "text/plain", lambda _: b"")
    await stream.begin(client)
    app = AnswerApp(stream, {}, client, limits, asyncio.get_running_loop().time() + 60)
    scope: Any = {}
    async with asyncio.timeout(10):
        await app(scope, receive, send)
    assert ended.is_set() and all(message.get("more_body", True) for message in sent)
