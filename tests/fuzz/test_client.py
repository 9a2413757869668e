"""Random answers of a server made up here, to every call of the SDK: a result, or an error of ours."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import Server, ServerConnection, serve

from studiolo.addresses import parse_address
from studiolo.dialects.lmstudio import dispatch  # noqa: F401  registers the endpoints
from studiolo.dialects.lmstudio.registry import CHANNELS, RPCS
from studiolo.errors import StudioloError
from studiolo.protocol import frames
from studiolo.sdk.transports.websocket import WebSocketTransport
from tests.support.typed_values import almost, any_json, values_of

pytestmark = pytest.mark.fuzz

LIMIT_SEC = 30.0

NESTED = '{"type": "rpcResult", "callId": "NUMBER", "result": ' + "[" * 100_000 + "]" * 100_000 + "}"


def results_of(result: Any) -> st.SearchStrategy[Any]:
    frame = {"type": st.just("rpcResult"), "callId": st.just("NUMBER"), "result": almost(values_of(result))}
    return almost(st.fixed_dictionaries(frame))


def messages_of(message: Any) -> st.SearchStrategy[Any]:
    frame = {"type": st.just("channelSend"), "channelId": st.just("NUMBER"), "message": almost(values_of(message))}
    return almost(st.fixed_dictionaries(frame))


others = almost(values_of(frames.ServerFrame)) | st.sampled_from([NESTED, "", "{", '"\\ud800"']) | any_json

calls = st.one_of(
    [
        st.tuples(st.just(key), st.lists(results_of(declared.result) | others, max_size=4))
        for key, (declared, _) in RPCS.items()
    ]
)
channels = st.one_of(
    [
        st.tuples(st.just(key), st.lists(messages_of(declared.message) | others, max_size=4))
        for key, (declared, _) in CHANNELS.items()
    ]
)


class MadeUpServer:
    """A server that answers every request with the frames of ``plan``, then with an end of the right form."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.plan: list[Any] = []
        self.unhandled: list[dict[str, Any]] = []
        self.runner.get_loop().set_exception_handler(lambda _, context: self.unhandled.append(context))
        self.server: Server = self.runner.run(self._start())
        port: int = next(iter(self.server.sockets)).getsockname()[1]
        self.transport = WebSocketTransport(parse_address(f"127.0.0.1:{port}"))

    async def _start(self) -> Server:
        return await serve(self._serve, "127.0.0.1", 0, max_size=None)

    async def _serve(self, connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(json.dumps({"success": True}))
        async for text in connection:
            request = json.loads(text)
            number = request.get("callId", request.get("channelId"))
            if request["type"] not in ("rpcCall", "channelCreate"):
                continue
            for frame in self.plan:
                await connection.send(as_text(frame, number))
            error = {"title": "the end"}
            if request["type"] == "rpcCall":
                await connection.send(json.dumps({"type": "rpcError", "callId": number, "error": error}))
            else:
                await connection.send(json.dumps({"type": "channelClose", "channelId": number}))

    def close(self) -> None:
        self.runner.run(self._stop())
        self.runner.close()

    async def _stop(self) -> None:
        await self.transport.close()
        self.server.close()
        await self.server.wait_closed()


def as_text(frame: Any, number: int) -> str:
    text = frame if isinstance(frame, str) else json.dumps(frame)
    return text.replace('"NUMBER"', str(number))


@pytest.fixture(scope="module")
def made_up() -> Iterator[MadeUpServer]:
    logging.getLogger("studiolo.client").setLevel(logging.CRITICAL)  # a warning for each malformed frame
    server = MadeUpServer()
    yield server
    server.close()
    gc.collect()  # an error that nobody reads is reported when its task is collected
    assert server.unhandled == []
    logging.getLogger("studiolo.client").setLevel(logging.NOTSET)


@given(calls)
def test_every_call_ends_with_a_result_or_an_error_of_ours_from_a_made_up_server(
    made_up: MadeUpServer, case: tuple[tuple[str, str], list[Any]]
) -> None:
    (namespace, name), made_up.plan = case
    declared, _ = RPCS[namespace, name]

    async def call() -> None:
        async with asyncio.timeout(LIMIT_SEC):
            await made_up.transport.call(namespace, declared, None, LIMIT_SEC)

    try:
        made_up.runner.run(call())
    except StudioloError as error:
        assert str(error)


@given(channels)
def test_every_channel_ends_or_fails_with_an_error_of_ours_from_a_made_up_server(
    made_up: MadeUpServer, case: tuple[tuple[str, str], list[Any]]
) -> None:
    (namespace, name), made_up.plan = case
    declared, _ = CHANNELS[namespace, name]

    async def read() -> None:
        async with asyncio.timeout(LIMIT_SEC):
            channel = await made_up.transport.open(namespace, declared, None, LIMIT_SEC)
            try:
                while await channel.receive(LIMIT_SEC):
                    pass
            finally:
                await channel.close()

    try:
        made_up.runner.run(read())
    except StudioloError as error:
        assert str(error)
