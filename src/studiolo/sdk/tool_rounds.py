"""Rounds of predictions and tool calls: the state that the sync and the async ``act`` share.

Messages and the results of tools go in; what to predict and what to call comes out. No I/O happens here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from ..errors import ConfigError, PredictionError
from ..protocol.chat import AssistantResponse, ToolCallRequest, ToolCallResultData, ToolResultMessage
from ..protocol.errors import deserialize_error
from ..protocol.kv import KvField
from ..protocol.llm import Fragment, PredictMessage
from ..protocol.tools import ToolCallEnd, ToolCallFailed, ToolChoice, encode_tool_use
from .callbacks import call, check_callbacks
from .chat import Chat
from .prediction import Callbacks, PredictionResult
from .tools import BoundTool, result_as_text


@dataclass(frozen=True, kw_only=True, repr=False)
class PredictionRoundResult(PredictionResult[Any]):
    """The result of the prediction of one round.

    Parameters:
        round_index: which round it was, from 0.
    """

    round_index: int

    @classmethod
    def from_result(cls, result: PredictionResult[Any], round_index: int) -> Self:
        """``result``, as that of a round."""
        values = {field.name: getattr(result, field.name) for field in fields(result) if field.init}
        return cls(round_index=round_index, **values)


@dataclass(frozen=True, kw_only=True, slots=True)
class ActResult:
    """How an ``act`` went.

    Parameters:
        rounds: how many predictions were made.
        total_time_seconds: seconds from the call to its end.
    """

    rounds: int
    total_time_seconds: float


OnMessage = Callable[[AssistantResponse | ToolResultMessage], Any]
HandleInvalidToolRequest = Callable[[PredictionError, ToolCallRequest | None], str | None]


@dataclass(frozen=True, kw_only=True)
class ActCallbacks:
    """What a caller of ``act`` wants to be told; see :meth:`AsyncLLM.act`."""

    on_message: OnMessage | None = None
    on_first_token: Callable[[int], Any] | None = None
    on_prediction_fragment: Callable[[Fragment, int], Any] | None = None
    on_round_start: Callable[[int], Any] | None = None
    on_round_end: Callable[[int], Any] | None = None
    on_prediction_completed: Callable[[PredictionRoundResult], Any] | None = None
    on_prompt_processing_progress: Callable[[float, int], Any] | None = None
    handle_invalid_tool_request: HandleInvalidToolRequest | None = None

    def __post_init__(self) -> None:
        check_callbacks(self)


def check_count(name: str, limit: int | None) -> None:
    """Raise :class:`ConfigError` where ``limit``, the argument ``name``, is no number of things that can be."""
    right = isinstance(limit, int) and not isinstance(limit, bool) and limit >= 1
    if limit is not None and not right:
        raise ConfigError(f"{name} is {limit!r}, and must be a whole number of at least 1, or None for no limit")


@dataclass(frozen=True, kw_only=True)
class Call:
    """A tool call to make.

    Parameters:
        request: what the model asked for.
        tool: the tool; none where the request is wrong.
        arguments: its arguments, checked and converted.
        refusal: what the model is told instead, where the request is wrong.
    """

    request: ToolCallRequest
    tool: BoundTool | None = None
    arguments: Mapping[str, Any] | None = None
    refusal: str = ""

    def answer(self, value: Any) -> ToolCallResultData:
        """The result for the model. Raises where ``value`` cannot be JSON."""
        return self.told(result_as_text(value))

    def told(self, text: str) -> ToolCallResultData:
        """``text`` as the result for the model."""
        return ToolCallResultData(content=text, tool_call_id=self.request.id, name=self.request.name)


class ActState:
    """Where an ``act`` is.

    Parameters:
        chat: what it begins with; it is left as it is.
        tools: by name; at least one.
        callbacks: whom to tell.
        max_prediction_rounds: at most so many predictions, the last of them without tools.
        tool_choice: ``required``: the first prediction must call a tool.

    Raises:
        ConfigError: a number is out of range, or there are no tools.
    """

    def __init__(
        self,
        chat: Chat,
        tools: Mapping[str, BoundTool],
        callbacks: ActCallbacks,
        *,
        max_prediction_rounds: int | None = None,
        tool_choice: ToolChoice = "auto",
    ) -> None:
        if not tools:
            raise ConfigError("act() was given no tools", suggestion="Use respond() where there are none.")
        check_count("max_prediction_rounds", max_prediction_rounds)
        if tool_choice not in ("auto", "required"):
            raise ConfigError(f"tool_choice is {tool_choice!r}, and can be 'auto' or 'required'")
        if tool_choice == "required" and max_prediction_rounds == 1:
            raise ConfigError("The only round cannot call a tool, and tool_choice='required' demands it")
        self.chat = chat
        self.round_index = -1
        self._tools = tools
        self._callbacks = callbacks
        self._limit = max_prediction_rounds
        self._choice: ToolChoice = tool_choice
        self._requests: list[ToolCallRequest] = []
        self._began = time.perf_counter()
        self._done = False

    @property
    def is_last_round(self) -> bool:
        """Whether this round is the last that the caller allows."""
        return self._limit is not None and self.round_index + 1 >= self._limit

    def next_round(self) -> bool:
        """Go on to the next round; whether there is one."""
        if self._done:
            return False
        self.round_index += 1
        self._requests = []
        call(self._callbacks.on_round_start, self.round_index)
        return True

    def settings(self) -> list[KvField]:
        """The settings that give this round's prediction its tools."""
        if self.is_last_round:
            return encode_tool_use([])
        required = self._choice == "required" and self.round_index == 0
        return encode_tool_use([tool.definition for tool in self._tools.values()], "required" if required else None)

    def prediction_callbacks(self) -> Callbacks:
        """What this round's prediction tells, with the round's number."""
        told, index = self._callbacks, self.round_index
        first, fragment, progress = (
            told.on_first_token,
            told.on_prediction_fragment,
            told.on_prompt_processing_progress,
        )
        return Callbacks(
            on_first_token=None if first is None else lambda: first(index),
            on_prediction_fragment=None if fragment is None else lambda piece: fragment(piece, index),
            on_prompt_processing_progress=None if progress is None else lambda share: progress(share, index),
        )

    def take(self, message: PredictMessage) -> Call | None:
        """Take in a message of the prediction; returns the tool call that it asks for.

        Raises:
            PredictionError: the model's call cannot be read.
            Exception: whatever the caller's ``handle_invalid_tool_request`` raises.
        """
        match message:
            case ToolCallEnd(tool_call_request=request):
                self._requests.append(request)
                return self._prepared(request)
            case ToolCallFailed(error=error):
                told = deserialize_error(error)
                self._invalid(PredictionError(told.title, cause=told.cause, data={"rawContent": message.raw_content}))
            case _:
                pass
        return None

    def failed(self, made: Call, error: Exception) -> ToolCallResultData:
        """The result for the model of a call that ended in an exception."""
        told = PredictionError(f"Unhandled Python exception: {error!r}")
        told.__cause__ = error
        return made.told(json.dumps(self._invalid(told, made.request), ensure_ascii=False))

    def predicted(self, result: PredictionResult[Any]) -> None:
        """Take in the result of this round's prediction; the tools may still be running."""
        call(self._callbacks.on_prediction_completed, PredictionRoundResult.from_result(result, self.round_index))

    def end_round(self, result: PredictionResult[Any], answers: Sequence[ToolCallResultData]) -> None:
        """Take in the results of the round's tool calls, in the order of the calls, and end the round.

        Raises:
            PredictionError: tools were called where none were to be had.
        """
        messages: list[AssistantResponse | ToolResultMessage]
        if self._requests:
            messages = [
                self.chat.add_assistant_response(result, self._requests),
                self.chat.add_tool_results(answers),
            ]
        else:
            messages = [self.chat.add_assistant_response(result)]
        for message in messages:
            call(self._callbacks.on_message, message)
        call(self._callbacks.on_round_end, self.round_index)
        cut_short = result.stats.stop_reason in ("userStopped", "modelUnloaded", "failed")
        self._done = not self._requests or cut_short
        if self._requests and self.is_last_round:
            self._done = True
            self._invalid(PredictionError("The model called a tool in the last round, which has none"))

    def result(self) -> ActResult:
        """How it went."""
        return ActResult(rounds=self.round_index + 1, total_time_seconds=time.perf_counter() - self._began)

    def _prepared(self, request: ToolCallRequest) -> Call:
        tool = self._tools.get(request.name)
        if tool is None:
            error = PredictionError(f"Cannot find tool with name {request.name}.")
            return Call(request=request, refusal=self._invalid(error, request))
        try:
            arguments = tool.arguments(request.arguments or {})
        except Exception as cause:
            error = PredictionError(f"Failed to parse arguments for tool {request.name}: {cause}")
            error.__cause__ = cause
            return Call(request=request, refusal=self._invalid(error, request))
        return Call(request=request, tool=tool, arguments=arguments)

    def _invalid(self, error: PredictionError, request: ToolCallRequest | None = None) -> str:
        """What the model is told of a failed call; raises ``error`` where there is no call to answer."""
        handle = self._callbacks.handle_invalid_tool_request
        text = handle(error, request) if handle is not None else None
        if request is None:
            raise error
        if text is not None and not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(
                f"handle_invalid_tool_request returned a {type(text).__name__}",
                cause="What it returns is told to the model: a text, or None for the error's own words.",
            )
        return error.title if text is None else text
