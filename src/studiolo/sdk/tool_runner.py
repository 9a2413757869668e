"""The two ways to run an ``act``: in an event loop, and in a thread. What a round does: :mod:`.tool_rounds`."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

from ..config import prediction_config
from ..errors import ConfigError
from ..protocol.chat import ToolCallResultData
from ..protocol.kv import KvConfig, KvField, encode_prediction_config, stack_of
from ..protocol.llm import Fragment, PredictParameter
from ..protocol.models import ModelSpecifier
from .async_stream import AsyncPredictionStream
from .chat import Chat
from .mcp import McpServer, mcp_tools, mcp_tools_from_thread
from .prediction import Callbacks
from .tool_rounds import (
    ActCallbacks,
    ActResult,
    ActState,
    Call,
    HandleInvalidToolRequest,
    OnMessage,
    PredictionRoundResult,
    check_count,
)
from .tools import ToolDefinition, bind_tools

if TYPE_CHECKING:
    from .async_client import AsyncClient
    from .async_models import AsyncLLM, HistoryInput, PredictionConfigInput

MakeStream = Callable[[list[KvField], Callbacks], AsyncPredictionStream[Any]]
"""Makes the prediction of a round from the settings and callbacks that are the round's own."""


async def act_async(state: ActState, make_stream: MakeStream, max_parallel_tool_calls: int | None) -> ActResult:
    """Run ``state`` to its end. Tools run while the model is still writing; sync ones in threads."""
    places = asyncio.Semaphore(max_parallel_tool_calls) if max_parallel_tool_calls else None
    while state.next_round():
        stream = make_stream(state.settings(), state.prediction_callbacks())
        calls: list[Call] = []
        tasks: list[asyncio.Task[ToolCallResultData]] = []
        try:
            async with stream:
                while not stream.state.finished:
                    for message in await stream.next_messages():
                        stream.state.take(message)
                        if (asked := state.take(message)) is not None:
                            calls.append(asked)
                            tasks.append(asyncio.create_task(_run(asked, places)))
                result = stream.result()
            state.predicted(result)
            if tasks:
                await asyncio.wait(tasks)
            answers = [_answer(state, asked, task) for asked, task in zip(calls, tasks, strict=True)]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        state.end_round(result, answers)
    return state.result()


async def _run(made: Call, places: asyncio.Semaphore | None) -> ToolCallResultData:
    if places is None:
        return await _called(made)
    async with places:
        return await _called(made)


async def _called(made: Call) -> ToolCallResultData:
    tool, arguments = made.tool, made.arguments or {}
    if tool is None:
        return made.told(made.refusal)
    if tool.is_async:
        value = await tool.call(**arguments)
    else:
        value = await asyncio.to_thread(tool.call, **arguments)
        if inspect.isawaitable(value):  # a function that returns a coroutine without being marked as async
            value = await value
    return made.answer(value)


def act_in_thread(state: ActState, make_stream: MakeStream, max_parallel_tool_calls: int | None) -> ActResult:
    """Run ``state`` to its end. Tools run in threads while the model is still writing; callbacks in this one."""
    from .sync_models import PredictionStream

    pool = ThreadPoolExecutor(max_parallel_tool_calls or 32, thread_name_prefix="studiolo-tool")
    try:
        while state.next_round():
            stream = PredictionStream(make_stream(state.settings(), state.prediction_callbacks()))
            made: list[tuple[Call, Future[ToolCallResultData]]] = []
            with stream:
                for message in stream.messages():
                    if (asked := state.take(message)) is not None:
                        made.append((asked, pool.submit(contextvars.copy_context().run, _called_here, asked)))
                result = stream.result()
            state.predicted(result)
            state.end_round(result, [_answer(state, asked, future) for asked, future in made])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return state.result()


def _called_here(made: Call) -> ToolCallResultData:
    if made.tool is None:
        return made.told(made.refusal)
    value = made.tool.call(**(made.arguments or {}))
    if inspect.iscoroutine(value):  # of a function that is not marked as async
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


