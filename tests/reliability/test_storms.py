"""Many at once, and clients that behave badly."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.frames import Frame, Opcode

import studiolo as lm
from studiolo.config import PredictionConfig
from studiolo.errors import BusyError
from studiolo.paths import Home
from studiolo.protocol.frames import encode
from studiolo.protocol.kv import encode_prediction_config, stack_of
from tests.support.faults import (
    COUNT,
    MODEL,
    SMALL,
    answer,
    circle,
    footprint,
    harmed,
    nothing_left,
    pid_of,
    status_of,
    undisturbed,
)
from tests.support.homes import ENDLESS
from tests.support.running import Server, wait_until

pytestmark = [pytest.mark.timeout(170), pytest.mark.quick_model]

HANDSHAKE = {"authVersion": 1, "clientIdentifier": "raw", "clientPasskey": "raw"}


async def test_two_hundred_requests_on_four_slots(server: Server, client: lm.Client) -> None:
    llm = await asyncio.to_thread(
        client.llm.load_new_instance, MODEL, "storm", config={**SMALL, "max_parallel_predictions": 4}
    )
    async with lm.AsyncClient(server.address) as own:
        handle = await own.llm.model("storm")
        before = footprint(server.pid)

        async def one() -> lm.PredictionResult:
            return await handle.complete("Once upon a time", config={"temperature": 0, "max_tokens": 2})

        def standing() -> tuple[int, int]:
            status: Any = status_of(client, "storm")
            return status.running, len(status.queue)

        first = [await handle.complete_stream(COUNT, config=ENDLESS) for _ in range(4)]
        fragments = [aiter(stream) for stream in first]
        for each in fragments:
            await anext(each)  # they have the slots
        tasks = [asyncio.create_task(one()) for _ in range(200)]
        await asyncio.to_thread(wait_until, lambda: standing() == (4, 200), "all to wait, where everyone can see it")
        for stream in first:
            await stream.cancel()
        while not all(task.done() for task in tasks):
            assert (await asyncio.to_thread(standing))[0] <= 4
            await asyncio.sleep(0.05)
        results = await asyncio.gather(*tasks)
    assert len(results) == 200
    assert all(result.stats.predicted_tokens_count == 2 for result in results)
    await asyncio.to_thread(wait_until, lambda: footprint(server.pid).files <= before.files, "the storm to be over")
    assert footprint(server.pid).memory - before.memory < 64 << 20
    await asyncio.to_thread(llm.unload)


async def test_past_the_bound_of_the_queue_the_answer_is_busy(
    quick_home: Home, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("bounded")
    with harmed(quick_home, folder, "[limits]\nqueue_length = 3") as server:
        async with lm.AsyncClient(server.address) as client:
            llm = await client.llm.load_new_instance(MODEL, config={**SMALL, "max_parallel_predictions": 1})

            async def one() -> object:
                try:
                    return await llm.complete("Once upon a time", config={"temperature": 0, "max_tokens": 4})
                except BusyError as error:
                    return error

            async with await llm.complete_stream(COUNT, config=ENDLESS) as stream:
                fragments = aiter(stream)
                await anext(fragments)  # it has the only slot
                answers = [asyncio.create_task(one()) for _ in range(19)]
                pending = {*answers}
                while len(pending) > 3:
                    _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            outcomes = await asyncio.gather(*answers)
    refused = [outcome for outcome in outcomes if isinstance(outcome, BusyError)]
    assert len(refused) == 16
    assert refused[0].data == {"running": 1, "waiting": 3, "parallel": 1}
    assert len({result.content for result in outcomes if isinstance(result, lm.PredictionResult)}) == 1


async def test_who_waits_gets_its_place_in_the_queue(server: Server, client: lm.Client) -> None:
    llm = await asyncio.to_thread(
        client.llm.load_new_instance, MODEL, "places", config={"context_length": 2048, "max_parallel_predictions": 1}
    )
    async with lm.AsyncClient(server.address) as own:
        handle = await own.llm.model("places")
        first = await handle.complete_stream(COUNT, config=ENDLESS)
        async with first:
            fragments = aiter(first)
            await anext(fragments)
            second = await handle.complete_stream("Once upon a time", config={"max_tokens": 1})
            reported: list[int | None] = []
            task = asyncio.create_task(second.wait_for_result())
            while not (reported and reported[-1]) and not task.done():
                reported.append(second.queue_position)
                await asyncio.sleep(0.05)
            assert reported[-1] == 1
        await task
        assert second.queue_position is None
    await asyncio.to_thread(llm.unload)


async def test_fifty_loads_of_one_model_at_once_are_one(server: Server, client: lm.Client) -> None:
    workers = len(server.workers())
    async with lm.AsyncClient(server.address) as own:
        handles = await asyncio.gather(*(own.llm.model(MODEL, config=SMALL) for _ in range(50)))
        assert {handle.identifier for handle in handles} == {MODEL}
        assert len(server.workers()) == workers + 1
        await handles[0].unload()
    assert len(server.workers()) == workers


def test_a_client_that_reads_nothing_while_its_answers_are_written(server: Server, client: lm.Client) -> None:
    """Its text waits for it, merged; others are served, and the server stays as it was."""
    with nothing_left(server.pid), undisturbed(server.address):
        llm = client.llm.load_new_instance(MODEL, "lagging", config={"context_length": 512})
        before = footprint(server.pid).memory
        config = circle(llm)
        expected = llm.complete(COUNT, config=config)
        deaf = RawSocket(server.address, "llm")
        deaf.send(HANDSHAKE)
        pid = pid_of(client, "lagging")
        os.kill(pid, signal.SIGSTOP)  # neither ends before both run
        for channel in range(1, 3):
            deaf.send(predict_frame("lagging", channel, config))
        wait_until(lambda: running(client, "lagging") == 2, "both to run")
        os.kill(pid, signal.SIGCONT)
        assert answer(llm)  # a slot is free for others
        wait_until(lambda: running(client, "lagging") == 0, "the answers to be complete", 120)
        assert footprint(server.pid).memory - before < 32 << 20
        texts = {1: "", 2: ""}
        ended: set[int] = set()
        while ended != {1, 2}:
            frame = deaf.receive()
            if frame.get("type") == "channelClose":
                ended.add(frame["channelId"])
            elif frame.get("message", {}).get("type") == "fragment":
                texts[frame["channelId"]] += frame["message"]["fragment"]["content"]
        deaf.close()
        assert texts[1] == texts[2] == expected.content
        llm.unload()


def running(client: lm.Client, identifier: str) -> int:
    status: Any = status_of(client, identifier)
    return status.running


async def test_a_thousand_idle_sockets(server: Server, client: lm.Client) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192) if hard > 0 else 8192, hard))
    try:
        before = footprint(server.pid)
        limit = asyncio.Semaphore(50)

        async def idle() -> Any:
            async with limit:
                opened = await connect(f"ws://{server.address}/llm", proxy=None, open_timeout=60)
                await opened.send(json.dumps(HANDSHAKE))
                assert json.loads(await opened.recv()) == {"success": True}
                return opened

        idle_ones = await asyncio.gather(*(idle() for _ in range(1000)))
        during = footprint(server.pid)
        assert during.files - before.files >= 990, "connections of health checks come and go"
        assert during.memory - before.memory < 200 << 20
        llm = await asyncio.to_thread(client.llm.load_new_instance, MODEL, "among-idle", config=SMALL)
        assert await asyncio.to_thread(answer, llm)
        await asyncio.to_thread(llm.unload)
        await asyncio.gather(*(each.close() for each in idle_ones))
        await asyncio.to_thread(wait_until, lambda: footprint(server.pid).files <= before.files, "the sockets to close")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def predict_frame(identifier: str, channel: int, config: dict[str, Any]) -> dict[str, Any]:
    stack = stack_of(encode_prediction_config(PredictionConfig(**config)))
    return {
        "type": "channelCreate",
        "endpoint": "completeRawText",
        "channelId": channel,
        "creationParameter": {
            "modelSpecifier": {"type": "query", "query": {"identifier": identifier}},
            "rawPrompt": COUNT,
            "predictionConfigStack": json.loads(encode(stack)),
        },
    }


class RawSocket:
    """A WebSocket that reads only on demand: no library answers pings behind its back."""

    def __init__(self, address: str, namespace: str) -> None:
        host, port = address.split(":")
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(60)
        self.socket.connect((host, int(port)))
        self.socket.sendall(
            f"GET /{namespace} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.file = self.socket.makefile("rb")
        while self.file.readline() not in (b"\r\n", b""):
            pass

    def send(self, frame: dict[str, Any]) -> None:
        self.socket.sendall(Frame(Opcode.TEXT, json.dumps(frame).encode()).serialize(mask=True))

    def receive(self) -> dict[str, Any]:
        while True:
            first, length = self.file.read(2)
            if length >= 126:
                length = int.from_bytes(self.file.read(2 if length == 126 else 8), "big")
            payload = self.file.read(length)
            if first & 0x0F == Opcode.TEXT:
                return json.loads(payload)
            assert first & 0x0F == Opcode.PING, first

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def test_a_handshake_that_never_comes_ends_the_socket(server: Server) -> None:
    """Sockets that never say who they are do not pile up."""
    before = footprint(server.pid)
    silent = [RawSocket(server.address, "llm") for _ in range(5)]
    for each in silent:
        assert "No authentication within" in each.receive()["error"]
        each.close()
    wait_until(lambda: footprint(server.pid).files <= before.files, "the sockets to close")
