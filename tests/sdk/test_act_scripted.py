"""``act()`` over a stub: a host that follows a script. The same rounds, sync and async."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

import studiolo as lm
from studiolo.config import LoadConfig
from studiolo.errors import PredictionError
from studiolo.protocol.chat import AssistantResponse, ToolCallRequest, ToolResultMessage
from studiolo.protocol.errors import serialize_error
from studiolo.protocol.kv import TOOL_CHOICE_KEY, TOOLS_KEY
from studiolo.protocol.tools import ToolCallFailed, ToolCallStart
from studiolo.sdk.async_models import AsyncLLM
from studiolo.sdk.sync_models import LLM
from tests.support.scripted_host import ANSWER, INFO, StubClient, call, says, success

Act = Callable[..., lm.ActResult]

TOOL: dict[str, Any] = {"name": "look", "description": "Look.", "parameters": {}, "implementation": lambda: HALF}
HALF = "\ud83d"  # of an emoji


@pytest.fixture(params=["sync", "async"])
def act(request: pytest.FixtureRequest) -> Callable[[StubClient], Act]:
    """``act`` of a handle on a stub, whichever the API."""

    def of(client: StubClient) -> Act:
        handle = AsyncLLM("m", client, "llm")  # type: ignore[arg-type]
        if request.param == "sync":
            return LLM(handle).act
        return lambda *args, **kw: asyncio.run(handle.act(*args, **kw))

    return of


def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


def fail(why: str) -> None:
    """Fail."""
    raise ValueError(why)


def test_stub_rounds_continue_until_no_tool_is_called_and_everything_is_reported(act: Any) -> None:
    client = StubClient([[*says("Hm. "), *call("add", a=1, b=2), success()], ANSWER])
    reported: list[Any] = []
    chat = lm.Chat("Be brief.")
    chat.add_user_message("1+2?")
    before = str(chat)
    result = act(client)(
        chat,
        [add],
        config={"temperature": 0},
        on_message=lambda message: reported.append(("message", message)),
        on_first_token=lambda index: reported.append(("first", index)),
        on_prediction_fragment=lambda fragment, index: reported.append(("fragment", fragment.content, index)),
        on_round_start=lambda index: reported.append(("start", index)),
        on_round_end=lambda index: reported.append(("end", index)),
        on_prediction_completed=lambda r: reported.append(("completed", r.round_index, r.content, r.stats.stop_reason)),
        on_prompt_processing_progress=lambda progress, index: reported.append(("progress", progress, index)),
    )
    assert (result.rounds, str(chat)) == (2, before) and result.total_time_seconds > 0
    messages = [entry[1] for entry in reported if entry[0] == "message"]
    assert [type(message) for message in messages] == [AssistantResponse, ToolResultMessage, AssistantResponse]
    assert messages[0].to_dict()["content"] == [
        {"type": "text", "text": "Hm. "},
        {
            "type": "toolCallRequest",
            "toolCallRequest": {"type": "function", "name": "add", "id": "call0", "arguments": {"a": 1, "b": 2}},
        },
    ]
    result = {"type": "toolCallResult", "content": "3", "toolCallId": "call0", "name": "add"}
    assert messages[1].to_dict()["content"] == [result]
    progress = [("progress", 0.0, 0), ("progress", 0.5, 0), ("progress", 1.0, 0)]
    assert [entry if entry[0] != "message" else "message" for entry in reported] == [
        ("start", 0),
        *progress,
        ("first", 0),
        ("fragment", "Hm. ", 0),
        ("completed", 0, "Hm. ", "toolCalls"),
        "message",
        "message",
        ("end", 0),
        ("start", 1),
        *[(*entry[:2], 1) for entry in progress],
        ("first", 1),
        ("fragment", "Done.", 1),
        ("completed", 1, "Done.", "eosFound"),
        "message",
        ("end", 1),
    ]
    assert client.settings(0)["llm.prediction.temperature"] == 0
    assert [tool["function"]["name"] for tool in client.settings(0)[TOOLS_KEY]["tools"]] == ["add"]
    assert TOOL_CHOICE_KEY not in client.settings(0)
    roles = [message.role for message in client.asked[1].history.messages]
    assert roles == ["system", "user", "assistant", "tool"]
    assert all(channel.closed for channel in client.channels)


def test_stub_the_messages_continue_a_chat(act: Any) -> None:
    client = StubClient([[*call("add", a=1), success()], ANSWER])
    chat = lm.Chat()
    chat.add_user_message("hi")
    act(client)(chat, [add], on_message=chat.append)
    roles = [message["role"] for message in chat._get_history()["messages"]]
    assert roles == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]


def test_stub_the_last_round_has_no_tools(act: Any) -> None:
    client = StubClient([[*call("add", a=1), success()], ANSWER])
    assert act(client)("hi", [add], max_prediction_rounds=2).rounds == 2
    assert client.settings(0)[TOOLS_KEY]["type"] == "toolArray"
    assert client.settings(1)[TOOLS_KEY] == {"type": "none"}


def test_stub_a_tool_called_in_the_last_round_is_an_error_after_its_messages(act: Any) -> None:
    client = StubClient([[*call("add", a=1), success()]])
    seen: list[Any] = []
    with pytest.raises(lm.PredictionError, match="last round"):
        act(client)("hi", [add], max_prediction_rounds=1, on_message=seen.append)
    assert len(seen) == 2


def test_stub_required_holds_for_the_first_round(act: Any) -> None:
    client = StubClient([[*call("add", a=1), success()], ANSWER])
    act(client)("hi", [add], tool_choice="required")
    assert client.settings(0)[TOOL_CHOICE_KEY] == {"type": "generic", "mode": "required"}
    assert TOOL_CHOICE_KEY not in client.settings(1)


def results(client: StubClient) -> list[str]:
    """Return what the model receives in the second round."""
    return [part.content for part in client.asked[1].history.messages[-1].content]


def test_stub_wrong_requests_and_failures_are_sent_to_the_model(act: Any) -> None:
    script = [*call("nonesuch", 0), *call("add", 1, a="x"), *call("fail", 2, why="boom"), *call("add", 3, a=1)]
    client = StubClient([[*script, success()], ANSWER])
    act(client)("hi", [add, fail])
    unknown, malformed, failed, right = results(client)
    assert unknown == "Cannot find tool with name nonesuch."
    assert malformed.startswith("Failed to parse arguments for tool add: ") and "int" in malformed
    assert json.loads(failed) == "Unhandled Python exception: ValueError('boom')"
    assert right == "2"


def test_stub_the_text_of_an_error_can_be_changed(act: Any) -> None:
    client = StubClient([[*call("nonesuch", 0), *call("fail", 1, why="boom"), success()], ANSWER])
    seen: list[Any] = []

    def handle(error: PredictionError, request: ToolCallRequest | None) -> str | None:
        seen.append((type(error.__cause__), request.name if request else None))
        return "no such thing" if request and request.name == "nonesuch" else None

    act(client)("hi", [add, fail], handle_invalid_tool_request=handle)
    assert results(client) == ["no such thing", json.dumps("Unhandled Python exception: ValueError('boom')")]
    assert seen == [(type(None), "nonesuch"), (ValueError, "fail")]


@pytest.mark.parametrize("script", [call("nonesuch"), call("fail", why="boom"), call("add", a="x")])
def test_stub_an_error_can_be_raised_instead(act: Any, script: list[Any]) -> None:
    client = StubClient([[*script, success()]])

    def handle(error: PredictionError, request: ToolCallRequest | None) -> None:
        raise error

    with pytest.raises(lm.LMStudioPredictionError):
        act(client)("hi", [add, fail], handle_invalid_tool_request=handle)
    assert client.channels[0].closed


def test_stub_the_handler_of_an_error_returns_text(act: Any) -> None:
    client = StubClient([[*call("nonesuch"), success()], ANSWER])
    with pytest.raises(lm.ConfigError, match="handle_invalid_tool_request returned a int"):
        act(client)("hi", [add], handle_invalid_tool_request=lambda error, request: 3)


def test_stub_half_of_a_character_that_a_tool_returns_is_escaped(act: Any) -> None:
    client = StubClient([[*call("look"), success()], ANSWER])
    act(client)("hi", [TOOL])
    assert results(client) == ['"\\ud83d"']


def test_stub_a_coroutine_of_an_ordinary_function_is_refused_by_the_sync_api() -> None:
    async def later() -> str:
        return "late"

    client = StubClient([[*call("look"), success()], ANSWER])
    LLM(AsyncLLM("m", client, "llm")).act("hi", [{**TOOL, "implementation": lambda: later()}])  # type: ignore[arg-type]
    assert "returned a coroutine, and this is the sync API" in results(client)[0]


def test_stub_a_call_that_cannot_be_read_ends_everything(act: Any) -> None:
    failure = ToolCallFailed(error=serialize_error(PredictionError("It cannot be read")), raw_content="{")
    seen: list[Any] = []
    for handle in (None, lambda error, request: seen.append(request) or "x"):
        client = StubClient([[ToolCallStart(), failure, success()]])
        with pytest.raises(lm.PredictionError, match="It cannot be read"):
            act(client)("hi", [add], handle_invalid_tool_request=handle)
        assert client.channels[0].closed
    assert seen == [None]


@pytest.mark.parametrize(("limit", "together"), [(1, 1), (2, 2), (None, 4)])
def test_stub_as_many_tools_run_at_once_as_allowed(act: Any, limit: int | None, together: int) -> None:
    lock, meet = threading.Lock(), threading.Barrier(together)
    running, most, order = 0, 0, []

    def slow(n: int) -> int:
        """Slow."""
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        meet.wait(30)  # so many do run at once, or this breaks
        with lock:
            running -= 1
            order.append(n)
        return n

    script = [message for n in range(4) for message in call("slow", n, n=n)]
    client = StubClient([[*script, success()], ANSWER])
    act(client)("hi", [slow], max_parallel_tool_calls=limit)
    assert most == together
    assert sorted(order) == [0, 1, 2, 3]
    assert results(client) == ["0", "1", "2", "3"], "the results are not in the order of the calls"


def test_stub_callbacks_that_fail_end_nothing(act: Any, caplog: pytest.LogCaptureFixture) -> None:
    client = StubClient([[*call("add", a=1), success()], ANSWER])

    def bad(*_: Any) -> None:
        raise RuntimeError("bad callback")

    names = ("on_message", "on_first_token", "on_prediction_fragment", "on_round_start", "on_round_end")
    assert act(client)("hi", [add], on_prediction_completed=bad, **dict.fromkeys(names, bad)).rounds == 2
    assert "bad callback" in caplog.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_prediction_rounds": 0}, "max_prediction_rounds' is 0"),
        ({"max_parallel_tool_calls": 0}, "max_parallel_tool_calls' is 0"),
        ({"max_prediction_rounds": "2"}, "max_prediction_rounds' is of type str"),
        ({"max_prediction_rounds": True}, "max_prediction_rounds' is of type bool"),
        ({"max_parallel_tool_calls": 1.5}, "max_parallel_tool_calls' is of type float"),
        ({"mcp": 3}, "mcp.*type int"),
        ({"mcp": None}, "mcp.*None"),
        ({"mcp": [3]}, "An MCP server is a int"),
        ({"tools": [{**TOOL, "parameters": None}]}, "parameters of the tool 'look' are not a dict"),
        ({"tools": [{**TOOL, "description": None}]}, "description of the tool 'look' is not a str"),
        ({"tool_choice": "never"}, "tool_choice. is 'never'"),
        ({"tool_choice": "required", "max_prediction_rounds": 1}, "The only round"),
        ({"tools": []}, "no tools"),
        ({"config": {"temperature": "hot"}}, "temperature"),
        ({"chat": 3}, "A chat cannot be made"),
    ],
)
def test_stub_wrong_arguments_are_refused_before_anything_runs(act: Any, options: Any, words: str) -> None:
    client = StubClient([])
    with pytest.raises(lm.ConfigError, match=words):
        act(client)(**{"chat": "hi", "tools": [add], **options})
    assert client.asked == []


def test_stub_a_stopped_prediction_ends_the_rounds(act: Any) -> None:
    client = StubClient([[*call("add", a=1), success("userStopped")]])
    assert act(client)("hi", [add]).rounds == 1


def test_stub_sync_tools_run_away_from_the_thread_that_reads_and_callbacks_in_it() -> None:
    client = StubClient([[*call("where"), success()], ANSWER])
    seen: list[Any] = []

    def where() -> None:
        """Where."""
        seen.append(threading.current_thread())

    handle = AsyncLLM("m", client, "llm")  # type: ignore[arg-type]
    LLM(handle).act("hi", [where], on_message=lambda _: seen.append(threading.current_thread()))
    assert seen[0] is not threading.current_thread() and {*seen[1:]} == {threading.current_thread()}


async def test_stub_async_tools_run_in_the_event_loop() -> None:
    loop = asyncio.get_running_loop()

    async def twice(n: int) -> int:
        """Twice."""
        assert asyncio.get_running_loop() is loop
        await asyncio.sleep(0)
        return 2 * n

    def hidden(n: int) -> Any:
        """Twice, without being marked as async."""
        return twice(n)

    client = StubClient([[*call("twice", 0, n=2), *call("hidden", 1, n=3), success()], ANSWER])
    await AsyncLLM("m", client, "llm").act("hi", [twice, hidden], max_parallel_tool_calls=None)  # type: ignore[arg-type]
    assert results(client) == ["4", "6"]


async def test_stub_cancelling_ends_the_tools() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        """Endless."""
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    client = StubClient([[*call("endless"), success()]])
    task = asyncio.create_task(AsyncLLM("m", client, "llm").act("hi", [endless]))  # type: ignore[arg-type]
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


def test_stub_a_round_result_is_a_prediction_result() -> None:
    seen: list[lm.PredictionRoundResult] = []
    client = StubClient([ANSWER])
    LLM(AsyncLLM("m", client, "llm")).act("hi", [add], on_prediction_completed=seen.append)  # type: ignore[arg-type]
    (result,) = seen
    assert isinstance(result, lm.PredictionResult) and result.round_index == 0
    assert (str(result), result.model_info, result.load_config) == ("Done.", INFO, LoadConfig())
