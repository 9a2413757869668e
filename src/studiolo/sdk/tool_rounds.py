"""Rounds of predictions and tool calls: the state that the sync and the async ``act`` share.

Messages and tool results go in; predictions and tool calls to make come out. No I/O happens here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, TypedDict

from ..deadline import UNLIMITED, Deadline
from ..errors import ConfigError, PredictionError
from ..mcp.config import McpServer
from ..protocol.chat import AssistantResponse, ToolCallRequest, ToolCallResultData, ToolResultMessage
from ..protocol.errors import deserialize_error
from ..protocol.kv import KvField
from ..protocol.llm import Fragment, PredictMessage
from ..protocol.tools import ToolCallEnd, ToolCallFailed, encode_tool_use
from .arguments import limit, one_of, optional, time_limit
from .callbacks import call, check_options
from .chat import Chat
from .prediction import PredictionCallbacks, PredictionConfigInput, PredictionResult
from .timeouts import Timeout
from .tool_results import result_as_text
from .tools import BoundTool


@dataclass(frozen=True, kw_only=True, repr=False)
class PredictionRoundResult(PredictionResult[Any]):
    """The result of the prediction of one round.

    Parameters:
        round_index: which round it was, from 0.
    """

    round_index: int

    def __hash__(self) -> int:
        return super().__hash__()

    @classmethod
    def from_result(cls, result: PredictionResult[Any], round_index: int) -> Self:
        """Return ``result`` with the number of its round."""
        values = {field.name: getattr(result, field.name) for field in fields(result) if field.init}
        return cls(round_index=round_index, **values)


@dataclass(frozen=True, kw_only=True, slots=True)
class ActResult:
    """The result of an ``act``.

    Parameters:
        rounds: the number of predictions.
        total_time_seconds: seconds from the call to its return.
        time_limit_reached: whether ``timeout`` ended it.
    """

    rounds: int
    total_time_seconds: float
    time_limit_reached: bool = False


OnMessage = Callable[[AssistantResponse | ToolResultMessage], Any]
HandleInvalidToolRequest = Callable[[PredictionError, ToolCallRequest | None], str | None]


class ActOptions(TypedDict, total=False):
    """The keyword arguments of ``act``; see :meth:`AsyncLLM.act`."""

    mcp: Iterable[McpServer]
    max_prediction_rounds: int | None
    max_parallel_tool_calls: int | None
    tool_choice: Literal["auto", "required"]
    config: PredictionConfigInput | None
    preset: str | None
    timeout: Timeout
    on_message: OnMessage | None
    on_first_token: Callable[[int], Any] | None
    on_prediction_fragment: Callable[[Fragment, int], Any] | None
    on_round_start: Callable[[int], Any] | None
    on_round_end: Callable[[int], Any] | None
    on_prediction_completed: Callable[[PredictionRoundResult], Any] | None
    on_prompt_processing_progress: Callable[[float, int], Any] | None
    handle_invalid_tool_request: HandleInvalidToolRequest | None


def check_act_options(options: ActOptions) -> None:
    """Check what was given to ``act`` by name. Raise :class:`TypeError` or :class:`ConfigError`."""
    check_options("act", options, ActOptions)
    optional(time_limit, options.get("timeout"), "timeout")
    for name in ("max_prediction_rounds", "max_parallel_tool_calls"):
        optional(limit, options.get(name), name)
    choice = one_of("auto", "required")(options.get("tool_choice", "auto"), "tool_choice")
    if choice == "required" and options.get("max_prediction_rounds") == 1:
        raise ConfigError("The only round cannot call a tool, but tool_choice='required' needs a tool call")


@dataclass(frozen=True, kw_only=True)
class Call:
    """A tool call to make.

    Parameters:
        request: the model's request.
        tool: the tool; ``None`` if the request is invalid.
        arguments: its arguments, checked and converted.
        refusal: the answer to the model, if the request is invalid.
    """

    request: ToolCallRequest
    tool: BoundTool | None = None
    arguments: Mapping[str, Any] | None = None
    refusal: str = ""

    def answer(self, value: Any) -> ToolCallResultData:
        """Return the result for the model: ``value`` as JSON."""
        return self.answer_text(result_as_text(value))

    def answer_text(self, text: str) -> ToolCallResultData:
        """Return ``text`` as the result for the model."""
        return ToolCallResultData(content=text, tool_call_id=self.request.id, name=self.request.name)


class ActState:
    """The state of an ``act``.

    Parameters:
        chat: the chat to begin with; it is copied.
        tools: by name; at least one.
        options: as :func:`check_act_options` has checked them.
        deadline: the end of the time for the whole.

    Raises:
        ConfigError: there are no tools.
    """

    def __init__(
        self, chat: Chat, tools: Mapping[str, BoundTool], options: ActOptions, deadline: Deadline = UNLIMITED
    ) -> None:
        if not tools:
            raise ConfigError("act() was given no tools", suggestion="Use respond() to predict without tools.")
        self.chat = chat
        self.deadline = deadline
        self.round_index = -1
        self._tools = tools
        self._options = options
        self._limit = options.get("max_prediction_rounds")
        self._requests: list[ToolCallRequest] = []
        self._began = time.perf_counter()
        self._done = False
        self._timed_out = False

    @property
    def is_last_round(self) -> bool:
        """Whether the caller allows no round after this one."""
        return self._limit is not None and self.round_index + 1 >= self._limit

    def next_round(self) -> bool:
        """Begin the next round; return whether there is one."""
        if self._done:
            return False
        self.round_index += 1
        self._requests = []
        call(self._options.get("on_round_start"), self.round_index)
        return True

    def settings(self) -> list[KvField]:
        """Return the settings that give this round's prediction its tools."""
        if self.is_last_round:
            return encode_tool_use([])
        required = self._options.get("tool_choice") == "required" and self.round_index == 0
        return encode_tool_use([tool.definition for tool in self._tools.values()], "required" if required else None)

    def prediction_callbacks(self) -> PredictionCallbacks:
        """Return the callbacks of this round's prediction, which add the round's number."""
        index = self.round_index
        first = self._options.get("on_first_token")
        fragment = self._options.get("on_prediction_fragment")
        progress = self._options.get("on_prompt_processing_progress")
        return {
            "on_first_token": None if first is None else lambda: first(index),
            "on_prediction_fragment": None if fragment is None else lambda piece: fragment(piece, index),
            "on_prompt_processing_progress": None if progress is None else lambda done: progress(done, index),
        }

    def take(self, message: PredictMessage) -> Call | None:
        """Process a message of the prediction; return the tool call that it requests, if any.

        Raises:
            PredictionError: the model's call cannot be parsed.
            Exception: what the caller's ``handle_invalid_tool_request`` raises.
        """
        match message:
            case ToolCallEnd(tool_call_request=request):
                self._requests.append(request)
                return self._prepared(request)
            case ToolCallFailed(error=error):
                fault = deserialize_error(error)
                self._invalid(PredictionError(fault.title, cause=fault.cause, data={"rawContent": message.raw_content}))
            case _:
                pass
        return None

    def failed(self, made: Call, error: Exception) -> ToolCallResultData:
        """Return the result for the model of a call that raised."""
        wrapped = PredictionError(f"Unhandled Python exception: {error!r}")
        wrapped.__cause__ = error
        return made.answer_text(json.dumps(self._invalid(wrapped, made.request), ensure_ascii=False))

    def unfinished(self, made: Call) -> ToolCallResultData:
        """Return the result for the model of a call that has not ended at the time limit."""
        error = PredictionError(
            f"The tool {made.request.name} did not end within the time limit of {self.deadline.limit_sec:g} s"
        )
        return made.answer_text(json.dumps(self._invalid(error, made.request), ensure_ascii=False))

    def predicted(self, result: PredictionResult[Any]) -> None:
        """Process the result of this round's prediction; tools may still be running."""
        call(self._options.get("on_prediction_completed"), PredictionRoundResult.from_result(result, self.round_index))

    def end_round(self, result: PredictionResult[Any], answers: Sequence[ToolCallResultData]) -> None:
        """Process the results of the round's tool calls, in the order of the calls, and end the round.

        Raises:
            PredictionError: the model called a tool in the last round, which has none.
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
            call(self._options.get("on_message"), message)
        call(self._options.get("on_round_end"), self.round_index)
        cut_short = result.stats.stop_reason in ("userStopped", "timeLimitReached", "modelUnloaded", "failed")
        is_late = bool(self._requests) and self.deadline.has_passed
        self._timed_out = result.stats.stop_reason == "timeLimitReached" or is_late
        self._done = not self._requests or cut_short or self._timed_out
        if self._requests and self.is_last_round:
            self._done = True
            self._invalid(PredictionError("The model called a tool in the last round, which has none"))

    def result(self) -> ActResult:
        """Return the result of the whole."""
        return ActResult(
            rounds=self.round_index + 1,
            total_time_seconds=time.perf_counter() - self._began,
            time_limit_reached=self._timed_out,
        )

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
        """Return the answer to a failed call; raise ``error`` if there is no call to answer."""
        handle = self._options.get("handle_invalid_tool_request")
        text = handle(error, request) if handle is not None else None
        if request is None:
            raise error
        if text is not None and not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(
                f"handle_invalid_tool_request returned a {type(text).__name__}",
                cause="It must return the text for the model, or None for the error's own text.",
            )
        return error.title if text is None else text
