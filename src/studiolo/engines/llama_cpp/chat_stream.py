"""Chats with tools in the model's own format, by llama-server's ``POST /v1/chat/completions``.

The server renders the chat with the model's template, reads the calls out of what the model writes, and streams both.
Source of the format: llama.cpp, tools/server/README.md and docs/function-calling.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from ...config import PredictionConfig
from ...protocol.chat import ToolCallRequest
from ...protocol.llm import Fragment
from ...protocol.tools import ToolCallArguments, ToolCallEnd, ToolCallEvent, ToolCallName, ToolCallStart
from ..base import Completed, EngineEvent, PromptProgress
from ..tool_format import ToolNames, failed_call, new_call_id, parsed_arguments
from .params import completion_body


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _CallDelta(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_CallDelta] = msgspec.field(default_factory=list[_CallDelta])


class _Choice(msgspec.Struct):
    delta: _Delta
    finish_reason: str | None = None


class _Progress(msgspec.Struct):
    total: int
    processed: int


class _Timings(msgspec.Struct):
    predicted_per_second: float | None = None


class _End(msgspec.Struct):
    """What the last piece tells in llama-server's own words, where a chat's are too few."""

    stop_type: str = "eos"
    stopping_word: str = ""
    truncated: bool = False
    tokens_predicted: int = 0
    tokens_evaluated: int = 0
    timings: _Timings | None = None


class _Fault(msgspec.Struct):
    message: str = "no reason given"
    type: str = ""
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class ChatChunk(msgspec.Struct):
    """One event of a streamed chat."""

    choices: list[_Choice] = msgspec.field(default_factory=list[_Choice])
    prompt_progress: _Progress | None = None
    end: _End | None = msgspec.field(default=None, name="__verbose")
    error: _Fault | None = None


decode_chunk = msgspec.json.Decoder(ChatChunk).decode


def chat_body(
    messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]], config: PredictionConfig
) -> dict[str, Any]:
    """The body of a streamed chat with tools, all in OpenAI's form."""
    body = completion_body("", config)
    for key in ("prompt", "response_fields"):
        body.pop(key, None)
    return {
        **body,
        "messages": list(messages),
        "tools": list(tools),
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning_format": "none",  # what is thought and what is said is told apart further up
        "verbose": True,  # the last event then says why the answer ended
    }


class ChatReader:
    """Events of a streamed chat in, the engine's events out.

    Parameters:
        names: the tools' names.
    """

    def __init__(self, names: ToolNames) -> None:
        self._names = names
        self._open: int | None = None
        self._id = ""
        self._name = ""
        self._arguments = ""
        self._calls = 0

    def feed(self, chunk: ChatChunk) -> list[EngineEvent | ToolCallEvent]:
        """What an event brings; the last list ends in a :class:`Completed`."""
        events: list[EngineEvent | ToolCallEvent] = []
        if chunk.prompt_progress is not None:
            events.append(PromptProgress(chunk.prompt_progress.processed, chunk.prompt_progress.total))
        for choice in chunk.choices:
            if choice.delta.content:
                events.append(Fragment(content=choice.delta.content))
            for call in choice.delta.tool_calls:
                self._take(call, events)
        if chunk.end is not None:
            self._close(events)
            events.append(self._completed(chunk.end))
        return events

    def _take(self, call: _CallDelta, events: list[EngineEvent | ToolCallEvent]) -> None:
        if call.index != self._open:
            self._close(events)
            self._open, self._name, self._arguments = call.index, "", ""
            self._id = call.id or new_call_id()
            events.append(ToolCallStart(tool_call_id=self._id))
        function = call.function
        if function is not None and function.name and not self._name:
            self._name = self._names.meant(function.name)
            events.append(ToolCallName(name=self._name))
        if function is not None and function.arguments:
            self._arguments += function.arguments
            events.append(ToolCallArguments(content=function.arguments))

    def _close(self, events: list[EngineEvent | ToolCallEvent]) -> None:
        if self._open is None:
            return
        self._open = None
        raw = json.dumps({"name": self._name})[:-1] + f', "arguments": {self._arguments or "{}"}}}'
        try:
            arguments = parsed_arguments(self._arguments)
        except ValueError as error:
            events.append(failed_call(str(error), raw))
            return
        request = ToolCallRequest(type="function", name=self._name, arguments=arguments, id=self._id)
        events.append(ToolCallEnd(tool_call_request=request, raw_content=raw))
        self._calls += 1

    def _completed(self, end: _End) -> Completed:
        reason: Any = "toolCalls" if self._calls else "eosFound"
        if end.stop_type == "word":
            reason = "stopStringFound"
        elif end.stop_type == "limit":
            reason = "contextLengthReached" if end.truncated else "maxPredictedTokensReached"
        return Completed(
            stop_reason=reason,
            stop_string=end.stopping_word or None,
            prompt_tokens=end.tokens_evaluated,
            predicted_tokens=end.tokens_predicted,
            tokens_per_second=end.timings.predicted_per_second if end.timings else None,
        )
