"""A host that follows a script, for tests of ``act`` and of streams: it answers each prediction with the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from studiolo.protocol.chat import ToolCallRequest
from studiolo.protocol.kv import KvConfig, flatten
from studiolo.protocol.llm import Fragment, FragmentMessage, PredictionStats, PredictSuccess, PromptProcessingProgress
from studiolo.protocol.models import LlmInstanceInfo
from studiolo.protocol.tools import ToolCallEnd, ToolCallStart

INFO = LlmInstanceInfo(
    model_key="m",
    format="gguf",
    display_name="M",
    path="m",
    size_bytes=1,
    identifier="m",
    instance_reference="r",
    vision=False,
    trained_for_tool_use=False,
    max_context_length=4096,
    context_length=4096,
)


def success(reason: Any = "toolCalls") -> PredictSuccess:
    empty = KvConfig(fields=[])
    return PredictSuccess(
        stats=PredictionStats(stop_reason=reason), model_info=INFO, load_model_config=empty, prediction_config=empty
    )


def call(name: str, number: int = 0, **arguments: Any) -> list[Any]:
    identifier = f"call{number}"
    request = ToolCallRequest(type="function", name=name, arguments=arguments, id=identifier)
    return [ToolCallStart(tool_call_id=identifier), ToolCallEnd(tool_call_request=request)]


def says(text: str) -> list[Any]:
    return [PromptProcessingProgress(progress=0.5), FragmentMessage(fragment=Fragment(content=text))]


ANSWER = [*says("Done."), success("eosFound")]


class StubChannel:
    def __init__(self, script: list[Any]) -> None:
        self._script = iter(script)
        self.closed = False

    def receive_blocking(self, limit_sec: float | None) -> list[Any]:
        return [next(self._script)]

    async def receive(self, limit_sec: float | None) -> list[Any]:
        await asyncio.sleep(0)
        return [next(self._script)]

    def cancel(self) -> None:
        pass

    async def close(self) -> None:
        self.closed = True


class StubClient:
    """Answers each prediction with the next script."""

    def __init__(self, scripts: list[list[Any]]) -> None:
        self.scripts: Iterator[list[Any]] = iter(scripts)
        self.asked: list[Any] = []
        self.channels: list[StubChannel] = []

    async def open(self, namespace: str, endpoint: Any, parameter: Any) -> StubChannel:
        self.asked.append(parameter)
        self.channels.append(StubChannel(next(self.scripts)))
        return self.channels[-1]

    def settings(self, number: int) -> dict[str, Any]:
        return flatten(self.asked[number].prediction_config_stack)
