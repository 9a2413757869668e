"""Chats that the server keeps: ``POST /api/v1/chat``."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import msgspec
from msgspec import UNSET

from ...domain.chat import ChatRequest, Message, Text
from ...domain.generation import Timings
from ...errors import InvalidRequestError, StudioloError
from ...host.load_progress import LoadWatcher
from ...mcp.connections import McpTool
from ...struct_types import examined
from ..http.answers import SSE, SSE_COMMENT, Answer, Streamed, Whole
from ..http.endpoint import Call
from ..http.fields import wrong
from ..http.gathered import AnswerText, Event, Thought
from ..http.generation import blaming, is_loaded, patience, predicting, reference
from ..http.produced import produced
from ..http.tool_servers import Answered, AskedServer, Rounds, Step, tools_of
from .chat_answer import (
    ChatAnswer,
    Connected,
    Happening,
    Loaded,
    Loading,
    MessageItem,
    OutputItem,
    ReasoningItem,
    Stats,
    tool_item,
)
from .chat_events import Shown, event
from .chat_request import ID_PREFIX, ChatBody
from .errors import error_object

KIND = "chat"
"""Of the records in the store."""

MAX_WAITING_EVENTS = 64
"""Events of one chat that wait to be sent; text is merged before."""


@dataclass
class _Chat:
    """A chat under way, and what is known of its answer."""

    call: Call[ChatBody]
    messages: list[Message]
    servers: list[AskedServer]
    was_loaded: bool
    instance_id: str
    load_sec: float | None = None
    rounds: Rounds | None = None
    output: list[OutputItem] = field(default_factory=list[OutputItem])
    response_id: str = field(default_factory=lambda: f"{ID_PREFIX}{secrets.token_hex(24)}")

    async def events(self) -> AsyncGenerator[Happening, None]:
        """Yield what happens, from the connections of MCP servers and the load of the model to the result."""

        async def run(queue: asyncio.Queue[Happening]) -> None:
            with blaming("input", reasoning_effort="reasoning", context_length="context_length"):
                async with tools_of(self.call.host, self.servers) as tools:
                    await queue.put(Connected())
                    offered = [tool.definition for tool in tools.values()] or None
                    chat = ChatRequest(messages=self.messages, tools=offered)
                    self.rounds = Rounds(
                        chat,
                        tools,
                        lambda chat, max_tokens: self._predicted(queue, chat, max_tokens),
                        max_tokens=self.call.body.max_output_tokens,
                    )
                    async with contextlib.aclosing(self.rounds.steps()) as steps:
                        async for step in steps:
                            await queue.put(step)

        async with contextlib.aclosing(produced(run, MAX_WAITING_EVENTS)) as events:
            async for happening in events:
                self._take(happening)
                yield happening

    def tool(self, name: str) -> McpTool | None:
        """Return the tool of the server's that the model knows by a name."""
        return None if self.rounds is None else self.rounds.tool(name)

    async def _predicted(
        self, queue: asyncio.Queue[Happening], chat: ChatRequest, max_tokens: int | None
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of one answer of the model.

        Parameters:
            max_tokens: of the answer at most; ``None`` for no limit.
        """
        began = time.monotonic()

        def report(progress: float) -> None:
            with contextlib.suppress(asyncio.QueueFull):  # the next one says more
                queue.put_nowait(Loading(progress))

        body = self.call.body
        config = body.prediction_config()
        config.max_tokens = max_tokens
        is_first = self.rounds is not None and len(self.rounds.answers) == 1
        load = body.load_request(LoadWatcher(on_progress=report if is_first else None))
        async with predicting(self.call, body.model, chat, config, load) as run:
            if body.reasoning == "on" and not run.instance.vocabulary.reasons:
                raise wrong("reasoning", f"{run.instance.model.key} does not reason")
            if is_first:
                seconds = None if self.was_loaded else time.monotonic() - began
                await queue.put(Loaded(run.instance.identifier, seconds))
            async for event in run.events:
                yield event

    def _take(self, event: Happening) -> None:
        match event:
            case Loaded():
                self.instance_id, self.load_sec = event.instance_id, event.seconds
            case Answered():
                self.output.append(tool_item(event))
            case Step():
                for piece in event.pieces:
                    if isinstance(piece, AnswerText | Thought):
                        self._add_text(piece)
            case _:
                pass

    def _add_text(self, piece: AnswerText | Thought) -> None:
        kind = MessageItem if isinstance(piece, AnswerText) else ReasoningItem
        last = self.output[-1] if self.output else None
        if not isinstance(last, kind):
            last = kind("")
            self.output.append(last)
        last.content += piece.text

    async def finished(self) -> ChatAnswer:
        """Return the whole answer, and store it where that was asked for."""
        stored = self.call.body.store
        if stored:
            await _keep(self)
        return self.result(self.response_id if stored else None)

    def result(self, response_id: str | None = None) -> ChatAnswer:
        """Return the answer as far as it is known."""
        answers = self.rounds.answers if self.rounds is not None else []
        ends = [answer.result for answer in answers if answer.result is not None]
        first, last = (ends[0].timings, ends[-1].timings) if ends else (Timings(), Timings())
        return ChatAnswer(
            model_instance_id=self.instance_id,
            output=self.output,
            stats=Stats(
                input_tokens=sum(end.usage.prompt_tokens for end in ends),
                total_output_tokens=sum(end.usage.predicted_tokens for end in ends),
                reasoning_output_tokens=sum(answer.reasoning_tokens for answer in answers),
                tokens_per_second=last.tokens_per_second or 0.0,
                time_to_first_token_seconds=first.first_token_sec or 0.0,
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
    found = _Chat(call, messages, body.servers(), await is_loaded(call, body.model), name)
    if body.stream:
        return Streamed(
            _frames(found),
            SSE,
            lambda error: _failed(found, error),
            keep_alive=SSE_COMMENT,
            patience_sec=patience(found.was_loaded),
        )
    async with contextlib.aclosing(found.events()) as events:
        async for _ in events:
            pass
    return Whole(await found.finished())


def _failed(chat: _Chat, error: StudioloError) -> bytes:
    return event("error", error=error_object(error)) + event("chat.end", result=chat.result())


async def _frames(chat: _Chat) -> AsyncGenerator[bytes, None]:
    shown = Shown(chat.instance_id, chat.was_loaded, chat.tool)
    async with contextlib.aclosing(chat.events()) as events:
        async for happening in events:
            for frame in shown.add(happening):
                yield frame
    yield shown.end_item() + event("chat.end", result=await chat.finished())


async def _earlier(call: Call[ChatBody]) -> list[Message]:
    """Return the messages of the response that a request continues."""
    previous = call.body.previous_response_id
    if previous is None:
        return []
    record = await call.store.get(KIND, call.owner, previous)
    if record is None:
        raise InvalidRequestError(
            f"previous_response_id: there is no stored response {previous!r}",
            data={"param": "previous_response_id", "code": "previous_response_not_found"},
        )
    return msgspec.msgpack.decode(record.body, type=examined(list[Message]))


async def _keep(chat: _Chat) -> None:
    """Store the messages of a chat with its answer, and with the calls of tools before it."""
    assert chat.rounds is not None
    answer = Message("assistant", [Text(chat.rounds.answer.text)])
    body = msgspec.msgpack.encode([*chat.rounds.chat.messages, answer])
    await chat.call.store.put(KIND, chat.call.owner, chat.response_id, body)
