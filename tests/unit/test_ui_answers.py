"""The permission for each call of a tool in the pages. The model and the server of the tool are stubs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("nicegui")

from studiolo.chats.partial_answer import REFUSED
from studiolo.config import PredictionConfig
from studiolo.domain.chat import Text, Tool
from studiolo.sdk.tools import BoundTool
from studiolo.store.conversation import Conversation, ConversationMessage
from studiolo.ui.backend import use_backend
from studiolo.ui.chat import answers
from studiolo.ui.chat.answers import Answer, PendingCall

CALLS = 3
"""How often the stub of a model calls the tool, one call after the other."""


@pytest.fixture
def returned(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What each call has returned to the stub of a model, which calls the tool ``look``."""
    returned: list[Any] = []

    async def look(**arguments: Any) -> str:
        return "seen"

    async def act(chat: Any, tools: list[BoundTool], **options: Any) -> None:
        for _ in range(CALLS):
            returned.append(await tools[0].call())

    async def model(*arguments: Any, **options: Any) -> Any:
        return SimpleNamespace(act=act)

    @contextlib.asynccontextmanager
    async def tools(servers: list[str]) -> AsyncIterator[dict[str, BoundTool]]:
        tool = Tool("look", "Look.")
        yield {"look": BoundTool(definition=tool, arguments=dict, call=look, is_async=True)}

    monkeypatch.setattr(answers, "mcp_tools", tools)
    backend: Any = SimpleNamespace(
        client=SimpleNamespace(llm=SimpleNamespace(model=model)), may_use_mcp_json=lambda owner: True
    )
    use_backend(backend)
    yield returned
    use_backend(None)


async def next_call(answer: Answer, before: PendingCall | None = None) -> PendingCall:
    """Wait until a call after ``before`` waits for permission, and return it."""
    async with asyncio.timeout(20):
        while True:
            if answer.calls and answer.calls[0] is not before:
                return answer.calls[0]
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def answering() -> AsyncIterator[Answer]:
    """An answer whose model waits for the permission of its first call."""
    question = ConversationMessage(role="user", parts=[Text("What is there?")])
    live: Any = SimpleNamespace(
        conversation=Conversation(model="m", tools=["eye"]),
        config=PredictionConfig(),
        owner="",
        branch=[question],
        changed=lambda: None,
        keep=lambda message: None,
    )
    ended = asyncio.get_running_loop().create_future()
    answer = Answer(live, ended.set_result)
    await next_call(answer)
    yield answer
    assert await ended is None


async def test_each_call_is_asked_for_and_one_that_is_refused_is_not_made(returned: list[Any]) -> None:
    async with answering() as answer:
        call = answer.calls[0]
        for allowed in (True, False):
            call.decide(allowed)
            call = await next_call(answer, call)
        call.decide(True)
        await answer.ended()
    assert returned == ["seen", REFUSED, "seen"]


async def test_a_tool_that_is_allowed_for_the_answer_is_not_asked_for_again(returned: list[Any]) -> None:
    async with answering() as answer:
        answer.allow_always(answer.calls[0])
        await answer.ended()
    assert returned == ["seen"] * CALLS


async def test_an_answer_that_is_stopped_makes_no_call_that_waits(returned: list[Any]) -> None:
    async with answering() as answer:
        answer.stop()
        await answer.ended()
    assert returned == []
