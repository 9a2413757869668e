"""Responses: ``POST /v1/responses``, ``POST /v1/responses/input_tokens``."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ...config import PredictionConfig
from ...deadline import Deadline
from ...domain.chat import ChatRequest, Message, Text, ToolCall
from ...errors import InvalidRequestError, StudioloError
from ...host.host import Host
from ...host.token_counts import count_tokens
from ...store.store import MAX_BODY_BYTES
from ...struct_types import examined
from ..http.answers import SSE, SSE_COMMENT, Answer, Streamed, Whole, sse
from ..http.endpoint import Call
from ..http.fields import wrong
from ..http.gathered import CallText, Event
from ..http.generation import blaming, events_of, fits, leased, patience_sec, reference
from ..http.tool_servers import TOOLS_LIMIT_SEC, Answered, Rounds, called, tools_of
from . import responses_answer as answers
from .responses_answer import Stored
from .responses_events import Output
from .responses_input import Placed, drop_file_data, messages_of, own_items, read_arguments
from .responses_items import Ids, response_of
from .responses_mcp import approved_calls
from .responses_record import Record
from .responses_request import CountBody, ResponseBody, with_prompt_settings
from .responses_tools import Offered, read_tools

_log = logging.getLogger("studiolo.server")

KIND = "response"
"""Of the records in the store."""

_BLAMED = {"structured": "text.format", "raw_tools": "tools", "reasoning_effort": "reasoning.effort"}


class TokenCount(Struct):
    """The number of tokens of an input."""

    input_tokens: int
    object: Literal["response.input_tokens"] = "response.input_tokens"


@dataclass
class _Asked:
    """A prompt, as it is asked for.

    Parameters:
        body: the request.
        placed: all items of its input with their paths, those of earlier responses included.
        offered: the tools.
    """

    body: ResponseBody | CountBody
    ids: Ids
    placed: list[Placed]
    offered: Offered

    @property
    def items(self) -> list[dict[str, Any]]:
        """All items of the input."""
        return [item for _, item in self.placed]

    def chat(self, made: Sequence[dict[str, Any]] = ()) -> ChatRequest:
        """Return what the model is given.

        Parameters:
            made: items of calls that were made for it.
        """
        body = self.body
        tools, choice = self.offered.choice(body.tool_choice)
        messages = messages_of([*self.placed, *(("output", item) for item in made)])
        if not messages:
            raise wrong("input", "missing" if body.input is None else "expected at least one message")
        if body.instructions:
            messages.insert(0, Message("system", [Text(body.instructions)]))
        parallel = body.parallel_tool_calls
        return ChatRequest(messages=messages, tools=tools, tool_choice=choice, parallel_tool_calls=parallel)

    @contextlib.asynccontextmanager
    async def connected(self, host: Host) -> AsyncGenerator[None]:
        """Connect to the MCP servers of the request, and offer their tools, for the length of the block."""
        offered = self.offered
        async with tools_of(host, offered.servers.asked, tuple(offered.origins)) as tools:
            offered.connected(tools)
            yield


class Growing:
    """A response while its model answers."""

    def __init__(self, call: Call[ResponseBody], asked: _Asked, config: PredictionConfig) -> None:
        body = call.body
        self._call = call
        self._asked = asked
        self._config = config
        self.response = answers.begun(body, asked.ids, asked.offered)
        top = body.top_logprobs or 0 if body.wants_logprobs else None
        self._output = Output(self.response.output, asked.ids, asked.offered, top, body.wants_sealed_reasoning)
        self._rounds: Rounds | None = None
        self._sequence = 0
        self.record = Record() if body.background and body.stream else None

    async def events(self) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the events of the response. The last one is its end; it is stored by then."""
        has_begun = False
        with blaming("input", **_BLAMED):
            async with self._asked.connected(self._call.host):
                early = self._listed()
                made = [one async for one in self._approved(early)]
                servers = self._asked.offered.servers
                rounds = self._rounds = Rounds(
                    self._asked.chat(made),
                    servers.callable,
                    self._predicted,
                    max_tokens=self._config.max_tokens or None,
                    max_calls=self._call.body.max_tool_calls,
                )
                async with contextlib.aclosing(rounds.steps()) as steps:
                    async for step in steps:
                        if isinstance(step, Answered):
                            for one in self._output.answered(step):
                                yield one
                            continue
                        if not has_begun and fits(step.event):
                            has_begun = True
                            self.response.status = "in_progress"
                            for one in [*answers.outline(replace(self.response, output=[])), *early]:
                                yield one
                        for piece in step.pieces:
                            for one in self._output.add(piece):
                                yield one
        answers.finish(self.response, rounds.total())
        for one in self._output.end(rounds.answer, self.response.status == "incomplete"):
            yield one
        await self.keep()
        yield {"type": f"response.{self.response.status}", "response": self.response}

    def _predicted(self, chat: ChatRequest, max_tokens: int | None) -> AsyncGenerator[Event, None]:
        """Yield the events of one answer of the model.

        Parameters:
            max_tokens: of the answer at most; ``None`` for no limit.
        """
        body, config = self._call.body, self._config
        if max_tokens is not None:
            config = replace(config, max_tokens=max_tokens)
        return events_of(self._call, body.model, chat, config, body.load_request())

    def _listed(self) -> list[dict[str, Any]]:
        """Return the events that list the tools of MCP servers, but for lists that the input has."""
        servers = self._asked.offered.servers
        known = {item["server_label"] for item in self._asked.items if item["type"] == "mcp_list_tools"}
        return [
            _frozen(one)
            for label in servers.given
            if label not in known
            for one in self._output.listed(label, servers.listed(label))
        ]

    async def _approved(self, early: list[dict[str, Any]]) -> AsyncGenerator[dict[str, Any], None]:
        """Make the calls that the client has approved, and yield their items.

        Parameters:
            early: takes their events.
        """
        servers = self._asked.offered.servers
        for approved in approved_calls(self._asked.placed):
            request = approved.request
            if (found := servers.find(request["server_label"], request["name"])) is None:
                raise wrong(f"{approved.place}.approval_request_id", "its tool is not offered by this request")
            arguments = read_arguments(request, approved.place)
            call = CallText(request["id"], found[0], request["arguments"], ToolCall(found[0], arguments))
            answered = await called(found[1], call, Deadline(TOOLS_LIMIT_SEC))
            early += [_frozen(one) for one in self._output.approved(request, answered)]
            yield msgspec.to_builtins(self.response.output[-1])

    async def keep(self) -> None:
        """Store the response as it is, if it is to be stored."""
        if self._call.body.store:
            events = self.record.frames if self.record is not None else None
            stored = Stored(msgspec.Raw(msgspec.json.encode(self.response)), self._asked.items, events)
            body = msgspec.json.encode(stored)
            await self._call.store.put(KIND, self._call.owner, self.response.id, body)

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Yield the events as frames of a stream."""
        async with contextlib.aclosing(self.events()) as events:
            async for event in events:
                yield self._frame(event)

    def failure(self, error: StudioloError) -> bytes:
        """Return the frames that end a stream with an error."""
        return b"".join(self._failing(error))

    def _failing(self, error: StudioloError) -> list[bytes]:
        beginning = [] if self._sequence else list(answers.outline(self.response))
        frames = [self._frame(event) for event in beginning]
        self._fail(error)
        return [*frames, self._frame({"type": "response.failed", "response": self.response})]

    def _fail(self, error: StudioloError) -> None:
        self._cut()
        answers.fail(self.response, error)

    def _cut(self) -> None:
        """End the output with what there is of it."""
        if self.response.output and self._rounds is not None and self._rounds.answers:
            list(self._output.end(self._rounds.answer, is_cut=True))

    async def run(self) -> None:
        """Answer in the background."""
        last: list[bytes] = []
        try:
            async with contextlib.aclosing(self.frames()) as frames:
                async for frame in frames:
                    if self.record is not None:
                        self.record.add(frame)
        except StudioloError as error:
            last = self._failing(error)
        except Exception as error:
            _log.error("a response in the background failed", exc_info=error)
            last = self._failing(StudioloError(f"Internal error: {type(error).__name__}"))
        finally:
            if self.record is not None:
                self.record.end(last)
        if last or self.record is not None:  # another one is stored with its last event
            await self.keep()

    async def cancelled(self) -> None:
        """Store the response with what there is of it, unless it has ended before it was cancelled."""
        if self.response.status in ("queued", "in_progress"):
            self._cut()
            self.response.status = "cancelled"
            await self.keep()

    def _frame(self, event: Mapping[str, Any]) -> bytes:
        numbered = {**event, "sequence_number": self._sequence}
        self._sequence += 1
        return sse(numbered, event["type"])


async def create_response(call: Call[ResponseBody]) -> Answer:
    """Answer an input, which may continue a stored response."""
    body = call.body
    asked = await _asked(call)
    if body.store:
        _check_storable(call, asked)
    growing = Growing(call, asked, body.prediction_config())
    if body.background:
        return await _in_background(call, growing)
    if body.stream:
        return Streamed(
            growing.frames(),
            SSE,
            growing.failure,
            keep_alive=SSE_COMMENT,
            patience_sec=await patience_sec(call, body.model),
        )
    async with contextlib.aclosing(growing.events()) as events:
        async for _ in events:
            pass
    return Whole(growing.response)


def _check_storable(call: Call[ResponseBody], asked: _Asked) -> None:
    """Raise :class:`StudioloError` where a response could not be stored, before it is made.

    Where there is no room for them, the documents of its input are stored as text alone.
    """
    _ = call.store  # raises where nothing is stored
    size = len(msgspec.json.encode(asked.items))
    if size > MAX_BODY_BYTES // 2:
        drop_file_data(asked.items)
        size = len(msgspec.json.encode(asked.items))
    if size > MAX_BODY_BYTES // 2:
        raise wrong("store", f"an input of {size} bytes is too large to be stored", 'Send "store": false.')


async def _in_background(call: Call[ResponseBody], growing: Growing) -> Answer:
    if not call.body.store:
        raise wrong("background", "a response in the background must be stored", 'Leave "store" out.')
    await reference(call, call.body.model)  # raises for an unknown one
    await growing.keep()
    call.host.background.begin(job_key(call, growing.response.id), growing, growing.run())
    return Whole(growing.response) if growing.record is None else growing.record.streamed()


def job_key(call: Call[Any], response_id: str) -> tuple[str, ...]:
    """Return the key of the work on a response in the background."""
    return (KIND, call.owner, response_id)


async def count_input(call: Call[CountBody]) -> Answer:
    """Return the number of tokens of an input."""
    asked = await _asked(call)
    config = with_prompt_settings(PredictionConfig(), call.body)
    with blaming("input", **_BLAMED):
        async with asked.connected(call.host), leased(call, call.body.model) as lease:
            return Whole(TokenCount(await count_tokens(call.host, lease, asked.chat(), config)))


async def find(call: Call[Any], response_id: str) -> Stored | None:
    """Return a stored response of the API token's; ``None`` where there is none."""
    record = await call.store.get(KIND, call.owner, response_id)
    return None if record is None else msgspec.json.decode(record.body, type=examined(Stored))


