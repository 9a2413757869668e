"""``act`` that is interrupted or cancelled while a tool runs, and streams that are closed, over a stub."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from studiolo.daemon_threads import DaemonThreads
from studiolo.errors import CancelledError, UsageError
from studiolo.merging_queue import MergingQueue
from studiolo.sdk.async_models import AsyncLLM
from studiolo.sdk.sync_models import LLM
from tests.support.scripted_host import ANSWER, StubChannel, StubClient, call, success

PROGRAM = """
import os, signal, threading, time
from studiolo.sdk.async_models import AsyncLLM
from studiolo.sdk.sync_models import LLM
from tests.support.scripted_host import ANSWER, StubClient, call, success

at = []

def nap():
    "Sleep."
    at.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)

client = StubClient([[*call("nap"), success()], ANSWER])
try:
    LLM(AsyncLLM("m", client, "llm")).act("Nap.", [nap])
except KeyboardInterrupt:
    print(time.monotonic() - at[0] < 1, len(client.asked), flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send itself an interrupt")
def test_stub_ctrl_c_ends_act_and_the_program_while_a_tool_sleeps() -> None:
    began = time.monotonic()
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True, timeout=50)
    assert done.stdout.split() == ["True", "1"], done.stderr
    assert "they were abandoned: 'nap'" in done.stderr
    assert done.returncode == 0
    assert time.monotonic() - began < 45


def test_stub_cancelled_act_leaves_a_sync_tool_and_cancels_an_async_one(caplog: Any) -> None:
    cancelled: list[str] = []

    def nap() -> None:
        """Sleep."""
        time.sleep(60)

    async def wait() -> None:
        """Wait."""
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append("wait")
            raise

    async def program() -> StubClient:
        client = StubClient([[*call("nap"), *call("wait", 1), success()], ANSWER])
        work = asyncio.create_task(
            AsyncLLM("m", client, "llm").act("Nap.", [nap, wait], max_parallel_tool_calls=None)  # type: ignore[arg-type]
        )
        await asyncio.sleep(0.2)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(work, 5)
        return client

    with caplog.at_level(logging.WARNING, "studiolo.client"):
        began = time.monotonic()
        client = asyncio.run(program())
    assert time.monotonic() - began < 30
    assert cancelled == ["wait"]
    assert len(client.asked) == 1
    assert [line for line in caplog.messages if "abandoned" in line] == [
        "act() ended while these tools were running; they were abandoned: 'nap'"
    ]


@pytest.mark.parametrize("end", ["close", "cancel"])
def test_stub_messages_of_a_stream_that_was_ended_before_its_start_send_nothing(end: str) -> None:
    client = StubClient([ANSWER])
    stream = LLM(AsyncLLM("m", client, "llm")).respond_stream("Hi")  # type: ignore[arg-type]
    getattr(stream, end)()
    assert list(stream.messages()) == []
    assert list(stream.messages()) == list(stream) == []
    assert client.asked == []
    with pytest.raises(CancelledError):
        stream.result()


def test_stub_second_pass_over_messages_gives_nothing() -> None:
    client = StubClient([ANSWER])
    stream = LLM(AsyncLLM("m", client, "llm")).respond_stream("Hi")  # type: ignore[arg-type]
    assert list(stream.messages()) == ANSWER
    assert list(stream.messages()) == list(stream) == []
    assert len(client.asked) == 1
    assert stream.result().content == "Done."


class QueuedChannel(StubChannel):
    """Delivers what was put into its queue, which closing it closes."""

    def __init__(self) -> None:
        super().__init__([])
        self.queue: MergingQueue[Any] = MergingQueue(lambda last, new: None)

    def receive_blocking(self, limit_sec: float | None) -> list[Any]:
        return self.queue.get_all_blocking(limit_sec)

    async def close(self) -> None:
        self.queue.close()


class QueuedClient(StubClient):
    async def open(self, namespace: str, endpoint: Any, parameter: Any) -> StubChannel:
        self.channels.append(QueuedChannel())
        return self.channels[-1]


def test_stub_two_threads_that_read_one_stream_share_its_messages_and_both_end() -> None:
    client = QueuedClient([])
    stream = LLM(AsyncLLM("m", client, "llm")).respond_stream("Hi")  # type: ignore[arg-type]
    stream.start()
    with pytest.raises(UsageError, match="has not ended yet"):
        stream.result()
    with DaemonThreads(2, "reader") as pool:
        readers = [pool.submit(lambda: list(stream.messages())) for _ in range(2)]
        channel: Any = client.channels[0]
        for message in ANSWER:
            time.sleep(0.05)
            channel.queue.put(message)
        read = [reader.result(10) for reader in readers]
    assert sum(map(len, read)) == len(ANSWER)
    assert stream.result().content == "Done."
