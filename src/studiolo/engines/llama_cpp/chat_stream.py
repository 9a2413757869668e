"""Chats with tools in the model's own format, by llama-server's ``POST /v1/chat/completions``.

The server renders the chat with the model's template, reads the calls out of what the model writes, and streams both.
Source of the format: llama.cpp, tools/server/README.md and docs/function-calling.md.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from ...config import LoraSetting, PredictionConfig
from ...domain.chat import Audio, File, Image, Message, Text, ToolCall, ToolResult
from ...domain.generation import (
    Fragment,
    ToolCallArguments,
    ToolCallEvent,
    ToolCallFinished,
    ToolCallNamed,
    ToolCallStarted,
)
from ...errors import UnsupportedError
from ...struct_types import examined
from ..base import EngineEvent, ToolChatRequest
from ..chat_templates.control_tokens import NO_TOKENS, ControlTokens
from ..prompt import WORD_JOINER
from ..tool_reader import failed_call, new_call_id, parsed_arguments
from .answers import Fault
from .params import completion_body
from .stream_events import DraftedTokens, End, Progress, Timings, Token, completed, context_full
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
    error: Fault | None = None

    @property
    def tokens_predicted(self) -> int:
        """Tokens of the answer so far."""
        return self.timings.predicted_n if self.timings else 0


decode_chunk = msgspec.json.Decoder(examined(ChatChunk)).decode


def chat_body(
    request: ToolChatRequest, tokens: ControlTokens = NO_TOKENS, adapters: Sequence[LoraSetting] = ()
) -> dict[str, Any]:
    """Return the body of a streamed chat with tools.

    Parameters:
        tokens: the control tokens that text of others must not become: the engine takes text alone, so that a word
            joiner is put into each that is spelled.
        adapters: the LoRA adapters of the load.
    """
    body = completion_body("", request.config, budget=request.budget, adapters=adapters)
    for key in ("prompt", "response_fields", "n_keep"):
        body.pop(key, None)
    definitions = [tool.definition for tool in request.tools]
    tools = [_for_converter(definition) for definition in definitions]
    # The template's own variable shows the model the whole definitions.
    marked = tokens.marked_value(definitions, WORD_JOINER)
    shown = {} if tools == marked else {"tools": marked}
    return {
        **body,
        "messages": [
            entry for message in request.messages for entry in _entries(message, tokens, request.reasoning_tags)
        ],
        "tools": tools,
        "tool_choice": "auto",
        "parallel_tool_calls": request.parallel_tool_calls,
        "chat_template_kwargs": {**shown, **tokens.marked_value(dict(request.template_variables), WORD_JOINER)},
        "reasoning_format": "none",  # the host separates reasoning from the answer
        "timings_per_token": True,
        "verbose": True,  # the last event then says why the answer ended
    }


def _for_converter(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool["function"]
    if "parameters" not in function:
        return tool
    return {**tool, "function": {**function, "parameters": for_converter(function["parameters"])}}


def _entries(message: Message, tokens: ControlTokens, reasoning_tags: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield a message in OpenAI's form; a message with several tool results becomes several."""
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    keep = reasoning_tags if message.role == "assistant" else ()

    def marked(value: Any) -> Any:
        return tokens.marked_value(value, WORD_JOINER)

    for part in message.parts:
        match part:
            case Text():
                parts.append({"type": "text", "text": tokens.marked(part.text, WORD_JOINER, keep)})
            case Image():
                kind = "png" if part.data.startswith(b"\x89PNG") else "jpeg"
                url = f"data:image/{kind};base64,{b64encode(part.data).decode()}"
                parts.append({"type": "image_url", "image_url": {"url": url}})
            case Audio():
                # The engine goes by the content, and knows the name of FLAC only there.
                sound = {"data": b64encode(part.data).decode(), "format": "mp3" if part.data[:1] == b"\xff" else "wav"}
                parts.append({"type": "input_audio", "input_audio": sound})
            case File():
                raise UnsupportedError(f"The model cannot read the file {part.name!r} in the chat", feature="files")
            case ToolCall():
                arguments = json.dumps(marked(part.arguments or {}), ensure_ascii=False)
                function = {"name": marked(part.name), "arguments": arguments}
                calls.append({"type": "function", "id": marked(part.id or ""), "function": function})
            case ToolResult():
                named = {} if part.name is None else {"name": marked(part.name)}
                content, call_id = marked(part.content), marked(part.call_id or "")
                yield {"role": "tool", "content": content, "tool_call_id": call_id, **named}
    if message.role == "tool":
        return
    only_text = all(part["type"] == "text" for part in parts)
    content: Any = parts
    if only_text:  # parts may spell a token together
        content = tokens.marked("".join(part["text"] for part in parts), WORD_JOINER, keep)
    entry: dict[str, Any] = {"role": message.role, "content": content}
    if calls and message.role == "assistant":
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
        self._candidates = config.log_prob_candidates
        self._drafted = DraftedTokens()
        self._reported = 0  # tokens that events have accounted for

    def feed(self, chunk: ChatChunk) -> list[EngineEvent | ToolCallEvent]:
        """Return the events of a chunk; the last list ends in a :class:`Completed`."""
        events: list[EngineEvent | ToolCallEvent] = []
        if chunk.prompt_progress is not None:
            events.append(chunk.prompt_progress.counted())
        for choice in chunk.choices:
            if choice.delta.content:
                events.append(self._fragment(choice.delta.content, choice.logprobs, chunk.timings))
            for call in choice.delta.tool_calls:
                self._take(call, events)
        self._reported = max(self._reported, chunk.tokens_predicted)
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
        count = timings.predicted_n - self._reported if timings else 1
        tokens = logprobs.content or () if logprobs and self._candidates is not None else ()
        return Fragment(
            text,
            max(count, 0),
            drafted=self._drafted.are_among(count, timings),
            logprobs=[token.with_alternatives(self._candidates or 0) for token in tokens] or None,
        )

    def _take(self, call: _CallDelta, events: list[EngineEvent | ToolCallEvent]) -> None:
        if call.index != self._open:
            self._close(events)
            self._open, self._name, self._arguments = call.index, "", ""
            self._id = call.id or new_call_id()
            events.append(ToolCallStarted(self._id))
        function = call.function
        if function is not None and function.name and not self._name:
            self._name = function.name
            events.append(ToolCallNamed(self._name))
        if function is not None and function.arguments:
            self._arguments += function.arguments
            events.append(ToolCallArguments(function.arguments))

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
        events.append(ToolCallFinished(ToolCall(self._name, arguments, self._id), raw))
