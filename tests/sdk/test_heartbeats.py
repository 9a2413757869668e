"""A living host is never timed out by silence. A real server, with an endpoint that is made slow for the test."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import studiolo as lm
from studiolo.dialects import dialects
from studiolo.dialects.base import Serving
from studiolo.dialects.lmstudio import connection, registry
from studiolo.host.host import Host
from studiolo.protocol.system import VERSION, Version
from studiolo.server.app import create_app
from tests.support.running import free_port, wait_until
from tests.support.wire_socket import HANDSHAKE, Socket

pytestmark = pytest.mark.slow

LIMIT_SEC = 4.5
"""How silent a server may be here. Heartbeats come three times as often: a busy machine may be late by two of them."""
SLOW_SEC = 5.5
"""What a slow call takes, where that has to be longer."""


class SlowEndpoint:
    """An endpoint that answers when the test says so.

    Attributes:
        ended: set by the test.
        given_up: set where the host has cancelled it.
    """

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.given_up = threading.Event()

    def end_after(self, sec: float) -> None:
        threading.Timer(sec, self.ended.set).start()

    async def __call__(self, *_: Any) -> Version:
        try:
            while not self.ended.is_set():  # noqa: ASYNC110 - it is set in another thread
                await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            self.given_up.set()
            raise
        return Version("slow", 1)


@pytest.fixture
def limit() -> Iterator[None]:
    before = lm.get_sync_api_timeout()
    lm.set_sync_api_timeout(LIMIT_SEC)
    yield
    lm.set_sync_api_timeout(before)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowEndpoint:
    """What ``version`` does."""
    slow = SlowEndpoint()
    monkeypatch.setitem(registry.RPCS, ("system", VERSION.name), (VERSION, slow))
    return slow


@pytest.fixture
def slow_server(slow: SlowEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server in this process whose ``version`` is slow."""
    monkeypatch.setenv("STUDIOLO_HOME", str(tmp_path / "home"))
    port = free_port()
    servers: list[uvicorn.Server] = []

    async def serve() -> None:
        host = Host()
        app = create_app(Serving(host), dialects())
        servers.append(uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_config=None, lifespan="off")))
        await servers[0].serve()
        await host.stop()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    wait_until(lambda: bool(servers) and servers[0].started, "the server to listen", 30)
    yield f"127.0.0.1:{port}"
    servers[0].should_exit = servers[0].force_exit = True
    thread.join(30)


def test_a_call_that_takes_longer_than_the_limit_is_answered(slow_server: str, slow: SlowEndpoint, limit: None) -> None:
    slow.end_after(SLOW_SEC)
    with lm.Client(slow_server) as client:
        assert client.system.version().version == "slow"


async def test_so_it_is_in_the_async_api(slow_server: str, slow: SlowEndpoint, limit: None) -> None:
    slow.end_after(SLOW_SEC)
    async with lm.AsyncClient(slow_server) as client:
        assert (await client.system.version()).version == "slow"