class AsyncActing:
    """``act`` for a handle of the async API."""

    _client: AsyncClient

    @property
    def _specifier(self) -> ModelSpecifier:
        raise NotImplementedError

    async def act(
        self,
        chat: HistoryInput,
        tools: Iterable[ToolDefinition] = (),
        *,
        mcp: Iterable[McpServer] = (),
        max_prediction_rounds: int | None = None,
        max_parallel_tool_calls: int | None = 1,
        tool_choice: Literal["auto", "required"] = "auto",
        config: PredictionConfigInput | None = None,
        preset: str | None = None,
        on_message: OnMessage | None = None,
        on_first_token: Callable[[int], Any] | None = None,
        on_prediction_fragment: Callable[[Fragment, int], Any] | None = None,
        on_round_start: Callable[[int], Any] | None = None,
        on_round_end: Callable[[int], Any] | None = None,
        on_prediction_completed: Callable[[PredictionRoundResult], Any] | None = None,
        on_prompt_processing_progress: Callable[[float, int], Any] | None = None,
        handle_invalid_tool_request: HandleInvalidToolRequest | None = None,
    ) -> ActResult:
        """Answer with the help of tools: predict, call what the model asks for, and again until it asks no more.

        Parameters:
            chat: what has been said, or just a text; it is left as it is, see ``on_message``.
            tools: functions with type hints and a docstring, :class:`ToolFunctionDef`, or dicts of its fields. They may
                be async; others are called in threads.
            mcp: servers whose tools are added; see :mod:`studiolo.sdk.mcp`.
            max_prediction_rounds: at most so many predictions; the last has no tools. By default as many as it takes.
            max_parallel_tool_calls: how many tools may run at once; ``None`` for no limit.
            tool_choice: ``required`` makes the first prediction call a tool.
            config: the settings of every prediction; see :class:`~studiolo.config.PredictionConfig`.
            preset: a preset of the host's.
            on_message: called with every message that the chat grows by; append it to a chat to go on with it later.
            on_first_token: called with the round's number, from 0, before the first fragment.
            on_prediction_fragment: called with every fragment and the round's number.
            on_round_start, on_round_end: called with the round's number.
            on_prediction_completed: called with the result of every prediction; tools may still be running.
            on_prompt_processing_progress: called with the share of the prompt that is processed and the round's number.
            handle_invalid_tool_request: called with the error and the request when a call cannot be made or fails. What
                it returns is told to the model, the error's text where it returns ``None``; what it raises ends
                everything. Without a request the call could not be read: the error is raised in any case.

        Raises:
            ConfigError: a tool, a server or a setting is wrong.
            PredictionError: the model wrote a call that cannot be read, or called a tool in the last round.
        """
        check_count("max_parallel_tool_calls", max_parallel_tool_calls)
        callbacks = ActCallbacks(
            on_message=on_message,
            on_first_token=on_first_token,
            on_prediction_fragment=on_prediction_fragment,
            on_round_start=on_round_start,
            on_round_end=on_round_end,
            on_prediction_completed=on_prediction_completed,
            on_prompt_processing_progress=on_prompt_processing_progress,
            handle_invalid_tool_request=handle_invalid_tool_request,
        )
        bound = bind_tools(tools, allow_async=True)
        async with mcp_tools(mcp, bound) as more:
            state = ActState(
                Chat.from_history(chat),
                {**bound, **more},
                callbacks,
                max_prediction_rounds=max_prediction_rounds,
                tool_choice=tool_choice,
            )
            return await act_async(state, self.round_maker(state, config, preset), max_parallel_tool_calls)

    def round_maker(self, state: ActState, config: PredictionConfigInput | None, preset: str | None) -> MakeStream:
        """What makes the predictions of an ``act``."""
        fields = encode_prediction_config(prediction_config(config)).fields

        def make(more: list[KvField], callbacks: Callbacks) -> AsyncPredictionStream[Any]:
            parameter = PredictParameter(
                model_specifier=self._specifier,
                history=state.chat.history_data(),
                prediction_config_stack=stack_of(KvConfig(fields=[*fields, *more])),
                fuzzy_preset_identifier=preset,
            )
            return AsyncPredictionStream(self._client, parameter, callbacks)

        return make


class Acting:
    """``act`` for a handle of the sync API."""

    _handle: AsyncLLM

    def act(
        self,
        chat: HistoryInput,
        tools: Iterable[ToolDefinition] = (),
        *,
        mcp: Iterable[McpServer] = (),
        max_prediction_rounds: int | None = None,
        max_parallel_tool_calls: int | None = 1,
        tool_choice: Literal["auto", "required"] = "auto",
        config: PredictionConfigInput | None = None,
        preset: str | None = None,
        on_message: OnMessage | None = None,
        on_first_token: Callable[[int], Any] | None = None,
        on_prediction_fragment: Callable[[Fragment, int], Any] | None = None,
        on_round_start: Callable[[int], Any] | None = None,
        on_round_end: Callable[[int], Any] | None = None,
        on_prediction_completed: Callable[[PredictionRoundResult], Any] | None = None,
        on_prompt_processing_progress: Callable[[float, int], Any] | None = None,
        handle_invalid_tool_request: HandleInvalidToolRequest | None = None,
    ) -> ActResult:
        """See :meth:`AsyncLLM.act`. Callbacks are called in this thread, tools in others; none may be async."""
        check_count("max_parallel_tool_calls", max_parallel_tool_calls)
        callbacks = ActCallbacks(
            on_message=on_message,
            on_first_token=on_first_token,
            on_prediction_fragment=on_prediction_fragment,
            on_round_start=on_round_start,
            on_round_end=on_round_end,
            on_prediction_completed=on_prediction_completed,
            on_prompt_processing_progress=on_prompt_processing_progress,
            handle_invalid_tool_request=handle_invalid_tool_request,
        )
        bound = bind_tools(tools, allow_async=False)
        with mcp_tools_from_thread(mcp, bound) as more:
            state = ActState(
                Chat.from_history(chat),
                {**bound, **more},
                callbacks,
                max_prediction_rounds=max_prediction_rounds,
                tool_choice=tool_choice,
            )
            return act_in_thread(state, self._handle.round_maker(state, config, preset), max_parallel_tool_calls)
