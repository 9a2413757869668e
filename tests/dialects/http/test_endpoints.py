"""Endpoints of the HTTP dialects: what each does with clients that leave, fail or wait, on the fake engine."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import pytest
import studiolo_fake_engine as fake

from studiolo.dialects.http import answers
from tests.support.http_server import ServerInThread
from tests.support.running import wait_until

pytestmark = pytest.mark.slow

CHAT = {"model": "alpha", "messages": [{"role": "user", "content": "hi"}]}


def send_and_leave(server: ServerInThread, path: str, body: dict[str, object], condition: Callable[[], object]) -> None:
    """Send a request, and close the connection without reading the answer once ``condition`` is true."""
    address = urlsplit(server.url)
    data = json.dumps(body).encode()
    with socket.create_connection((address.hostname, address.port)) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(data)}\r\n\r\n"
        connection.sendall(head.encode() + data)
        wait_until(condition, "the request to be worked on")


def running(server: ServerInThread) -> int:
    return server.host.requests_under_way()


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slot_on_a_fake_engine(fake_server: ServerInThread, stream: bool) -> None:
    fake.models["alpha"] = fake.FakeModel(endless=True, token=fake.Step(0.01))
    send_and_leave(fake_server, "/v1/chat/completions", {**CHAT, "stream": stream}, lambda: running(fake_server))
    wait_until(lambda: running(fake_server) == 0, "the slot")


def test_a_client_that_leaves_during_a_load_gives_it_up_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(load=fake.Step(600))
    send_and_leave(fake_server, "/v1/chat/completions", {**CHAT, "stream": False}, fake.running)
    wait_until(lambda: running(fake_server) == 0 and not fake.running(), "the end of the load")


def test_the_time_limit_of_a_model_ends_an_answer_with_its_text_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(endless=True, token=fake.Step(0.01))
    with fake_server.host.home.settings.open("a") as settings:
        settings.write('[models."alpha".prediction]\ntimeout_sec = 1.5\n')
    for _ in range(5):  # a busy machine may have no text by then
        answer = httpx.post(f"{fake_server.url}/v1/chat/completions", json=CHAT, timeout=30).json()
        if answer["choices"][0]["message"]["content"].startswith("One two three."):
            break
    assert answer["choices"][0]["message"]["content"].startswith("One two three.")
    assert (answer["choices"][0]["finish_reason"], answer["stats"]["stop_reason"]) == ("length", "timeLimitReached")
    wait_until(lambda: running(fake_server) == 0, "the slot")


def test_an_engine_that_dies_ends_a_stream_with_an_error_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(dies_after=2)
    body = {**CHAT, "stream": True, "max_tokens": 10}
    with httpx.stream("POST", f"{fake_server.url}/v1/chat/completions", json=body, timeout=30) as answer:
        assert answer.status_code == 200
        frames = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    error = json.loads(frames[-1])["error"]
    assert error.keys() == {"message", "type", "param", "code"} and error["type"] == "server_error"
    choices = [json.loads(frame)["choices"][0] for frame in frames[:-1]]
    assert len(choices) >= 2 and all(choice["finish_reason"] is None for choice in choices)
    assert "[DONE]" not in frames


def test_a_stream_begins_and_stays_alive_while_its_model_loads_on_a_fake_engine(
    fake_server: ServerInThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "KEEP_ALIVE_SEC", 0.2)
    loaded = threading.Event()
    fake.models["alpha"] = fake.FakeModel(load=fake.Step(gate=loaded))
    body = {**CHAT, "stream": True}
    with httpx.stream("POST", f"{fake_server.url}/v1/chat/completions", json=body, timeout=60) as answer:
        assert answer.status_code == 200
        lines = answer.iter_lines()
        first = [next(lines) for _ in range(4)]  # each sign of life is a comment and an empty line
        loaded.set()
        rest = list(lines)
    assert all(line.startswith(": ") for line in first[::2]) and not any(first[1::2])
    assert rest[-2] == "data: [DONE]"


def test_a_refusal_after_a_slow_load_is_an_error_in_the_stream_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(load=fake.Step(1.5))
    body = {**CHAT, "stream": True, "messages": [{"role": "user", "content": "word " * 5000}]}
    with httpx.stream("POST", f"{fake_server.url}/v1/chat/completions", json=body, timeout=30) as answer:
        frames = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    assert json.loads(frames[-1])["error"]["code"] == "context_length_exceeded"