def test_without_heartbeats_it_is_timed_out(slow_server: str, limit: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MIN_HEARTBEAT_SEC", 60)
    with lm.Client(slow_server) as client:
        client.system.info()  # it is connected
        lm.set_sync_api_timeout(0.5)
        with pytest.raises(lm.RequestTimeoutError, match=r"0\.5 s.*system/version"):
            client.system.version()


def test_an_answer_to_another_call_is_a_sign_of_life_too(
    slow_server: str, slow: SlowEndpoint, limit: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MIN_HEARTBEAT_SEC", 60)
    slow.end_after(SLOW_SEC)
    with lm.Client(slow_server) as client:
        versions: list[str] = []
        thread = threading.Thread(target=lambda: versions.append(client.system.version().version))
        thread.start()
        while thread.is_alive():
            client.system.info()
            time.sleep(LIMIT_SEC / 10)
        assert versions == ["slow"]


def test_a_waiting_stream_is_kept_alive_in_both_ways_of_reading(
    slow_server: str, slow: SlowEndpoint, limit: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, _ = registry.CHANNELS["llm", "predict"]
    monkeypatch.setitem(registry.CHANNELS, ("llm", "predict"), (endpoint, slow))

    async def read() -> None:
        async with lm.AsyncClient(slow_server) as client:
            await lm.AsyncLLM("a", client._session, "llm").complete("x")

    slow.end_after(SLOW_SEC)
    with pytest.raises(lm.ChannelClosedError):  # not a timeout: the stand-in endpoint closed the channel at its end
        asyncio.run(read())
    slow.ended.clear()
    slow.end_after(SLOW_SEC)
    with lm.Client(slow_server) as client, pytest.raises(lm.ChannelClosedError):
        lm.LLM(lm.AsyncLLM("a", client.asynchronous._session, "llm")).complete("x")


def test_only_clients_that_ask_for_heartbeats_get_them_and_only_while_something_is_open(
    slow_server: str, slow: SlowEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEARTBEAT_SEC", 0.1)

    def rest(socket: Socket) -> list[str]:
        """The kinds of the frames up to the result, and of what comes within some time after it."""
        kinds = [socket.receive()["type"]]
        while kinds[-1] != "rpcResult":
            kinds.append(socket.receive()["type"])
        with contextlib.suppress(TimeoutError):
            kinds.append(socket.socket.recv(timeout=0.4))
        return kinds

    with Socket(slow_server, "system", {**HANDSHAKE, "studioloHeartbeats": True}) as socket:
        assert socket.call("version")["type"] == "studioloHeartbeat"
        slow.ended.set()
        *heartbeats, last = rest(socket)
        assert set(heartbeats) <= {"studioloHeartbeat"} and last == "rpcResult"
    slow.ended.clear()
    with Socket(slow_server, "system", HANDSHAKE) as socket:
        slow.end_after(0.5)
        socket.send({"type": "rpcCall", "endpoint": "version", "callId": 1, "parameter": None})
        assert rest(socket) == ["rpcResult"]


def test_a_call_gets_heartbeats_as_often_as_it_needs_them_until_its_end(slow_server: str, slow: SlowEndpoint) -> None:
    with Socket(slow_server, "system", {**HANDSHAKE, "studioloHeartbeats": True}) as socket:
        call = {"type": "rpcCall", "endpoint": "version", "parameter": None}
        began = time.monotonic()
        socket.send({**call, "callId": 1, "studioloHeartbeatSec": 0.2})
        assert {socket.receive()["type"] for _ in range(4)} == {"studioloHeartbeat"}
        assert time.monotonic() - began > 0.55, "not more often"
        slow.ended.set()
        while socket.receive()["type"] == "studioloHeartbeat":
            pass
        socket.send({**call, "callId": 2})
        assert socket.receive()["type"] == "rpcResult"
        slow.ended.clear()
        socket.send({**call, "callId": 3, "studioloHeartbeatSec": 1e-9})
        assert {socket.receive()["type"] for _ in range(5)} == {"studioloHeartbeat"}


def test_the_host_gives_a_call_up_at_its_time_limit(slow_server: str, slow: SlowEndpoint) -> None:
    with Socket(slow_server, "system") as socket:
        call = {"type": "rpcCall", "endpoint": "version", "callId": 1, "parameter": None}
        socket.send({**call, "studioloTimeLimitSec": 0.2})
        answer = socket.receive()
        assert answer["type"] == "rpcError"
        assert answer["error"]["title"] == "system/version took longer than the time limit of 0.2 s"
        assert slow.given_up.is_set()


def test_a_call_that_the_host_cancels_is_answered(slow_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def cancelled(*_: Any) -> Version:
        raise asyncio.CancelledError

    monkeypatch.setitem(registry.RPCS, ("system", VERSION.name), (VERSION, cancelled))
    with lm.Client(slow_server) as client, pytest.raises(lm.HostError, match="system/version"):
        client.system.version()


@pytest.fixture
async def cancelled_embedded(empty_home: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    async def cancelled(*_: Any) -> Version:
        raise asyncio.CancelledError

    monkeypatch.setitem(registry.RPCS, ("system", VERSION.name), (VERSION, cancelled))
    yield


def test_the_embedded_host_cancels_with_an_error_of_ours(cancelled_embedded: None) -> None:
    with lm.Client("embedded") as client, pytest.raises(lm.HostError, match="system/version"):
        client.system.version()


async def test_so_it_does_in_the_async_api(cancelled_embedded: None) -> None:
    async with lm.AsyncClient("embedded") as client:
        with pytest.raises(lm.HostError, match="system/version"):
            await client.system.version()


async def test_ones_own_cancellation_stays_what_it_is(empty_home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    began = asyncio.Event()

    async def slow(*_: Any) -> Version:
        loop.call_soon_threadsafe(began.set)
        await asyncio.sleep(60)
        return Version("never", 1)

    loop = asyncio.get_running_loop()
    monkeypatch.setitem(registry.RPCS, ("system", VERSION.name), (VERSION, slow))
    async with lm.AsyncClient("embedded") as client:
        task = asyncio.create_task(client.system.version())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_a_call_of_the_background_loop_that_is_cancelled_there_is_an_error_of_ours() -> None:
    from studiolo.sdk import background

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    with pytest.raises(lm.HostError):
        background.run(work())


def test_the_embedded_host_is_waited_for_without_a_limit(empty_home: Any, slow: SlowEndpoint, limit: None) -> None:
    slow.end_after(SLOW_SEC)
    with lm.Client("embedded") as client:
        assert client.system.version().version == "slow"