async def _asked(call: Call[ResponseBody] | Call[CountBody]) -> _Asked:
    body = call.body
    ids = Ids()
    placed = await input_items(call, ids)
    asked = _Asked(body, ids, placed, read_tools(body.tools or (), placed, call.ignored))
    if not asked.offered.servers.asked:
        asked.chat()  # raises for what is wrong in it, before anything is begun
    return asked


def _frozen(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event as it is now: its item may change before the event is sent."""
    return {key: msgspec.to_builtins(value) for key, value in event.items()}


async def input_items(call: Call[Any], ids: Ids) -> list[Placed]:
    """Return all items of the input of a request, those of the response that it continues included."""
    placed: list[Placed] = [("previous_response_id", item) for item in await _earlier(call)]
    own = own_items(call.body.input, ids)
    return placed + [
        (f"input.{index}", await _resolved(call, item, f"input.{index}")) for index, item in enumerate(own)
    ]


async def _earlier(call: Call[Any]) -> list[dict[str, Any]]:
    previous = call.body.previous_response_id
    if previous is None:
        return []
    found = await find(call, previous)
    if found is None:
        raise InvalidRequestError(
            f"previous_response_id: there is no stored response {previous!r}",
            data={"param": "previous_response_id", "code": "previous_response_not_found"},
        )
    if found.ending.is_open:
        raise wrong("previous_response_id", f"the response {previous!r} has no end", "Wait until it is completed.")
    return found.items()


async def _resolved(call: Call[Any], item: dict[str, Any], place: str) -> dict[str, Any]:
    """Return an item, or the stored one that it refers to."""
    if item["type"] != "item_reference":
        return item
    response_id = response_of(item["id"])
    stored = None if response_id is None else await find(call, response_id)
    found = None if stored is None else stored.find(item["id"])
    if found is None:
        raise wrong(place, f"there is no stored item {item['id']!r}")
    return found
