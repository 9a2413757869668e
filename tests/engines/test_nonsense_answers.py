"""A scripted llama-server that answers nonsense: each call raises an error of studiolo's, and the next call works."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from studiolo.engines.llama_cpp import client as engine_client
from studiolo.engines.llama_cpp import responses
from studiolo.engines.llama_cpp.client import LlamaServerClient
from studiolo.engines.llama_cpp.endpoint import Endpoint
from studiolo.errors import EngineError, HostError, PredictionError, PromptTooLongError, UnsupportedError
from tests.support.engine_calls import CALLS, DECISION

VECTORS = {"data": [{"embedding": [1.0, 2.0], "index": 0}], "usage": {"prompt_tokens": 3}}


@dataclass
class Script:
    """What the server answers, by path.

    Parameters:
        cut: the connection breaks before the end.
        endless: the body comes again and again.
        stalls: the end does not come.
    """

    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict[str, tuple[int, bytes]])
    cut: bool = False
    endless: bool = False
    stalls: bool = False

    def set(self, path: str, body: object, status: int = 200) -> None:
        self.answers[path] = status, body if isinstance(body, bytes) else json.dumps(body).encode()


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def client(script: Script, tmp_path: Path) -> AsyncIterator[LlamaServerClient]:
    async def answer(request: web.Request) -> web.StreamResponse:
        status, body = script.answers[request.path]
        if not (script.cut or script.endless or script.stalls):
            headers = {"Location": "/elsewhere"} if status == 302 else None
            return web.Response(status=status, body=body, headers=headers)
        headers = {} if script.endless else {"Content-Length": str(len(body) + 100)}
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        await response.write(body)
        assert request.transport is not None
        while not script.cut and not request.transport.is_closing():
            await (response.write(body) if script.endless else asyncio.sleep(0.01))
        request.transport.close()
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    path = tmp_path / "s.sock"
    await web.UnixSite(runner, str(path)).start()
    client = LlamaServerClient(Endpoint(socket_path=path))
    yield client
    await client.close()
    await runner.cleanup()


NONSENSE: dict[str, tuple[int, bytes]] = {
    "the page of a proxy": (200, b"<html>busy</html>"),
    "nothing": (200, b""),
    "half of an object": (200, b'{"tokens": [1, '),
    "other JSON": (200, b'["a", 1, null]'),
    "no UTF-8": (200, b'{"content": "\xff", "tokens": "\xff", "bos_token": "\xff", "data": "\xff"}'),
    "JSON that is nested too deeply": (200, b'{"a":' * 100_000),
    "a wrong status": (500, b"<html>oops</html>"),
    "a status without a body": (503, b""),
    "a redirect": (302, b""),
    "an error as text": (400, b'{"error": "no"}'),
}


@pytest.mark.parametrize("nonsense", NONSENSE)
@pytest.mark.parametrize("path", CALLS)
async def test_each_call_raises_an_error_that_says_what_was_answered(
    client: LlamaServerClient, script: Script, path: str, nonsense: str
) -> None:
    status, body = NONSENSE[nonsense]
    script.set(path, body, status)
    with pytest.raises(PredictionError) as caught:
        await CALLS[path](client)
    said = str(caught.value)
    if status != 200:
        assert str(status) in said or "no" in said
    elif path not in ("/completion", "/v1/chat/completions"):
        assert path in said
    if b"busy" in body and path not in ("/completion", "/v1/chat/completions"):
        assert "busy" in said


@pytest.mark.parametrize("path", CALLS)
async def test_a_body_that_is_cut_off_is_a_broken_connection(
    client: LlamaServerClient, script: Script, path: str
) -> None:
    script.set(path, b'{"tokens": [')
    script.cut = True
    with pytest.raises((ConnectionError, HostError)):
        await CALLS[path](client)


async def test_a_server_that_is_not_well_says_its_status(client: LlamaServerClient, script: Script) -> None:
    script.set("/health", b"<html>busy</html>", 502)
    with pytest.raises(EngineError, match="502"):
        await client.health()


STREAMS = {
    "an event that is no JSON": b"data: {oops}\n\n",
    "an event of another shape": b'data: {"content": 5}\n\n',
    "an end in the middle of an event": b'data: {"content": "a", "tokens_predicted": 1}\n\ndata: {"cont',
    "an end without a reason": b'data: {"content": "a", "tokens_predicted": 1}\n\n',
    "an error of another shape": b'data: {"error": "bad"}\n\n',
    "an event that is nested too deeply": b"data: " + b'{"a":' * 100_000 + b"\n\n",
    "a page": b"<html>busy</html>\n\n",
    "a number of tokens that nobody can count": b'data: {"tokens_predicted": ' + b"9" * 400 + b"}\n\n",
    "bytes that are none": b'data: {"completion_probabilities": [{"id": 1, "token": "", "logprob": 0, "bytes": [256]}]}'
    b"\n\n",
}


@pytest.mark.parametrize("stream", STREAMS)
async def test_a_stream_of_nonsense_is_a_prediction_error(
    client: LlamaServerClient, script: Script, stream: str
) -> None:
    script.set("/completion", STREAMS[stream])
    script.set("/v1/chat/completions", STREAMS[stream].replace(b'{"content": 5}', b'{"choices": 5}'))
    for path in ("/completion", "/v1/chat/completions"):
        with pytest.raises(PredictionError):
            await CALLS[path](client)


async def test_an_error_as_older_servers_report_it_is_read(client: LlamaServerClient, script: Script) -> None:
    script.set("/completion", b'error: {"message": "out of memory"}\n\n')
    with pytest.raises(PredictionError) as caught:
        await CALLS["/completion"](client)
    assert caught.value.cause == "out of memory"


async def test_an_event_without_end_is_not_kept_in_memory(
    client: LlamaServerClient, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_EVENT_BYTES", 1 << 10)
    script.set("/completion", b"data: " + b"x" * (1 << 14))
    with pytest.raises(PredictionError, match="longer"):
        await CALLS["/completion"](client)


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("path", CALLS)
async def test_an_answer_without_end_is_not_kept_in_memory(
    client: LlamaServerClient, script: Script, path: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_ANSWER_BYTES", 1 << 20)
    monkeypatch.setattr(responses, "MAX_EVENT_BYTES", 1 << 20)
    script.set(path, b"data: " + b"x" * (1 << 20), status)
    script.endless = True
    with pytest.raises(PredictionError, match="longer than 1 MiB"):
        await CALLS[path](client)


async def test_an_answer_that_stalls_is_a_broken_connection(
    client: LlamaServerClient, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.stalls = True
    script.set("/slots", b"[")
    with pytest.raises(ConnectionError, match=r"/slots was not answered within 0\.1 s"):
        await client._request("GET", "/slots", limit_sec=0.1)
    monkeypatch.setattr(engine_client, "CALL_LIMIT_SEC", 0.1)
    script.set("/completion", b"{", 500)
    with pytest.raises(ConnectionError, match=r"/completion was not answered within 0\.1 s"):
        await CALLS["/completion"](client)


def vector(numbers: str, index: int = 0) -> str:
    return f'{{"embedding": {numbers}, "index": {index}}}'


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ("[NaN, 1.0]", "NaN"),
        ("[null, 1.0]", "NaN"),
        ("[1.0, Infinity]", "NaN"),
        ("[1.0, 1e999]", "NaN|cannot be read"),
        ("[]", "another length"),
        ("[1.0]", "another length"),
        ('["a", 1.0]', "cannot be read"),
        ("{}", "cannot be read"),
    ],
)
async def test_a_vector_is_checked_and_its_text_named(
    client: LlamaServerClient, script: Script, numbers: str, said: str
) -> None:
    script.set("/tokenize", {"tokens": [1, 2]})
    script.set("/v1/embeddings", f'{{"data": [{vector(numbers, 1)}, {vector("[1.0, 2.0]", 0)}]}}'.encode())
    with pytest.raises(PredictionError, match=said) as caught:
        await client.embed(["first", "second"])
    assert "cannot be read" in str(caught.value) or "text 2 of 2" in caught.value.title

    script.set("/v1/embeddings", VECTORS)
    answer = await client.embed(["text"])
    assert answer.vectors == [[1.0, 2.0]] and answer.token_counts == [3], "the next call works"


@pytest.mark.parametrize("indices", [[], [0], [0, 0], [0, 2], [0, 1, 2]])
async def test_each_text_has_one_vector(client: LlamaServerClient, script: Script, indices: list[int]) -> None:
    script.set("/tokenize", {"tokens": [1]})
    script.set("/v1/embeddings", {"data": [{"embedding": [1.0], "index": index} for index in indices]})
    with pytest.raises(PredictionError, match="cannot be read"):
        await client.embed(["a", "b"])


async def test_vectors_have_the_length_of_those_before(client: LlamaServerClient, script: Script) -> None:
    script.set("/v1/embeddings", VECTORS)
    await client.embed(["text"])
    script.set("/v1/embeddings", {"data": [{"embedding": [1.0, 2.0, 3.0]}]})
    with pytest.raises(PredictionError, match="another length") as caught:
        await client.embed(["text"])
    assert caught.value.cause == "It has 3 numbers, and the model's vectors have 2."


async def test_a_text_that_is_too_long_is_named_by_its_position(client: LlamaServerClient, script: Script) -> None:
    script.set("/tokenize", {"tokens": list(range(40))})
    message = "input (40 tokens) is too large to process. increase the physical batch size (current batch size: 32)"
    script.set("/v1/embeddings", {"error": {"message": message, "type": "server_error"}}, 500)
    with pytest.raises(PromptTooLongError, match="Text 1 of 2 has 40 tokens"):
        await client.embed(["a", "b"])
    with pytest.raises(PromptTooLongError, match="The prompt has 40 tokens"):
        await client.embed(["a"])


@pytest.mark.parametrize(
    "answer", [{}, {"probabilities": {"a": 1.0}}, {"noul": 0.5}, {"probabilities": {"a": 0.5, "b": None}}], ids=str
)
async def test_a_decision_without_a_probability_of_each_choice_is_refused(
    client: LlamaServerClient, script: Script, answer: dict[str, object]
) -> None:
    script.set("/v1/systemone", {"answers": {"0": answer}})
    with pytest.raises(PredictionError, match="/v1/systemone"):
        await client.decide(DECISION)


@pytest.mark.parametrize("status", [404, 501])
async def test_a_server_without_decisions_is_named(client: LlamaServerClient, script: Script, status: int) -> None:
    script.set("/v1/systemone", {"error": {"message": "This server does not support it"}}, status)
    with pytest.raises(UnsupportedError, match="does not decide"):
        await client.decide(DECISION)
