"""Chats that the server keeps: ``POST /api/v1/chat``."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ...domain.chat import ChatRequest, Message, Text
from ...domain.generation import PredictionResult
from ...domain.progress import Queued
from ...errors import StudioloError
from ...host.load_progress import LoadWatcher
from ...host.prompt_progress import PromptReport
from ..http.answers import SSE, SSE_COMMENT, Answer, Streamed, Whole, sse
from ..http.endpoint import Call
from ..http.fields import wrong
from ..http.generation import (
    AnswerText,
    Event,
    Gathered,
    Piece,
    Thought,
    blaming,
    fits,
    is_loaded,
    patience,
    predicting,
    reference,
)
from ..http.produced import produced
from .chat_request import ID_PREFIX, ChatBody
from .errors import error_object

KIND = "chat"
"""Of the records in the store."""

MAX_WAITING_EVENTS = 64
"""Events of one chat that wait to be sent; text is merged before."""


class OutputItem(Struct):
    """A part of the answer: reasoning or a message."""

    type: str
    content: str


class Stats(Struct, kw_only=True):
    """Counts of tokens, and times in seconds."""

    input_tokens: int
    total_output_tokens: int
    reasoning_output_tokens: int
    tokens_per_second: float
    time_to_first_token_seconds: float
    model_load_time_seconds: float | UnsetType = UNSET


class ChatAnswer(Struct, kw_only=True):
    """The answer to a chat."""

    model_instance_id: str
    output: list[OutputItem]
    stats: Stats
    response_id: str | UnsetType = UNSET


@dataclass
class _Loading:
    """How far the load of the model is, 0 to 1."""

    progress: float


@dataclass
class _Loaded:
    """The model is there; ``seconds`` is how long its load took, ``None`` where it was loaded already."""

    instance_id: str
    seconds: float | None


@dataclass
class _Chat:
    """A chat under way, and what is known of its answer."""

    call: Call[ChatBody]
    messages: list[Message]
    was_loaded: bool
    instance_id: str
    load_sec: float | None = None
    answer: Gathered = field(default_factory=Gathered)
    output: list[OutputItem] = field(default_factory=list[OutputItem])
    response_id: str = field(default_factory=lambda: f"{ID_PREFIX}{secrets.token_hex(24)}")

    async def events(self) -> AsyncGenerator[_Loading | _Loaded | Event, None]:
        """Yield what happens, from the load of the model to the result."""
        began = time.monotonic()

        async def run(queue: asyncio.Queue[_Loading | _Loaded | Event]) -> None:
            def report(progress: float) -> None:
                with contextlib.suppress(asyncio.QueueFull):  # the next one says more
                    queue.put_nowait(_Loading(progress))

            body = self.call.body
            chat = ChatRequest(messages=self.messages)
            load = body.load_request(LoadWatcher(on_progress=report))
            with blaming("input", reasoning_effort="reasoning"):
                async with predicting(self.call, body.model, chat, body.prediction_config(), load) as run:
                    if body.reasoning == "on" and not run.instance.vocabulary.reasons:
                        raise wrong("reasoning", f"{run.instance.model.key} does not reason")
                    seconds = None if self.was_loaded else time.monotonic() - began
                    await queue.put(_Loaded(run.instance.identifier, seconds))
                    async for event in run.events:
                        await queue.put(event)

        async with contextlib.aclosing(produced(run, MAX_WAITING_EVENTS)) as events:
            async for event in events:
                self._take(event)
                yield event

    def _take(self, event: _Loading | _Loaded | Event) -> None:
        if isinstance(event, _Loaded):
            self.instance_id, self.load_sec = event.instance_id, event.seconds

    def pieces(self, event: Event) -> list[Piece]:
        """Return what an event adds to the answer, and add it."""
        pieces = self.answer.add(event)
        for piece in pieces:
            if isinstance(piece, AnswerText | Thought):
                kind = "message" if isinstance(piece, AnswerText) else "reasoning"
                if not self.output or self.output[-1].type != kind:
                    self.output.append(OutputItem(kind, ""))
                self.output[-1].content += piece.text
        return pieces

    async def finished(self) -> ChatAnswer:
        """Return the whole answer, and store it where that was asked for."""
        stored = self.call.body.store
        if stored:
            await _keep(self)
        return self.result(self.response_id if stored else None)

    def result(self, response_id: str | None = None) -> ChatAnswer:
        """Return the answer as far as it is known."""
        end = self.answer.result or PredictionResult(stop_reason="cancelled")
        return ChatAnswer(
            model_instance_id=self.instance_id,
            output=self.output,
            stats=Stats(
                input_tokens=end.usage.prompt_tokens,
                total_output_tokens=end.usage.predicted_tokens,
                reasoning_output_tokens=self.answer.reasoning_tokens,
                tokens_per_second=end.timings.tokens_per_second or 0.0,
                time_to_first_token_seconds=end.timings.first_token_sec or 0.0,
                model_load_time_seconds=UNSET if self.load_sec is None else round(self.load_sec, 3),
            ),
            response_id=response_id or UNSET,
        )


async def chat(call: Call[ChatBody]) -> Answer:
    """Answer a message, which may continue a stored chat."""
    body = call.body
    user = body.user_message()
    messages = [*await _earlier(call), *user]
    if body.system_prompt is not None:
        messages = [message for message in messages if message.role != "system"]
        messages.insert(0, Message("system", [Text(body.system_prompt)]))
    name = (await reference(call, body.model)).name or body.model
    found = _Chat(call, messages, await is_loaded(call, body.model), name)
    if body.stream:
        return Streamed(
            _frames(found),
            SSE,
            lambda error: _failed(found, error),
            keep_alive=SSE_COMMENT,
            patience_sec=patience(found.was_loaded),
        )
    async with contextlib.aclosing(found.events()) as events:
        async for event in events:
            if not isinstance(event, _Loading | _Loaded):
                found.pieces(event)
    return Whole(await found.finished())


def _event(kind: str, **fields: Any) -> bytes:
    return sse({"type": kind, **fields}, kind)


def _failed(chat: _Chat, error: StudioloError) -> bytes:
    return _event("error", error=error_object(error)) + _event("chat.end", result=chat.result())


async def _frames(chat: _Chat) -> AsyncGenerator[bytes, None]:
    has_begun = not chat.was_loaded
    if has_begun:
        yield _event("chat.start", model_instance_id=chat.instance_id)
        yield _event("model_load.start", model_instance_id=chat.instance_id)
    prompt = _Prompt()
    item: str | None = None
    async with contextlib.aclosing(chat.events()) as events:
        async for event in events:
            match event:
                case _Loading(progress):
                    yield _event("model_load.progress", model_instance_id=chat.instance_id, progress=progress)
                    continue
                case _Loaded(instance_id, seconds):
                    if seconds is not None:
                        yield _event("model_load.end", model_instance_id=instance_id, load_time_seconds=seconds)
                    continue
                case _:
                    pass
            if isinstance(event, Queued) or not fits(event):
                continue
            if not has_begun:
                has_begun = True
                yield _event("chat.start", model_instance_id=chat.instance_id)
            if isinstance(event, PromptReport):
                yield prompt.progress(event)
                continue
            yield prompt.end()
            for piece in chat.pieces(event):
                if not isinstance(piece, AnswerText | Thought) or not piece.text:
                    continue
                kind = "message" if isinstance(piece, AnswerText) else "reasoning"
                if kind != item:
                    yield (_event(f"{item}.end") if item else b"") + _event(f"{kind}.start")
                    item = kind
                yield _event(f"{kind}.delta", content=piece.text)
    if item is not None:
        yield _event(f"{item}.end")
    yield _event("chat.end", result=await chat.finished())


class _Prompt:
    """The events of the processing of a prompt: a start, progress, one end."""

    def __init__(self) -> None:
        self._begun = self._ended = False

    def progress(self, report: PromptReport) -> bytes:
        """Return the events for a report."""
        return self._begin() + _event("prompt_processing.progress", progress=report.ratio)

    def end(self) -> bytes:
        """Return the event of the end, the first time."""
        if self._ended:
            return b""
        begin = self._begin()
        self._ended = True
        return begin + _event("prompt_processing.end")

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return _event("prompt_processing.start")


async def _earlier(call: Call[ChatBody]) -> list[Message]:
    """Return the messages of the response that a request continues."""
    previous = call.body.previous_response_id
    if previous is None:
        return []
    record = await call.store.get(KIND, call.owner, previous)
    if record is None:
        raise wrong("previous_response_id", f"there is no stored response {previous!r}")
    return msgspec.msgpack.decode(record.body, type=list[Message])


async def _keep(chat: _Chat) -> None:
    """Store the messages of a chat with its answer."""
    answer = Message("assistant", [Text(chat.answer.text)])
    body = msgspec.msgpack.encode([*chat.messages, answer])
    await chat.call.store.put(KIND, chat.call.owner, chat.response_id, body)
