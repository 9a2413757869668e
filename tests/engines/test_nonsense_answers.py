"""A scripted llama-server that answers nonsense: each call raises an error of studiolo's, and the next call works."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from studiolo.domain.chat import Message, Text
from studiolo.domain.decisions import Question
from studiolo.engines.base import DecisionRequest, ToolChatRequest
from studiolo.engines.chat_templates.control_tokens import ControlTokens
from studiolo.engines.llama_cpp import client as engine_client
from studiolo.engines.llama_cpp.client import LlamaServerClient
from studiolo.engines.llama_cpp.endpoint import Endpoint
from studiolo.errors import EngineError, HostError, PredictionError, PromptTooLongError, UnsupportedError
from tests.support.engine_calls import request

VECTORS = {"data": [{"embedding": [1.0, 2.0], "index": 0}], "usage": {"prompt_tokens": 3}}


@dataclass
class Script:
    """What the server answers, by path."""

    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict[str, tuple[int, bytes]])
    cut: bool = False

    def set(self, path: str, body: object, status: int = 200) -> None:
        self.answers[path] = status, body if isinstance(body, bytes) else json.dumps(body).encode()


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def client(script: Script, tmp_path: Path) -> AsyncIterator[LlamaServerClient]:
    async def answer(request: web.Request) -> web.StreamResponse:
        status, body = script.answers[request.path]
        if not script.cut:
            headers = {"Location": "/elsewhere"} if status == 302 else None
            return web.Response(status=status, body=body, headers=headers)
        response = web.StreamResponse(headers={"Content-Length": str(len(body) + 100)})
        await response.prepare(request)
        await response.write(body)
        assert request.transport is not None
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


Call = Callable[[LlamaServerClient], Awaitable[object]]


async def drain(events: Any) -> list[object]:
    return [event async for event in events]


CHAT = ToolChatRequest(messages=[Message("user", [Text("Hi")])], tools=[], config=request("").config)
DECISION = DecisionRequest(messages=[], questions=[Question(text="Which?", choices=["a", "b"])])
CALLS: dict[str, Call] = {
    "/tokenize": lambda client: client.tokenize("text"),
    "/detokenize": lambda client: client.detokenize([1]),
    "/props": lambda client: client.facts(),
    "/slots": lambda client: client.drafts(),
    "/v1/embeddings": lambda client: client.embed(["text"]),
    "/v1/systemone": lambda client: client.decide(DECISION),
    "/v1/models": lambda client: client.check_bias(request("Hi", logit_bias=[(1, 1.0)]).config),
    "/apply-template": lambda client: client.rendered(CHAT, ControlTokens([])),
    "/completion": lambda client: drain(client.complete(request("Hi"))),
    "/v1/chat/completions": lambda client: drain(client.chat_with_tools(CHAT, ControlTokens([]))),
}

NONSENSE: dict[str, tuple[int, bytes]] = {
    "the page of a proxy": (200, b"<html>busy</html>"),
    "nothing": (200, b""),
    "half of an object": (200, b'{"tokens": [1, '),
    "other JSON": (200, b'["a", 1, null]'),
    "no UTF-8": (200, b'{"content": "\xff", "tokens": "\xff", "bos_token": "\xff", "data": "\xff"}'),
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


async def test_an_event_without_end_is_not_kept_in_memory(
    client: LlamaServerClient, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_client, "MAX_EVENT_BYTES", 1 << 10)
    script.set("/completion", b"data: " + b"x" * (1 << 14))
    with pytest.raises(PredictionError, match="longer"):
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
