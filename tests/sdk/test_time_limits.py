"""Time limits where the host or a tool does not keep to them, over a stub."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import studiolo as lm
from studiolo.merging_queue import MergingQueue
from studiolo.protocol.chat import ToolResultMessage
from studiolo.protocol.kv import flatten
from studiolo.sdk import async_stream
from studiolo.sdk.async_models import AsyncLLM
from studiolo.sdk.sync_models import LLM
from tests.support.running import children, wait_until
from tests.support.scripted_host import ANSWER, StubChannel, StubClient, call, says, success

pytestmark = pytest.mark.slow

LIMIT_SEC = 0.3


class LiveChannel(StubChannel):
    """Delivers its script at once, and ``on_cancel`` when it is cancelled; its host knows no time limit."""

    def __init__(self, script: list[Any], on_cancel: list[Any]) -> None:
        super().__init__([])
        self.on_cancel = on_cancel
        self.queue: MergingQueue[Any] = MergingQueue(lambda last, new: None)
        for message in script:
            self.queue.put(message)

    def receive_blocking(self, limit_sec: float | None) -> list[Any]:
        return self.queue.get_all_blocking(limit_sec)

    async def receive(self, limit_sec: float | None) -> list[Any]:
        return await self.queue.get_all()

    def cancel(self) -> None:
        for message in self.on_cancel:
            self.queue.put(message)

    def fail(self, error: Exception) -> None:
        self.queue.close(error)

    async def close(self) -> None:
        self.queue.close()


class LiveClient(StubClient):
    def __init__(self, *on_cancel: Any) -> None:
        super().__init__([])
        self.on_cancel = list(on_cancel)

    async def open(self, namespace: str, endpoint: Any, parameter: Any) -> StubChannel:
        self.asked.append(parameter)
        self.channels.append(LiveChannel(says("Once "), self.on_cancel))
        return self.channels[-1]


def model(client: StubClient) -> LLM:
    return LLM(AsyncLLM("m", client, "llm"))  # type: ignore[arg-type]


async def respond_async(client: StubClient) -> Any:
    return await AsyncLLM("m", client, "llm").respond("Hi", timeout=LIMIT_SEC)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_stub_host_without_time_limits_is_cancelled(kind: str) -> None:
    client = LiveClient(*says("upon"), success("userStopped"))
    result = model(client).respond("Hi", timeout=LIMIT_SEC) if kind == "sync" else asyncio.run(respond_async(client))
    assert (result.content, result.stats.stop_reason) == ("Once upon", "timeLimitReached")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_stub_host_that_does_not_end_a_cancelled_prediction_is_an_error_with_the_text(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_stream, "CANCEL_GRACE_SEC", 0.1)
    client = LiveClient()
    with pytest.raises(lm.TimeLimitError, match=r"The prediction took longer than the time limit of 0\.3 s") as caught:
        model(client).respond("Hi", timeout=LIMIT_SEC) if kind == "sync" else asyncio.run(respond_async(client))
    assert caught.value.data == {"content": "Once "}


def test_stub_user_who_cancels_first_is_the_reason() -> None:
    stream = model(LiveClient(success("userStopped"))).respond_stream("Hi", timeout=LIMIT_SEC)
    stream.start()
    stream.cancel()
    time.sleep(LIMIT_SEC + 2 * async_stream.HOST_GRACE_SEC)
    assert stream.wait_for_result().stats.stop_reason == "userStopped"


def test_stub_host_is_given_the_time_that_is_left() -> None:
    client = StubClient([[*call("nap"), success()], ANSWER])

    def nap() -> None:
        """Sleep."""
        time.sleep(0.2)

    result = model(client).act("Nap.", [nap], timeout=20)
    assert not result.time_limit_reached and result.rounds == 2
    key = "llm.prediction.studiolo.timeoutSec"
    first, second = (flatten(parameter.prediction_config_stack)[key]["value"] for parameter in client.asked)
    assert 10 < first <= 20 and second <= first - 0.2


def quick() -> str:
    """Be quick."""
    return "done"


def test_stub_round_of_act_keeps_to_the_shorter_of_two_limits() -> None:
    client = LiveClient(success("userStopped"))
    result = model(client).act("Hi", [quick], timeout=20, config={"timeout_sec": LIMIT_SEC})
    assert result.time_limit_reached and result.total_time_seconds < 20


def nap() -> None:
    """Sleep."""
    time.sleep(600)


async def wait() -> None:
    """Wait."""
    await asyncio.sleep(600)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_stub_tools_that_have_not_ended_are_answered_as_failed(kind: str, caplog: Any) -> None:
    script = [*call("quick"), *call("nap", 1), *(call("wait", 2) if kind == "async" else []), success()]
    client = StubClient([script, ANSWER])
    said: list[Any] = []
    options: Any = {"timeout": 5, "max_parallel_tool_calls": None, "on_message": said.append}
    with caplog.at_level(logging.WARNING, "studiolo.client"):
        if kind == "sync":
            result = model(client).act("Nap.", [quick, nap], **options)
        else:
            async_model = AsyncLLM("m", client, "llm")  # type: ignore[arg-type]
            result = asyncio.run(async_model.act("Nap.", [quick, nap, wait], **options))
    assert (result.rounds, result.time_limit_reached, len(client.asked)) == (1, True, 1)
    assert isinstance(said[-1], ToolResultMessage)
    answers = [answer.content for answer in said[-1].content]
    assert answers[0] == '"done"'
    assert all("did not end within the time limit of 5 s" in answer for answer in answers[1:])
    assert len(answers) == (2 if kind == "sync" else 3)
    assert [line for line in caplog.messages if "abandoned" in line] == [
        "act() ended while these tools were running; they were abandoned: 'nap'"
    ]


def test_stub_handler_of_invalid_requests_sees_a_tool_that_has_not_ended() -> None:
    errors: list[Any] = []
    model(StubClient([[*call("nap"), success()]])).act(
        "Nap.", [nap], timeout=5, handle_invalid_tool_request=lambda error, request: errors.append(error)
    )
    assert "nap did not end within" in str(errors[0])


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_stub_mcp_server_that_does_not_start_in_time(kind: str, tmp_path: Path) -> None:
    before = children()
    (tmp_path / "silent.py").write_text("import sys\nsys.stdin.read()\n")
    server = {"name": "silent", "command": sys.executable, "args": ["silent.py"], "cwd": str(tmp_path)}
    client = StubClient([ANSWER])
    with pytest.raises(lm.TimeLimitError, match="MCP servers"):
        if kind == "sync":
            model(client).act("Hi", [], mcp=[server], timeout=1)
        else:
            asyncio.run(AsyncLLM("m", client, "llm").act("Hi", [], mcp=[server], timeout=1))  # type: ignore[arg-type]
    wait_until(lambda: children() <= before, "the server to end")
