"""What holds for every route with a model, in the form of its dialect: one table of routes, on the fake engine."""

from __future__ import annotations

import codecs
import gzip
import json
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import studiolo_fake_engine as fake
from anthropic.types import ErrorResponse

from studiolo.dialects import dialects
from studiolo.dialects.http import answers, generation
from tests.support.http_server import ServerInThread
from tests.support.running import wait_until

pytestmark = pytest.mark.slow

HI: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}

GENERATING: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": HI,
    "/v1/completions": {"prompt": "hi"},
    "/v1/responses": {"input": "hi", "store": False},
    "/v1/messages": {**HI, "max_tokens": 1000},
    "/api/chat": HI,
    "/api/generate": {"prompt": "hi"},
    "/api/v1/chat": {"input": "hi", "store": False},
    "/api/v0/chat/completions": HI,
    "/api/v0/completions": {"prompt": "hi"},
}
"""The routes that generate text, each of which can stream, and what they are asked."""

OTHERS: dict[str, dict[str, Any]] = {
    "/v1/responses/input_tokens": {"input": "hi"},
    "/v1/responses/compact": {"input": "hi"},
    "/v1/decisions": {"prompt": "hi", "choices": ["a", "b"]},
    "/v1/embeddings": {"input": "hi"},
    "/v1/rerank": {"query": "hi", "documents": ["a"]},
    "/v1/score": {"text_1": "hi", "text_2": "a"},
    "/v1/messages/count_tokens": HI,
    "/api/embed": {"input": "hi"},
    "/api/embeddings": {"prompt": "hi"},
    "/api/show": {},
    "/api/v1/models/load": {},
    "/api/v0/embeddings": {"input": "hi"},
}


def is_ollamas(path: str) -> bool:
    return path.startswith("/api/") and not path.startswith(("/api/v0", "/api/v1"))


def message_of(path: str, answer: httpx.Response) -> str:
    """The message of an error, which must have the form of the route's dialect."""
    assert answer.headers["content-type"] == "application/json", answer.text
    error = answer.json()["error"]
    if is_ollamas(path):
        assert list(answer.json()) == ["error"]
        return error
    if path.startswith("/v1/messages"):
        ErrorResponse.model_validate_json(answer.text, strict=True)
    elif path.startswith("/v1"):
        assert error.keys() == {"message", "type", "param", "code"}
    else:
        assert {"type", "message"} <= error.keys() <= {"type", "message", "code", "param"}
    return error["message"]


def ask(server: ServerInThread, path: str, **more: Any) -> httpx.Response:
    body = {"model": "alpha", **GENERATING.get(path, {}), **OTHERS.get(path, {}), **more}
    return httpx.post(f"{server.url}{path}", json=body, timeout=30)


def test_every_route_with_a_model_is_in_the_table() -> None:
    with_model = {
        endpoint.path
        for dialect in dialects().values()
        for endpoint in dialect.endpoints
        if "model" in endpoint.fields and endpoint.fields["model"].standing == "honoured" and not endpoint.form
    }
    changes = {f"/api/{name}" for name in ("pull", "delete", "create")} | {"/api/v1/models/download"}
    assert with_model == {*GENERATING, *OTHERS, *changes}


def test_an_unknown_model_is_an_error_while_another_is_loaded_on_a_fake_engine(fake_server: ServerInThread) -> None:
    for path in GENERATING:
        assert ask(fake_server, path).status_code == 200
    (engine,) = fake.engines
    before = len(engine.requests)
    for path in (*GENERATING, *OTHERS):
        for stream in [False, True] if path in GENERATING else [None]:
            unknown = ask(fake_server, path, stream=stream, model="no-such-model")
            assert unknown.status_code == 404 and "no-such-model" in message_of(path, unknown), path
            for missing in (None, ""):
                answer = ask(fake_server, path, stream=stream, model=missing)
                assert answer.status_code == 400 and "model" in message_of(path, answer), path
    assert len(engine.requests) == before and fake.engines == [engine]


