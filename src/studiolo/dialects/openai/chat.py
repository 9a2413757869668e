"""Chat completions: ``POST /v1/chat/completions``."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec import UNSET

from ...config import PredictionConfig
from ...domain.chat import ChatRequest
from ...errors import StudioloError
from ..http.answers import SSE, SSE_COMMENT, SSE_DONE, Answer, Streamed, Whole, sse
from ..http.endpoint import Call
from ..http.gathered import AnswerText, CallArguments, CallBegun, CallEnded, Event, Gathered, Piece, Thought
from ..http.generation import all_of, blaming, events_of, fits, gathered, merged, patience_sec, with_seed
from .chat_answer import ChatCompletion, chat_choice
from .chat_request import ChatBody
from .chat_stored import keep_chat
from .errors import error_object
from .logprobs import chat_logprobs
from .usage import finish_reason, stats, usage


async def complete_chat(call: Call[ChatBody]) -> Answer:
    """Answer a chat."""
    body = call.body
    asked = _Asked(call, body.chat(), body.prediction_config())
    if body.stream:
        return Streamed(
            _frames(asked),
            SSE,
            failure_frame,
            keep_alive=SSE_COMMENT,
            patience_sec=await patience_sec(call, body.model),
        )
    found = await all_of([partial(gathered, asked.events(index)) for index in range(body.n)])
    completion = _whole(body, _Head(body.model), found)
    await keep_chat(call, completion)
    return Whole(completion)


def _whole(body: ChatBody, head: _Head, found: Sequence[Gathered]) -> ChatCompletion:
    top = body.top_logprobs or 0 if body.logprobs else None
    return ChatCompletion(
        id=head.id,
        created=head.created,
        model=body.model,
        choices=[chat_choice(index, answer, top) for index, answer in enumerate(found)],
        usage=usage(found),
        stats=stats(found[0].end),
        metadata=(body.metadata or {}) if body.store else UNSET,
    )


@dataclass(frozen=True)
class _Asked:
    """A chat to be answered once or several times."""

    call: Call[ChatBody]
    chat: ChatRequest
    config: PredictionConfig

    async def events(self, index: int) -> AsyncGenerator[Event, None]:
        """Yield the events of the answer number ``index``."""
        body = self.call.body
        config = with_seed(self.config, index)
        with blaming("messages", structured="response_format", raw_tools="tools", reasoning_effort="reasoning_effort"):
            events = events_of(self.call, body.model, self.chat, config, body.load_request())
            async with contextlib.aclosing(events):
                async for event in events:
                    yield event


def failure_frame(error: StudioloError) -> bytes:
    """Return the frame that ends a stream with an error."""
    return sse({"error": error_object(error)})


async def _frames(asked: _Asked) -> AsyncGenerator[bytes, None]:
    body = asked.call.body
    own = _Head(body.model)
    head = own.fields
    last: dict[str, Any] = {"usage": None} if body.wants_usage else {}
    answers = [Gathered() for _ in range(body.n)]
    has_begun = [False] * body.n
    known_to_fit = False

    def frame(index: int, delta: Mapping[str, Any], logprobs: Any = None, reason: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return sse({**head, "choices": [choice], **last})

    async with contextlib.aclosing(merged([asked.events(index) for index in range(body.n)])) as events:
        async for numbered in events:
            index, event = numbered.index, numbered.item
            if not known_to_fit and fits(event):
                known_to_fit = True
                yield SSE_COMMENT
            for piece in answers[index].add(event):
                if not has_begun[index]:
                    has_begun[index] = True
                    yield frame(index, {"role": "assistant", "content": None if isinstance(piece, CallBegun) else ""})
                if (delta := _delta(piece)) is not None:
                    tokens = piece.logprobs if body.logprobs and isinstance(piece, AnswerText) else None
                    yield frame(index, delta, None if tokens is None else chat_logprobs(tokens, body.top_logprobs or 0))
            if answers[index].result is not None:
                if not has_begun[index]:
                    yield frame(index, {"role": "assistant", "content": ""})
                yield frame(index, {}, None, finish_reason(answers[index]))
    if body.store:
        await keep_chat(asked.call, _whole(body, own, answers))
    if body.wants_usage:
        yield sse({**head, "choices": [], "usage": usage(answers)})
    yield SSE_DONE


def _delta(piece: Piece) -> dict[str, Any] | None:
    match piece:
        case AnswerText(text):
            return {"content": text} if text else None
        case Thought(text):
            return {"reasoning_content": text}
        case CallBegun(index, call_id, name):
            function = {"name": name, "arguments": ""}
            return {"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]}
        case CallArguments(index, text):
            return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}
        case CallEnded():
            return None


class _Head:
    """What all frames of a stream have in common."""

    def __init__(self, model: str) -> None:
        self.id = f"chatcmpl-{secrets.token_hex(16)}"
        self.created = int(time.time())
        self.fields = {"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": model}
