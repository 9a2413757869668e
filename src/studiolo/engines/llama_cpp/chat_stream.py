"""Chats with tools in the model's own format, by llama-server's ``POST /v1/chat/completions``.

The server renders the chat with the model's template, reads the calls out of what the model writes, and streams both.
Source of the format: llama.cpp, tools/server/README.md and docs/function-calling.md.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import msgspec

from ...config import PredictionConfig
from ...protocol.chat import (
    AnyChatMessage,
    AssistantResponse,
    FileHandle,
    TextData,
    ToolCallRequest,
    ToolCallRequestData,
    ToolResultMessage,
)
from ...protocol.llm import Fragment
from ...protocol.tools import ToolCallArguments, ToolCallEnd, ToolCallEvent, ToolCallName, ToolCallStart
from ..base import EngineEvent, ToolChatRequest
from ..tool_reader import failed_call, new_call_id, parsed_arguments
from .answers import DraftedTokens, End, Progress, Timings, Token, completed, context_full, wanted_candidates
from .params import completion_body
from .tool_parameters import for_converter


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


class _LogProbs(msgspec.Struct):
    content: list[Token] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta
    finish_reason: str | None = None
    logprobs: _LogProbs | None = None


class ChatChunk(msgspec.Struct):
    """One event of a streamed chat."""

    choices: list[_Choice] = msgspec.field(default_factory=list[_Choice])
    prompt_progress: Progress | None = None
    timings: Timings | None = None
    end: End | None = msgspec.field(default=None, name="__verbose")
    error: Any = None

    @property
    def tokens_predicted(self) -> int:
        """Tokens of the answer until now."""
        return self.timings.predicted_n if self.timings else 0


decode_chunk = msgspec.json.Decoder(ChatChunk).decode


def chat_body(request: ToolChatRequest) -> dict[str, Any]:
    """The body of a streamed chat with tools."""
    body = completion_body("", request.config, budget=request.budget)
    for key in ("prompt", "response_fields", "n_keep"):
        body.pop(key, None)
    images = iter(request.images)
    tools = [_for_converter(tool) for tool in request.tools]
    # The template's own variable shows the model the whole definitions.
    shown = {} if tools == list(request.tools) else {"tools": list(request.tools)}
    return {
        **body,
        "messages": [entry for message in request.messages for entry in _entries(message, images)],
        "tools": tools,
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "chat_template_kwargs": {**shown, **request.template_variables},
        "reasoning_format": "none",  # what is thought and what is said is told apart further up
        "timings_per_token": True,
        "verbose": True,  # the last event then says why the answer ended
    }


def _for_converter(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool["function"]
    if "parameters" not in function:
        return tool
    return {**tool, "function": {**function, "parameters": for_converter(function["parameters"])}}


def _entries(message: AnyChatMessage, images: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """A message in OpenAI's form; one of several results becomes several."""
    if isinstance(message, ToolResultMessage):
        for result in message.content:
            named = {} if result.name is None else {"name": result.name}
            yield {"role": "tool", "content": result.content, "tool_call_id": result.tool_call_id or "", **named}
        return
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for part in message.content:
        match part:
            case TextData(text=text):
                parts.append({"type": "text", "text": text})
            case FileHandle():
                image = next(images)
                kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
                url = f"data:image/{kind};base64,{b64encode(image).decode()}"
                parts.append({"type": "image_url", "image_url": {"url": url}})
            case ToolCallRequestData(tool_call_request=request):
                function = {"name": request.name, "arguments": json.dumps(request.arguments or {}, ensure_ascii=False)}
                calls.append({"type": "function", "id": request.id or "", "function": function})
    only_text = all(part["type"] == "text" for part in parts)
    content: Any = "".join(part["text"] for part in parts) if only_text else parts
    entry: dict[str, Any] = {"role": message.role, "content": content}
    if calls and isinstance(message, AssistantResponse):
        entry["tool_calls"] = calls
    yield entry


class ChatReader:
    """Events of a streamed chat in, the engine's events out.

    Parameters:
        config: the settings in force.
        limit: tokens, prompt and answer together, at which the answer ends; ``None`` where the engine sees to that.
    """

    def __init__(self, config: PredictionConfig, limit: int | None = None) -> None:
        self._config = config
        self._limit = limit
        self._open: int | None = None
        self._id = ""
        self._name = ""
        self._arguments = ""
        self._candidates = wanted_candidates(config)
        self._drafted = DraftedTokens()
        self._told = 0  # tokens that events have accounted for

    def feed(self, chunk: ChatChunk) -> list[EngineEvent | ToolCallEvent]:
        """What an event brings; the last list ends in a :class:`Completed`."""
        events: list[EngineEvent | ToolCallEvent] = []
        if chunk.prompt_progress is not None:
            events.append(chunk.prompt_progress.counted())
        for choice in chunk.choices:
            if choice.delta.content:
                events.append(self._fragment(choice.delta.content, choice.logprobs, chunk.timings))
            for call in choice.delta.tool_calls:
                self._take(call, events)
        self._told = max(self._told, chunk.tokens_predicted)
        if chunk.end is not None:
            self._close(events)
            events.append(completed(chunk.end, self._config))
        elif (now := chunk.timings) is not None and self._limit is not None:
            prompt = now.cache_n + now.prompt_n
            if prompt + now.predicted_n >= self._limit:
                self._close(events)
                events.append(context_full(prompt, now.predicted_n, now))
        return events

    def _fragment(self, text: str, logprobs: _LogProbs | None, timings: Timings | None) -> Fragment:
        count = timings.predicted_n - self._told if timings else 1
        told = logprobs.content or () if logprobs and self._candidates is not None else ()
        return Fragment(
            content=text,
            tokens_count=max(count, 0),
            contains_drafted=self._drafted.are_among(count, timings),
            logprobs=[token.told(self._candidates or 0) for token in told] or None,
        )

    def _take(self, call: _CallDelta, events: list[EngineEvent | ToolCallEvent]) -> None:
        if call.index != self._open:
            self._close(events)
            self._open, self._name, self._arguments = call.index, "", ""
            self._id = call.id or new_call_id()
            events.append(ToolCallStart(tool_call_id=self._id))
        function = call.function
        if function is not None and function.name and not self._name:
            self._name = function.name
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