def test_a_body_that_is_no_object_is_refused_in_the_form_of_the_dialect(fake_server: ServerInThread) -> None:
    for path in (*GENERATING, *OTHERS):
        for body in (b"[]", b"{", b"", b"\xff"):
            answer = httpx.post(f"{fake_server.url}{path}", content=body)
            assert answer.status_code == 400 and message_of(path, answer).startswith("The body"), path


def test_compressed_bodies_are_refused_as_such_and_a_byte_order_mark_is_no_part_of_them(
    fake_server: ServerInThread,
) -> None:
    for path, fields in GENERATING.items():
        url, body = f"{fake_server.url}{path}", json.dumps({"model": "alpha", **fields}).encode()
        answer = httpx.post(url, content=gzip.compress(body), headers={"content-encoding": "gzip"})
        assert answer.status_code == 400 and "compressed" in message_of(path, answer)
        for headers in ({}, {"content-encoding": "identity"}):
            assert httpx.post(url, content=codecs.BOM_UTF8 + body, headers=headers, timeout=30).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_request_on_a_fake_engine(fake_server: ServerInThread, stream: bool) -> None:
    fake.models["alpha"] = fake.FakeModel(token=fake.Step(60))  # it reads the prompt for so long
    for path, body in GENERATING.items():
        leave_in_the_middle(fake_server, path, {"model": "alpha", **body, "stream": stream})


def test_a_client_that_leaves_ends_its_embedding_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["vectors"] = fake.FakeModel(embed=fake.Step(60))
    for path in ("/v1/embeddings", "/api/embed", "/api/embeddings", "/api/v0/embeddings"):
        leave_in_the_middle(fake_server, path, {"model": "vectors", **OTHERS[path]})


def leave_in_the_middle(server: ServerInThread, path: str, body: dict[str, Any]) -> None:
    """Send a request, and close the connection when the engine works on it: its slot must be free then."""
    address, data = urlsplit(server.url), json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head.encode() + data)
        wait_until(lambda: bool(fake.engines) and fake.engines[-1].in_slots == 1, f"the engine ({path})")
    wait_until(lambda: fake.engines[-1].in_slots == server.host.requests_under_way() == 0, f"the slot ({path})")


def test_a_stream_is_alive_while_its_model_loads_and_while_its_prompt_is_read_on_a_fake_engine(
    fake_server: ServerInThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "KEEP_ALIVE_SEC", 0.02)
    monkeypatch.setattr(generation, "UNLOADED_PATIENCE_SEC", 0.05)
    for path in GENERATING:
        loaded, said = threading.Event(), threading.Event()
        fake.models["alpha"] = fake.FakeModel(load=fake.Step(gate=loaded))
        found = [signs_of_life(path, streamed(fake_server, path, loaded))]
        fake.models["alpha"] = fake.FakeModel(tokens=["One"], token=fake.Step(gate=said))
        fake.engines[-1].script = fake.models["alpha"]
        found.append(signs_of_life(path, streamed(fake_server, path, said)))
        assert all(count == 0 if is_ollamas(path) else count > 2 for count in found), (path, found)
        httpx.post(f"{fake_server.url}/api/v1/models/unload", json={"instance_id": "alpha"})


def streamed(server: ServerInThread, path: str, gate: threading.Event) -> str:
    """Return a stream that waits for ``gate``: until it has three signs of life, or for a moment where it has none."""
    if is_ollamas(path):
        threading.Timer(0.15, gate.set).start()
    body, text = {"model": "alpha", **GENERATING[path], "stream": True}, ""
    with httpx.stream("POST", f"{server.url}{path}", json=body, timeout=60) as answer:
        for piece in answer.iter_text():
            text += piece
            if text.count(": keep-alive") + text.count("event: ping") > 2:
                gate.set()
    return text


def signs_of_life(path: str, text: str) -> int:
    """The number of signs of life in a stream that has ended well. Nothing in it may break its form."""
    assert '"error":{' not in text
    if is_ollamas(path):
        assert [json.loads(line) for line in text.removesuffix("\n").split("\n")][-1]["done"] is True
        return 0
    assert text.endswith("\n\n")
    signs = [event for event in text.split("\n\n") if event.startswith((": ", "event: ping\n"))]
    assert set(signs) <= ({'event: ping\ndata: {"type":"ping"}'} if path == "/v1/messages" else {": keep-alive"})
    return len(signs)


