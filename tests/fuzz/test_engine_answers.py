"""Random answers of a made-up llama-server: each call ends with a value or an error of ours, and no text is doubled.

The damage that a stream has is known, and so is the text that comes before it: exactly that must reach the client.
"""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
import studiolo_fake_engine as fake
from hypothesis import given
from hypothesis import strategies as st

from studiolo.dialects.lmstudio import dispatch  # noqa: F401  registers the endpoints
from studiolo.dialects.lmstudio.connection import Connection
from studiolo.dialects.lmstudio.context import Context
from studiolo.domain.generation import Fragment
from studiolo.engines.base import Completed
from studiolo.engines.chat_templates.control_tokens import ControlTokens
from studiolo.engines.llama_cpp import answers, chat_stream, client, responses, system_one
from studiolo.engines.llama_cpp.client import LlamaServerClient
from studiolo.engines.spec import EngineSpec, LoadProgress
from studiolo.errors import StudioloError
from studiolo.host.host import Host
from studiolo.paths import Home
from studiolo.protocol.kv import KvConfig
from studiolo.protocol.llm import raw_completion
from studiolo.protocol.models import specify
from tests.support.engine_calls import CALLS, CHAT, request
from tests.support.fake_host import SETTINGS
from tests.support.fake_models import add_model
from tests.support.logged_errors import logged_errors
from tests.support.made_up_llama_server import MadeUpLlamaServer, made_up_engine
from tests.support.recording import wire_recorder
from tests.support.spoilt_json import texts_of
from tests.support.typed_values import almost, any_json, values_of

pytestmark = pytest.mark.fuzz

T = TypeVar("T")

LIMIT_SEC = 30.0
"""A call that takes longer is a fault: the server answers at once, and closes the connection."""

STREAMS = {"/completion": client._Event, "/v1/chat/completions": chat_stream.ChatChunk}
WHOLE = {
    "/tokenize": answers.Tokens,
    "/detokenize": answers.Content,
    "/props": answers.Props,
    "/slots": list[answers.Slot],
    "/v1/embeddings": answers.EmbeddingList,
    "/v1/rerank": answers._Ranking,
    "/v1/systemone": system_one._Answers,
    "/v1/models": answers.Models,
    "/apply-template": answers.Rendered,
}
ASKED: dict[str, Callable[[LlamaServerClient], Awaitable[object]]] = {
    **CALLS,
    "/v1/rerank": lambda client: client.rerank("question", ["text"]),
}

FAULT = st.fixed_dictionaries({"error": almost(values_of(answers.Fault))}).map(lambda value: json.dumps(value).encode())


def bodies_of(path: str) -> st.SearchStrategy[bytes]:
    if path in WHOLE:
        return texts_of(WHOLE[path]) | FAULT
    blocks = texts_of(STREAMS[path]) | FAULT | any_json.map(lambda value: json.dumps(value).encode())
    begins = st.sampled_from([b"data: "] * 6 + [b"data:", b"error: ", b": ", b"event: x\ndata: ", b""])
    ends = st.sampled_from([b"\n\n"] * 6 + [b"\r\n\r\n", b"\n", b"", b"\n\n\n"])
    framed = st.tuples(begins, blocks, ends).map(b"".join)
    return st.lists(framed, max_size=5).map(b"".join)


