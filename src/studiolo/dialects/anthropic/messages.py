"""Messages: ``POST /v1/messages`` and ``POST /v1/messages/count_tokens``."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncGenerator, Iterator, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from ...config import PredictionConfig
from ...domain.chat import ChatRequest
from ...domain.generation import PredictionResult, Usage
from ...domain.progress import Queued
from ...errors import StudioloError
from ...host.instance import Instance
from ...host.prompt_progress import PromptReport
from ...host.token_counts import count_tokens
from ..http.answers import SSE, Answer, Streamed, Whole, sse
from ..http.endpoint import Call
from ..http.gathered import Event, Gathered
from ..http.generation import blaming, events_of, fits, leased, patience_sec
from ..http.tool_servers import Answered, AskedServer, Rounds, Step, tools_of
from . import threads
from .blocks import BlockWriter, SummaryWriter
from .conversation import Conversation
from .errors import REQUEST_ID, error_body, new_request_id
from .mcp import offered_tools
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
    call = await threads.whole(call)
    body = call.body
    conversation = body.conversation()
    asked = _Asked(call, conversation, body.servers)
    if not asked.servers:
        body.chat(conversation, [])  # raises for what is wrong in it, before anything is begun
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
    async with contextlib.aclosing(asked.steps()) as steps:
        async for step in steps:
            for _ in asked.show(step):
                pass
    for _ in asked.blocks.close():
        pass
    found = asked.found
    ended = {**asked.ending(found), **asked.edits}
    await asked.keep()
    return Whole({**asked.head, "content": asked.blocks.content, **ended, "usage": _usage(found)})


async def count_message_tokens(call: Call[PromptBody]) -> Answer:
    """Return the number of tokens of a prompt."""
    body = call.body
    conversation = body.conversation()
    with blaming("messages", **_BLAMED):
        async with tools_of(call.host, body.servers, body.tool_names) as tools, leased(call, body.model) as lease:
            chat = body.chat(conversation, call.ignored, offered_tools(tools, body.tools or ()))
            config = body.config_for(lease.instance, conversation, call.ignored)
            return Whole({"input_tokens": await count_tokens(call.host, lease, chat, config)})


class _Asked:
    """A conversation to be answered, and its answer as it grows.

    Parameters:
        call: the request.
        conversation: what was said.
        servers: the MCP servers.
    """

    def __init__(self, call: Call[MessagesBody], conversation: Conversation, servers: Sequence[AskedServer]) -> None:
        thinking = call.body.thinking
        shows_thinking = thinking is None or thinking.display != "omitted"
        self.call = call
        self.servers = servers
        self.head: dict[str, Any] = {
            "id": f"msg_{secrets.token_hex(12)}",
            "type": "message",
            "role": "assistant",
            "model": call.body.model,
        }
        summarizes = call.body.compaction is not None
        self.blocks = SummaryWriter() if summarizes else BlockWriter(shows_thinking=shows_thinking)
        self._conversation = conversation
        self._rounds: Rounds | None = None

    async def steps(self) -> AsyncGenerator[Step | Answered, None]:
        """Yield what happens until the answer is there."""
        call, body = self.call, self.call.body
        with blaming("messages", **_BLAMED):
            async with tools_of(call.host, self.servers, body.tool_names) as tools:
                served = self.blocks.served = offered_tools(tools, body.tools or ())
                chat = body.chat(self._conversation, call.ignored, served)
                self._rounds = Rounds(chat, served, self._predicted, "toolu_", max_tokens=body.max_tokens)
                async with contextlib.aclosing(self._rounds.steps()) as steps:
                    async for step in steps:
                        yield step

    def _predicted(self, chat: ChatRequest, max_tokens: int | None) -> AsyncGenerator[Event, None]:
        """Yield the events of one answer of the model.

        Parameters:
            max_tokens: of the answer at most.
        """
        body = self.call.body

        def config(instance: Instance) -> PredictionConfig:
            found = body.config_for(instance, self._conversation, self.call.ignored)
            found.max_tokens = max_tokens or found.max_tokens
            return found

        events = events_of(self.call, body.model, chat, config)
        return events if body.max_tokens else _without_answer(events)

    def show(self, step: Step | Answered) -> Iterator[dict[str, Any]]:
        """Yield the events of blocks that a step brings."""
        if isinstance(step, Answered):
            yield from self.blocks.answered(step)
            return
        for piece in step.pieces:
            yield from self.blocks.add(piece)

    @property
    def found(self) -> Gathered:
        """The last answer, with the tokens of all of them."""
        assert self._rounds is not None
        return self._rounds.total()

    async def keep(self) -> None:
        """Keep the conversation with its answer, which has ended, where that is asked for."""
        await threads.keep(self.call, self.head["id"], self.blocks.content)

    def ending(self, found: Gathered) -> dict[str, Any]:
        """Return why the answer has ended."""
        ending = _ending(found)
        is_summary = self.call.body.compaction is not None and ending["stop_reason"] == "end_turn"
        return {**ending, "stop_reason": "compaction"} if is_summary else ending

    @property
    def edits(self) -> dict[str, Any]:
        """What was edited in the conversation, where the request says anything about that."""
        return {} if self.call.body.context_management is None else {"context_management": {"applied_edits": []}}


async def _without_answer(events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    """Yield the events of a prediction that only reads its prompt: the one token that it generates is dropped."""
    async with contextlib.aclosing(events):
        async for event in events:
            if isinstance(event, PredictionResult):
                usage = replace(event.usage, predicted_tokens=0)
                yield replace(event, stop_reason="max_tokens", stop_string=None, usage=usage)
            elif isinstance(event, PromptReport | Queued):
                yield event


async def _frames(asked: _Asked) -> AsyncGenerator[bytes, None]:
    has_begun = False
    async with contextlib.aclosing(asked.steps()) as steps:
        async for step in steps:
            if not has_begun and isinstance(step, Step) and fits(step.event):
                has_begun = True
                yield _frame({"type": "message_start", "message": _beginning(asked.head, step.event)})
            for each in asked.show(step):
                yield _frame(each)
    for each in asked.blocks.close():
        yield _frame(each)
    found = asked.found
    await asked.keep()
    yield _frame({"type": "message_delta", "delta": asked.ending(found), "usage": _usage(found), **asked.edits})
    yield _frame({"type": "message_stop"})


def _frame(event: dict[str, Any]) -> bytes:
    return sse(event, event["type"])


def _failure_frame(error: StudioloError, request_id: str) -> bytes:
    return _frame(error_body(error, request_id))


def _beginning(head: dict[str, Any], event: Event) -> dict[str, Any]:
    """Return the message as it begins, given the first event that shows the size of its prompt."""
    match event:
        case PromptReport(tokens=tokens):
            usage = Usage(tokens.total, tokens.cached, 0)
        case PredictionResult():
            usage = replace(event.usage, predicted_tokens=0)
        case _:
            usage = Usage()
    return {
        **head,
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