def test_an_engine_that_dies_ends_a_stream_with_an_error_and_no_end_on_a_fake_engine(
    fake_server: ServerInThread,
) -> None:
    with fake_server.host.home.settings.open("a") as settings:
        for model in ("alpha", "beta"):
            settings.write(f'\n[models."{model}".prediction]\non_engine_failure = "error"\n')
    fake.models["alpha"] = fake.models["beta"] = fake.FakeModel(dies_after=2)
    for path, model in (
        ("/v1/completions", "alpha"),
        ("/api/v0/completions", "alpha"),
        ("/api/v0/chat/completions", "beta"),
    ):
        answer = ask(fake_server, path, stream=True, model=model)
        texts = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
        *frames, last = [json.loads(text) for text in texts if text.startswith("{")]
        assert last["error"].keys() == {"message", "type", "param", "code"} and "[DONE]" not in texts
        assert len(frames) > 1 and all(frame["choices"][0]["finish_reason"] is None for frame in frames)
    events = ask(fake_server, "/api/v1/chat", stream=True, model="beta").text.splitlines()
    *_, error, end = [json.loads(line.removeprefix("data: ")) for line in events if line.startswith("data: ")]
    assert error["type"] == "error" and {"type", "message"} <= error["error"].keys()
    assert end["type"] == "chat.end" and "response_id" not in end["result"]
    assert [item["content"][:8] for item in end["result"]["output"]] == ["One two "]


def test_fields_that_nobody_knows_are_refused_where_the_setting_says_so(fake_server: ServerInThread) -> None:
    for path in (*GENERATING, *OTHERS):
        answer = ask(fake_server, path, wibble=1, model="vectors" if path in OTHERS else "alpha")
        lenient = path.startswith("/api/v1") or answer.headers.get("studiolo-ignored-fields") == "wibble"
        assert lenient or not answer.is_success, path  # a refusal for another reason names no fields
    with fake_server.host.home.settings.open("a") as settings:
        settings.write("[server]\nstrict_fields = true\n")
    for path in (*GENERATING, *OTHERS):
        answer = ask(fake_server, path, wibble=1)
        assert answer.status_code == 400 and message_of(path, answer).startswith("wibble: unknown field"), path


def test_a_full_queue_is_said_in_the_form_of_the_dialect_on_a_fake_engine(fake_server: ServerInThread) -> None:
    with fake_server.host.home.settings.open("a") as settings:
        settings.write("\n[limits]\nqueue_length = 0\n")
    fake.models["alpha"] = fake.FakeModel(endless=True, token=fake.Step(0.01))
    body = {"model": "alpha", "stream": True, **HI}
    with httpx.Client(base_url=fake_server.url, timeout=30) as client:
        streams = [client.send(client.build_request("POST", "/api/chat", json=body), stream=True) for _ in range(4)]
        for path in GENERATING:
            for stream in (False, True):
                answer = ask(fake_server, path, stream=stream)
                of_openai = path.startswith("/v1")
                assert answer.status_code == (429 if of_openai else 503), path
                assert int(answer.headers["retry-after"]) > 0 and message_of(path, answer)
                if of_openai:
                    assert answer.json()["error"]["type"] == "rate_limit_error"
        for each in streams:
            each.close()
    wait_until(lambda: fake_server.host.requests_under_way() == 0, "the slots")


def test_unknown_paths_and_methods_of_lm_studios_rest_have_its_form(fake_server: ServerInThread) -> None:
    for method, path, status in (("GET", "/api/v1/nothing", 404), ("GET", "/api/v1/chat", 405)):
        answer = httpx.request(method, f"{fake_server.url}{path}")
        assert answer.status_code == status and message_of(path, answer)
        assert ("POST" in answer.headers.get("allow", "")) is (status == 405)
