"""Messages: ``POST /v1/messages`` and ``POST /v1/messages/count_tokens``."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec.structs import replace

from ...domain.chat import ChatRequest
from ...domain.generation import PredictionResult, Usage
from ...domain.progress import Queued
from ...errors import StudioloError
from ...host.prompt_progress import PromptReport
from ...host.token_counts import count_tokens
from ..http.answers import SSE, Answer, Streamed, Whole, sse
from ..http.endpoint import Call
from ..http.gathered import Event, Gathered
from ..http.generation import blaming, events_of, fits, leased, patience_sec
from .blocks import BlockWriter
from .conversation import Conversation
from .errors import REQUEST_ID, error_body, new_request_id
from .request import MessagesBody, PromptBody

PING = sse({"type": "ping"}, "ping")

_BLAMED = {
    "structured": "output_config.format",
    "raw_tools": "tools",
    "reasoning_effort": "output_config.effort",
    "reasoning_budget": "thinking.budget_tokens",
}


async def create_message(call: Call[MessagesBody]) -> Answer:
    """Answer a conversation."""
    body = call.body
    conversation = body.conversation()
    asked = _Asked(call, conversation, body.chat(conversation, call.ignored))
    if body.stream:
        request_id = new_request_id()
        return Streamed(
            _frames(asked),
            SSE,
            partial(_failure_frame, request_id=request_id),
            keep_alive=PING,
            patience_sec=await patience_sec(call, body.model),
            headers={REQUEST_ID: request_id},
        )
    found, blocks = asked.empty_answer()
    async with contextlib.aclosing(asked.events()) as events:
        async for event in events:
            for piece in found.add(event):
                for _ in blocks.add(piece):
                    pass
    for _ in blocks.close():
        pass
    ended = {**_ending(found), **asked.edits}
    return Whole({**_head(body.model), "content": blocks.content, **ended, "usage": _usage(found)})


async def count_message_tokens(call: Call[PromptBody]) -> Answer:
    """Return the number of tokens of a prompt."""
    body = call.body
    conversation = body.conversation()
    chat = body.chat(conversation, call.ignored)
    with blaming("messages", **_BLAMED):
        async with leased(call, body.model) as lease:
            config = body.config_for(lease.instance, conversation, call.ignored)
            return Whole({"input_tokens": await count_tokens(call.host, lease, chat, config)})


@dataclass(frozen=True)
class _Asked:
    """A conversation to be answered."""

    call: Call[MessagesBody]
    conversation: Conversation
    chat: ChatRequest

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield the events of the answer."""
        body = self.call.body
        config = partial(body.config_for, conversation=self.conversation, ignored=self.call.ignored)
        with blaming("messages", **_BLAMED):
            async with contextlib.aclosing(events_of(self.call, body.model, self.chat, config)) as events:
                async for event in events if body.max_tokens else _without_answer(events):
                    yield event

    def empty_answer(self) -> tuple[Gathered, BlockWriter]:
        """Return what the answer is gathered in."""
        thinking = self.call.body.thinking
        shows_thinking = thinking is None or thinking.display != "omitted"
        return Gathered(call_prefix="toolu_"), BlockWriter(shows_thinking=shows_thinking)

    @property
    def edits(self) -> dict[str, Any]:
        """What was edited in the conversation, where the request says anything about that."""
        return {} if self.call.body.context_management is None else {"context_management": {"applied_edits": []}}


async def _without_answer(events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    """Yield the events of a prediction that only reads its prompt: the one token that it generates is dropped."""
    async for event in events:
        if isinstance(event, PredictionResult):
            usage = replace(event.usage, predicted_tokens=0)
            yield replace(event, stop_reason="max_tokens", stop_string=None, usage=usage)
        elif isinstance(event, PromptReport | Queued):
            yield event


async def _frames(asked: _Asked) -> AsyncGenerator[bytes, None]:
    found, blocks = asked.empty_answer()
    has_begun = False
    async with contextlib.aclosing(asked.events()) as events:
        async for event in events:
            if not has_begun and fits(event):
                has_begun = True
                yield _frame({"type": "message_start", "message": _beginning(asked.call.body.model, event)})
            for piece in found.add(event):
                for each in blocks.add(piece):
                    yield _frame(each)
    for each in blocks.close():
        yield _frame(each)
    yield _frame({"type": "message_delta", "delta": _ending(found), "usage": _usage(found), **asked.edits})
    yield _frame({"type": "message_stop"})


def _frame(event: dict[str, Any]) -> bytes:
    return sse(event, event["type"])


def _failure_frame(error: StudioloError, request_id: str) -> bytes:
    return _frame(error_body(error, request_id))


def _head(model: str) -> dict[str, Any]:
    return {"id": f"msg_{secrets.token_hex(12)}", "type": "message", "role": "assistant", "model": model}


def _beginning(model: str, event: Event) -> dict[str, Any]:
    """Return the message as it begins, given the first event that shows the size of its prompt."""
    match event:
        case PromptReport(tokens=tokens):
            usage = Usage(tokens.total, tokens.cached, 0)
        case PredictionResult():
            usage = replace(event.usage, predicted_tokens=0)
        case _:
            usage = Usage()
    return {
        **_head(model),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**_token_counts(usage, 0), "service_tier": "standard"},
    }


def _ending(found: Gathered) -> dict[str, Any]:
    """Return why an answer ended."""
    end = found.end
    if found.called:
        return {"stop_reason": "tool_use", "stop_sequence": None}
    if end.stop_reason == "stop_string":
        return {"stop_reason": "stop_sequence", "stop_sequence": end.stop_string}
    reasons = {"max_tokens": "max_tokens", "time_limit": "max_tokens", "context_full": "model_context_window_exceeded"}
    return {"stop_reason": reasons.get(end.stop_reason, "end_turn"), "stop_sequence": None}


def _usage(found: Gathered) -> dict[str, Any]:
    return _token_counts(found.end.usage, found.reasoning_tokens)


def _token_counts(usage: Usage, thinking_tokens: int) -> dict[str, Any]:
    cached = min(usage.cached_prompt_tokens, usage.prompt_tokens)
    return {
        "input_tokens": usage.prompt_tokens - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.predicted_tokens,
        "output_tokens_details": {"thinking_tokens": thinking_tokens},
    }