HEADS = [
    *[b"HTTP/1.1 200 OK"] * 8,
    *(b"HTTP/1.1 %d X" % status for status in (100, 101, 204, 206, 301, 302, 400, 404, 413, 500, 501, 503, 999, 0)),
    *(
        b"HTTP/1.0 200 OK",
        b"HTTP/9.9 200 OK",
        b"HTTP/1.1",
        b"200 OK",
        b"<html>",
        b"\xff\xfe",
        b"HTTP/1.1 " + b"2" * 9000,
    ),
]
FIELDS = [
    *[b""] * 4,
    *(b"Content-Type: text/html; charset=utf-16\r\n", b"Content-Encoding: gzip\r\n", b"Content-Encoding: br\r\n"),
    *(
        b"Location: /elsewhere\r\n",
        b"X: " + b"x" * 100_000 + b"\r\n",
        b"Content-Length: -5\r\n",
        b": x\r\n",
        b"no colon\r\n",
    ),
    *(b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\nContent-Length: 7\r\n", b"Set-Cookie: \xff\r\n"),
]


@st.composite
def answers_to(draw: st.DrawFn, path: str) -> list[bytes]:
    """The pieces of an HTTP answer: its head, how its body is delimited, and its body may each be wrong."""
    body = draw(bodies_of(path))
    head = draw(st.sampled_from(HEADS)) + b"\r\n" + draw(st.sampled_from(FIELDS))
    length = len(body) + draw(st.sampled_from([0, 0, 0, -1, 1, 50, 10**12]))
    match draw(st.sampled_from(["length", "close", "chunked", "damaged chunks"])):
        case "length":
            head += b"Content-Length: %d\r\n" % length
        case "chunked":
            head += b"Transfer-Encoding: chunked\r\n"
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        case "damaged chunks":
            head += b"Transfer-Encoding: chunked\r\n"
            body = b"%x\r\n%b" % (max(length, 0), body) + draw(
                st.sampled_from([b"", b"\r\n", b"\r\nzz\r\n", b"\r\n-1\r\n"])
            )
        case _:
            pass
    return draw(pieces_of(head + b"\r\n" + body))


@st.composite
def pieces_of(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    """Any pieces that come one after the other."""
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    return [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


class MadeUp:
    """A made-up server, a host that uses it, and the event loop of both."""

    def __init__(self, folder: Path) -> None:
        self.runner = asyncio.Runner()
        self.unhandled: list[dict[str, Any]] = []
        self.runner.get_loop().set_exception_handler(lambda _, context: self.unhandled.append(context))
        self.server = MadeUpLlamaServer(folder / "s.sock")
        self.runner.run(self.server.start())
        self.home = Home(folder / "home")
        add_model(self.home, "alpha")
        self.home.settings.write_text(SETTINGS)
        self.host = self.runner.run(self._host())

    async def _host(self) -> Host:
        return Host(self.home)

    def close(self) -> None:
        self.runner.run(self.host.stop())
        self.runner.run(self.server.stop())
        self.runner.close()

    def call(self, work: Callable[[LlamaServerClient], Awaitable[T]]) -> T:
        """Return what a call of a client of its own returns."""

        async def call() -> T:
            client = LlamaServerClient(self.server.endpoint, 2048)
            try:
                async with asyncio.timeout(LIMIT_SEC):
                    return await work(client)
            finally:
                await client.close()

        return self.runner.run(call())

    def completion(self) -> list[dict[str, Any]]:
        """Complete a text by LM Studio's protocol; return the frames of the channel."""
        return self.runner.run(self._completion())

    async def _completion(self) -> list[dict[str, Any]]:
        to_host: asyncio.Queue[str | None] = asyncio.Queue()
        received: list[dict[str, Any]] = []
        ended = asyncio.Event()

        async def send(text: str) -> None:
            received.append(json.loads(text))
            if received[-1].get("type") in ("channelClose", "channelError"):
                ended.set()

        connection = asyncio.create_task(Connection(Context(self.host, "llm"), to_host.get, send).run())
        parameter = msgspec.to_builtins(raw_completion("Hi", specify("alpha"), KvConfig(fields=[])))
        create = {"type": "channelCreate", "endpoint": "predict", "channelId": 1, "creationParameter": parameter}
        for frame in ({"authVersion": 1, "clientIdentifier": "fuzz", "clientPasskey": "fuzz"}, create):
            to_host.put_nowait(json.dumps(frame))
        async with asyncio.timeout(LIMIT_SEC):
            await ended.wait()
            to_host.put_nowait(None)
            await connection
        return received[1:]


@pytest.fixture(scope="module")
def made_up() -> Iterator[MadeUp]:
    folder = Path(tempfile.mkdtemp())  # a short path: a socket lies in it
    with pytest.MonkeyPatch.context() as patch, logged_errors() as errors:

        async def start(
            kind: fake.FakeKind, spec: EngineSpec, emit: Callable[[LoadProgress], None] | None = None
        ) -> object:
            return made_up_engine(found.server, spec, kind._node)

        patch.setattr(fake.FakeKind, "start", start)
        patch.setattr(responses, "PACE_SEC", 0.0005)
        patch.setattr(responses, "LOOK_SEC", 0.01)
        patch.setattr("studiolo.engines.llama_cpp.engine.DEATH_NOTICE_SEC", 0)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.delenv(wire_recorder.VARIABLE, raising=False)
        found = MadeUp(folder)
        yield found
        found.close()
        gc.collect()  # an error that nobody reads is reported when its task is collected
        assert errors.records == []
    assert found.unhandled == []
    shutil.rmtree(folder)


calls = st.one_of([st.tuples(st.just(path), answers_to(path)) for path in ASKED])


@given(calls)
def test_every_call_ends_with_a_value_or_an_error_of_ours_from_a_made_up_server(
    made_up: MadeUp, case: tuple[str, list[bytes]]
) -> None:
    path, pieces = case
    made_up.server.plan = {path: pieces}
    try:
        made_up.call(ASKED[path])
    except (StudioloError, ConnectionError) as error:
        assert str(error)


@given(answers_to("/completion"))
def test_every_prediction_ends_with_a_result_or_an_error_of_ours_from_a_made_up_server(
    made_up: MadeUp, pieces: list[bytes]
) -> None:
    made_up.server.plan = {"/completion": pieces}
    last = made_up.completion()[-1]
    assert last["type"] == "channelClose" or last["error"]["title"]


IGNORED = [b": a comment\n\n", b"\n\n", b"data: [DONE]\n\n", b"event: x\n\n", b"id: 5\nretry: 5\n\n"]
DAMAGE = [
    *(b"data: %b\n\n" % text for text in (b"{oops}", b'{"conte', b"\xff", b'"\\ud800"', b"NaN", b"null", b"5", b"[]")),
    *(b"data: %b\n\n" % text for text in (b'{"error": {"message": "no"}}', b'{"error": "no"}', b"[" * 100_000)),
    *(b'error: {"message": "no"}\n\n', b"<html>\n\n", b'xdata: {"content": "x"}\n\n', b"data: {}\r\n\r\n"),
    b"",  # the end
]
OF_COMPLETIONS = [
    *(b'data: {"content": %b}\n\n' % value for value in (b"5", b"null", b"[]", b'"\\ud800"', b'"\xff"', b'"x')),
    *(
        b'data: {"content": "x", "tokens_predicted": %b}\n\n' % value
        for value in (b'"1"', b"1.5", b"9" * 400, b"1e999")
    ),
]
OF_CHATS = [
    *(b'data: {"choices": %b}\n\n' % value for value in (b"5", b"[5]", b"[{}]", b'[{"delta": 5}]')),
    *(
        b'data: {"choices": [{"delta": {"content": %b}}]}\n\n' % value
        for value in (b"5", b"[]", b'"\\ud800"', b'"\xff"')
    ),
    *(b'data: {"timings": {"predicted_n": %b}}\n\n' % value for value in (b'"1"', b"1.5", b"9" * 400, b"1e999")),
]


@dataclass
class Stream:
    """A streamed answer.

    Parameters:
        pieces: how it comes.
        text: the text before its end, or before what is damaged.
        tokens: those of the text, one a piece of it.
        whole: whether it is not damaged.
        cut: whether the connection breaks at its end: what came with that is not read.
    """

    pieces: list[bytes]
    text: str
    tokens: int
    whole: bool
    cut: bool

    def is_right(self, text: str) -> bool:
        """Whether ``text`` is what must reach the client."""
        return text == self.text or (self.cut and self.text.startswith(text))


@st.composite
def streams(draw: st.DrawFn, path: str) -> Stream:
    """An answer whose events are right up to its end, or up to some damage."""
    words = draw(st.lists(st.text(min_size=1, max_size=6), max_size=6))
    whole = draw(st.booleans())
    events = [_event(path, word, count) for count, word in enumerate(words, 1)]
    if whole:
        events.append(_end(path, len(words)))
    else:
        events.append(draw(st.sampled_from(DAMAGE + (OF_COMPLETIONS if path == "/completion" else OF_CHATS))))
        rest = [_event(path, "lost", len(words) + 1), _end(path, len(words) + 1)]
        events += rest if events[-1] else []
    body = b"".join(draw(st.sampled_from([b""] * 4 + IGNORED)) + event for event in events)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    form = draw(st.sampled_from(["close", "length", "chunked"] if whole else ["close", "length", "chunked", "cut"]))
    match form:
        case "length":
            head += b"Content-Length: %d\r\n" % len(body)
        case "chunked":
            head += b"Transfer-Encoding: chunked\r\n"
            body = (
                b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in draw(pieces_of(body)) if each) + b"0\r\n\r\n"
            )
        case "cut":
            head += b"Content-Length: %d\r\n" % (len(body) + 5)
        case _:
            pass
    return Stream(draw(pieces_of(head + b"\r\n" + body)), "".join(words), len(words), whole, form == "cut")


def _event(path: str, word: str, count: int) -> bytes:
    value: dict[str, Any] = {"content": word, "tokens_predicted": count, "tokens_evaluated": 3}
    if path != "/completion":
        value = {"choices": [{"delta": {"content": word}}], "timings": {"prompt_n": 3, "predicted_n": count}}
    return b"data: %b\n\n" % json.dumps(value).encode()


def _end(path: str, count: int) -> bytes:
    end: dict[str, Any] = {"content": "", "stop_type": "eos", "tokens_predicted": count, "tokens_evaluated": 3}
    if path != "/completion":
        end = {"choices": [{"delta": {}, "finish_reason": "stop"}], "__verbose": end}
    return b"data: %b\n\n" % json.dumps(end).encode()


@given(st.one_of([st.tuples(st.just(path), streams(path)) for path in STREAMS]))
def test_the_text_before_the_damage_comes_once_and_then_an_error_of_ours_from_a_made_up_server(
    made_up: MadeUp, case: tuple[str, Stream]
) -> None:
    path, stream = case
    made_up.server.plan = {path: stream.pieces}
    events: list[Any] = []

    async def read(client: LlamaServerClient) -> None:
        is_text = path == "/completion"
        found = client.complete(request("Hi")) if is_text else client.chat_with_tools(CHAT, ControlTokens([]))
        async for event in found:
            events.append(event)

    if stream.whole:
        made_up.call(read)
        assert isinstance(events[-1], Completed) and events[-1].predicted_tokens == stream.tokens
    else:
        with pytest.raises((StudioloError, ConnectionError)):
            made_up.call(read)
    fragments = [event for event in events if isinstance(event, Fragment)]
    assert stream.is_right("".join(each.text for each in fragments))
    assert stream.cut or sum(each.tokens for each in fragments) == stream.tokens


@given(streams("/completion"))
def test_the_client_of_a_host_gets_it_once_and_then_the_error_from_a_made_up_server(
    made_up: MadeUp, stream: Stream
) -> None:
    made_up.server.plan = {"/completion": stream.pieces}
    frames = made_up.completion()
    messages = [frame["message"] for frame in frames if frame["type"] == "channelSend"]
    text = "".join(each["fragment"]["content"] for each in messages if each["type"] == "fragment")
    assert stream.is_right(text)
    if stream.whole:
        assert frames[-1]["type"] == "channelClose" and messages[-1]["type"] == "success"
        assert messages[-1]["stats"]["predictedTokensCount"] == stream.tokens
    else:
        assert frames[-1]["type"] == "channelError" and frames[-1]["error"]["title"]
