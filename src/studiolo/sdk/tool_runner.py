"""The two ways to run an ``act``: in an event loop, and in a thread. What a round does: :mod:`.tool_rounds`."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ..errors import ConfigError
from ..protocol.chat import ToolCallResultData
from ..protocol.kv import KvField
from .async_stream import AsyncPredictionStream
from .prediction import PredictionCallbacks
from .sync_stream import PredictionStream
from .tool_rounds import ActResult, ActState, Call

MakeStream = Callable[[list[KvField], PredictionCallbacks], AsyncPredictionStream[Any]]
"""Makes the prediction of a round from the round's own settings and callbacks."""


async def act_in_loop(state: ActState, make_stream: MakeStream, max_parallel_tool_calls: int | None) -> ActResult:
    """Run all rounds in the event loop. Tools run while the model is still generating; sync ones in threads."""
    slots = asyncio.Semaphore(max_parallel_tool_calls) if max_parallel_tool_calls else None
    while state.next_round():
        stream = make_stream(state.settings(), state.prediction_callbacks())
        calls: list[Call] = []
        tasks: list[asyncio.Task[ToolCallResultData]] = []
        try:
            async with stream:
                async for message in stream.messages():
                    if (request := state.take(message)) is not None:
                        calls.append(request)
                        tasks.append(asyncio.create_task(_run(request, slots)))
                result = stream.result()
            state.predicted(result)
            if tasks:
                await asyncio.wait(tasks)
            answers = [_answer(state, request, task) for request, task in zip(calls, tasks, strict=True)]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        state.end_round(result, answers)
    return state.result()


async def _run(made: Call, slots: asyncio.Semaphore | None) -> ToolCallResultData:
    tool, arguments = made.tool, made.arguments or {}
    if tool is None:
        return made.answer_text(made.refusal)
    async with slots or contextlib.nullcontext():
        if tool.is_async:
            value = await tool.call(**arguments)
        else:
            value = await asyncio.to_thread(tool.call, **arguments)
            if inspect.isawaitable(value):  # a function that returns a coroutine without being marked as async
                value = await value
    return made.answer(value)


def act_in_thread(state: ActState, make_stream: MakeStream, max_parallel_tool_calls: int | None) -> ActResult:
    """Run all rounds. Tools run in threads while the model is still generating; callbacks in this one."""
    pool = ThreadPoolExecutor(max_parallel_tool_calls or 32, thread_name_prefix="studiolo-tool")
    try:
        while state.next_round():
            stream = PredictionStream(make_stream(state.settings(), state.prediction_callbacks()))
            made: list[tuple[Call, Future[ToolCallResultData]]] = []
            with stream:
                for message in stream.messages():
                    if (request := state.take(message)) is not None:
                        made.append((request, pool.submit(contextvars.copy_context().run, _run_in_thread, request)))
                result = stream.result()
            state.predicted(result)
            state.end_round(result, [_answer(state, request, future) for request, future in made])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return state.result()


def _run_in_thread(made: Call) -> ToolCallResultData:
    if made.tool is None:
        return made.answer_text(made.refusal)
    value = made.tool.call(**(made.arguments or {}))
    if inspect.iscoroutine(value):  # from a function that is not marked as async
        value.close()
        raise ConfigError(
            f"The tool {made.tool.name!r} returned a coroutine, and this is the sync API",
            suggestion="Use AsyncClient, or make the tool an ordinary function.",
        )
    return made.answer(value)


def _answer(state: ActState, made: Call, future: Future[ToolCallResultData] | asyncio.Task[Any]) -> ToolCallResultData:
    try:
        return future.result()
    except Exception as error:
        return state.failed(made, error)
