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
from studiolo.protocol.llm import Fragment, FragmentMessage
from studiolo.sdk.async_models import AsyncLLM
from studiolo.sdk.sync_models import LLM
from tests.support.interrupts import interrupted_when
from tests.support.running import children, wait_until
from tests.support.scripted_host import ANSWER, StubChannel, StubClient, call, success

pytestmark = pytest.mark.slow

PROGRAM = """
import os, signal, sys, time
from studiolo.sdk.async_models import AsyncLLM
from studiolo.sdk.sync_models import LLM
from tests.support.scripted_host import ANSWER, StubClient, call, success

finished = []
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

def nap():
    "Sleep."
    os.kill(os.getpid(), signal.SIGNAL)
    time.sleep(600)
    finished.append("nap")

def doze():
    "Sleep, too."
    time.sleep(600)
    finished.append("doze")

client = StubClient([[*call("doze"), *call("nap", 1), success()], ANSWER])
try:
    LLM(AsyncLLM("m", client, "llm")).act("Nap.", [doze, nap], max_parallel_tool_calls=None)
except (KeyboardInterrupt, SystemExit) as error:
    print(type(error).__name__, finished, len(client.asked), flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send itself an interrupt")
@pytest.mark.parametrize(("signal", "raised"), [("SIGINT", "KeyboardInterrupt"), ("SIGTERM", "SystemExit")])
def test_stub_signal_ends_act_and_the_program_while_two_tools_sleep(signal: str, raised: str) -> None:
    root = Path(__file__).parents[2]
    program = [sys.executable, "-c", PROGRAM.replace("SIGNAL", signal)]
    done = subprocess.run(program, cwd=root, capture_output=True, text=True, timeout=120)  # the tools' 600 s
    assert done.stdout.split() == [raised, "[]", "1"], done.stderr
    assert "they were abandoned: 'doze', 'nap'" in done.stderr
    assert done.returncode == 0


DEAF_SERVER = """
import pathlib, time
from mcp.server.mcpserver import MCPServer

server = MCPServer("deaf")

@server.tool()
async def wait() -> str:
    "Wait."
    pathlib.Path("called").touch()
    time.sleep(600)

server.run()
"""
"""It answers no call, and does not notice that its input is closed."""


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to a thread")
def test_stub_ctrl_c_ends_act_while_an_mcp_server_does_not_answer(tmp_path: Path) -> None:
    before = children()
    (tmp_path / "deaf.py").write_text(DEAF_SERVER)
    server = {"name": "deaf", "command": sys.executable, "args": ["deaf.py"], "cwd": str(tmp_path)}
    client = StubClient([[*call("wait"), success()], ANSWER])
    with interrupted_when((tmp_path / "called").exists):
        LLM(AsyncLLM("m", client, "llm")).act("Wait.", [], mcp=[server])  # type: ignore[arg-type]
    assert len(client.asked) == 1
    wait_until(lambda: children() <= before, "the server to end")


def test_stub_cancelled_act_leaves_a_sync_tool_and_cancels_an_async_one(caplog: Any) -> None:
    cancelled: list[str] = []
    begun: list[str] = []

    def nap() -> None:
        """Sleep."""
        begun.append("nap")
        time.sleep(600)

    async def wait() -> None:
        """Wait."""
        begun.append("wait")
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled.append("wait")
            raise

    async def program() -> StubClient:
        client = StubClient([[*call("nap"), *call("wait", 1), success()], ANSWER])
        work = asyncio.create_task(
            AsyncLLM("m", client, "llm").act("Nap.", [nap, wait], max_parallel_tool_calls=None)  # type: ignore[arg-type]
        )
        while len(begun) < 2:  # noqa: ASYNC110 - one of them is in a thread
            await asyncio.sleep(0.02)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        return client

    with caplog.at_level(logging.WARNING, "studiolo.client"):
        client = asyncio.run(program())
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
        read = [reader.result(60) for reader in readers]
    assert sum(map(len, read)) == len(ANSWER)
    assert stream.result().content == "Done."


def test_stub_two_threads_that_read_one_stream_keep_the_order_of_its_text() -> None:
    texts = [f"{number} " for number in range(300)]
    client = StubClient([[*(FragmentMessage(fragment=Fragment(content=text)) for text in texts), success("eosFound")]])
    stream = LLM(AsyncLLM("m", client, "llm")).respond_stream("Hi")  # type: ignore[arg-type]
    pool = DaemonThreads(4, "reader")
    read = [reader.result(60) for reader in [pool.submit(list, stream) for _ in range(4)]]
    pool.shutdown()
    assert sum(map(len, read)) == len(texts)
    assert stream.result().content == "".join(texts)
