"""The two ways to run an ``act``: in an event loop, and in a thread. What a round does: :mod:`.tool_rounds`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import inspect
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ..daemon_threads import DaemonThreads
from ..deadline import Deadline
from ..errors import ConfigError
from ..protocol.chat import ToolCallResultData
from ..protocol.kv import KvField
from .async_stream import AsyncPredictionStream
from .background import LOOK_SEC
from .prediction import PredictionCallbacks
from .sync_stream import PredictionStream
from .tool_rounds import ActResult, ActState, Call

MakeStream = Callable[[list[KvField], PredictionCallbacks], AsyncPredictionStream[Any]]
"""Makes the prediction of a round from the round's own settings and callbacks."""


MAX_TOOL_THREADS = 32

CANCEL_LIMIT_SEC = 0.5
"""How long async tools may take to end when they are cancelled; then they are abandoned."""

_log = logging.getLogger("studiolo.client")


async def act_in_loop(state: ActState, make_stream: MakeStream, max_parallel_tool_calls: int | None) -> ActResult:
    """Run all rounds in the event loop. Tools run while the model is still generating; sync ones in threads.

    An exception, such as a cancellation, does not wait for the threads: their tools are abandoned.
    """
    slots = asyncio.Semaphore(max_parallel_tool_calls) if max_parallel_tool_calls else None
    threads = _tool_threads(max_parallel_tool_calls)
    try:
        while state.next_round():
            stream = make_stream(state.settings(), state.prediction_callbacks())
            calls: list[Call] = []
            tasks: list[asyncio.Task[ToolCallResultData]] = []
            in_threads: list[tuple[Call, Future[Any]]] = []
            try:
                async with stream:
                    async for message in stream.messages():
                        if (request := state.take(message)) is not None:
                            calls.append(request)
                            tasks.append(asyncio.create_task(_run(request, slots, threads, in_threads)))
                    result = stream.result()
                state.predicted(result)
                if tasks:
                    await asyncio.wait(tasks, timeout=state.deadline.remaining())
                answers = [_answer(state, request, task) for request, task in zip(calls, tasks, strict=True)]
            finally:
                await _abandon_tasks(calls, tasks, in_threads)
            state.end_round(result, answers)
    finally:
        threads.shutdown(cancel_futures=True)
    return state.result()


async def _run(
    made: Call,
    slots: asyncio.Semaphore | None,
    threads: DaemonThreads,
    in_threads: list[tuple[Call, Future[Any]]],
) -> ToolCallResultData:
    """Make a call and return its result. A call of a sync tool is added to ``in_threads``."""
    tool, arguments = made.tool, made.arguments or {}
    if tool is None:
        return made.answer_text(made.refusal)
    async with slots or contextlib.nullcontext():
        if tool.is_async:
            value = await tool.call(**arguments)
        else:
            run = contextvars.copy_context().run
            future = threads.submit(run, lambda: tool.call(**arguments))
            in_threads.append((made, future))
            value = await asyncio.wrap_future(future)
            if inspect.isawaitable(value):  # a function that returns a coroutine without being marked as async
                value = await value
    return made.answer(value)


async def _abandon_tasks(
    calls: list[Call], tasks: list[asyncio.Task[ToolCallResultData]], in_threads: list[tuple[Call, Future[Any]]]
) -> None:
    """Cancel the tools that still run, and name those that do not end: they run in threads, or ignore it."""
    running = {task: made for made, task in zip(calls, tasks, strict=True) if not task.done()}
    for task in running:
        task.cancel()
    if running:
        _, ignoring = await asyncio.wait(running, timeout=CANCEL_LIMIT_SEC)
        _name_abandoned(
            [made for made, future in in_threads if future.running()] + [running[task] for task in ignoring]
        )
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # mark it as retrieved: an exception may have ended the round first


def act_in_thread(state: ActState, make_stream: MakeStream, max_parallel_tool_calls: int | None) -> ActResult:
    """Run all rounds. Tools run in threads while the model is still generating; callbacks in this one.

    An exception, such as ``KeyboardInterrupt``, does not wait for the threads: their tools are abandoned.
    """
    threads = _tool_threads(max_parallel_tool_calls)
    made: list[tuple[Call, Future[ToolCallResultData]]] = []
    try:
        while state.next_round():
            made = []
            stream = PredictionStream(make_stream(state.settings(), state.prediction_callbacks()))
            with stream:
                for message in stream.messages():
                    if (request := state.take(message)) is not None:
                        made.append((request, threads.submit(contextvars.copy_context().run, _run_in_thread, request)))
                result = stream.result()
            state.predicted(result)
            _wait([future for _, future in made], state.deadline)
            state.end_round(result, [_answer(state, request, future) for request, future in made])
    finally:
        _name_abandoned([request for request, future in made if not future.cancel() and not future.done()])
        threads.shutdown(cancel_futures=True)
    return state.result()


def _wait(futures: list[Future[ToolCallResultData]], deadline: Deadline) -> None:
    """Wait until all are done, or for the deadline; signals are noticed meanwhile."""
    waiting = set(futures)
    while waiting and (left := deadline.remaining()) != 0:
        waiting = concurrent.futures.wait(waiting, LOOK_SEC if left is None else min(left, LOOK_SEC)).not_done


def _tool_threads(max_parallel_tool_calls: int | None) -> DaemonThreads:
    return DaemonThreads(max_parallel_tool_calls or MAX_TOOL_THREADS, "studiolo-tool")


def _name_abandoned(calls: list[Call]) -> None:
    if calls:
        names = ", ".join(repr(made.request.name) for made in calls)
        _log.warning("act() ended while these tools were running; they were abandoned: %s", names)


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
    if not future.done():
        return state.unfinished(made)
    try:
        return future.result()
    except Exception as error:
        return state.failed(made, error)
