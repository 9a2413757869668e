"""Tools of MCP servers that the server calls itself on behalf of a request, until the model has answered."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from ...daemon_threads import in_thread
from ...deadline import Deadline
from ...domain.chat import ChatRequest, Message, Part, Text, ToolCall, ToolResult
from ...domain.generation import Usage
from ...errors import BusyError, ConfigError, ConnectionFailedError, InvalidRequestError, StudioloError
from ...host.host import Host
from ...mcp.config import ServerConfig, listed_servers
from ...mcp.connections import INTERRUPTED_CLOSE_LIMIT_SEC, Connections, McpTool, McpToolError
from ...outbound import Reach, check_url
from .fields import wrong
from .gathered import CallText, Event, Gathered, Piece
from .limits import check_tool_count

MAX_SERVERS = 16
"""MCP servers of one request, at most."""

MAX_ROUNDS = 20
"""Answers of the model in one request, at most; in the last one it can call no tool."""

START_LIMIT_SEC = 30.0
"""How long it may take to connect to the servers of a request."""

CALL_LIMIT_SEC = 120.0
"""How long a call of a tool may take."""

TOOLS_LIMIT_SEC = 600.0
"""How long a request may call tools; then the model answers without them."""

MAX_RESULT_CHARS = 100_000
"""Characters of a tool's result that the model is given, at most."""

_log = logging.getLogger("studiolo.server")


@dataclass(frozen=True, kw_only=True)
class AskedServer:
    """An MCP server that a request names.

    Parameters:
        name: its name in the request; for one of the user's, that in ``mcp.json``.
        place: its path in the request.
        url: its address; ``None`` for one of the user's.
        headers: of every request to it.
        allowed: the tools that may be called; ``None`` for all of them.
    """

    name: str
    place: str
    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    allowed: Collection[str] | None = None


@contextlib.asynccontextmanager
async def tools_of(
    host: Host, asked: Sequence[AskedServer], taken: Collection[str] = ()
) -> AsyncGenerator[dict[str, McpTool]]:
    """Connect to the servers, and yield their tools by the model's names; disconnect at the end of the block.

    Parameters:
        taken: names of other tools.

    Raises:
        InvalidRequestError: a server is unknown, or the settings do not allow it; ``data["param"]`` is its path.
        ConnectionFailedError: a server cannot be reached.
        BusyError: too many requests have tools called for them.
    """
    if not asked:
        yield {}
        return
    settings = host.settings.current().server
    _check(asked, settings.mcp_urls != "never", settings.mcp_json)
    if host.tool_requests.locked():
        raise BusyError("Too many requests have MCP servers called for them", suggestion="Wait until one has ended.")
    async with host.tool_requests, _connected(host, asked, settings.mcp_urls, taken) as tools:
        yield tools


@contextlib.asynccontextmanager
async def _connected(
    host: Host, asked: Sequence[AskedServer], reach: Reach, taken: Collection[str]
) -> AsyncGenerator[dict[str, McpTool]]:
    own = await _own(host, asked)
    remote = {
        server.name: ServerConfig(url=server.url, headers=dict(server.headers))
        for server in asked
        if server.url is not None
    }
    groups = [(Connections(reach), remote), (Connections(), own)]
    try:
        tools: dict[str, McpTool] = {}
        for connections, configs in groups:
            if configs:
                tools |= await _begun(connections, configs, {*taken, *tools}, is_own=configs is own)
        allowed = _allowed(tools, asked)
        check_tool_count(asked[0].place, len(taken) + len(allowed), host.settings.current().server)
        yield allowed
    finally:
        await asyncio.gather(*(connections.end(INTERRUPTED_CLOSE_LIMIT_SEC) for connections, _ in groups))


def _check(asked: Sequence[AskedServer], urls: bool, own: bool) -> None:
    if len(asked) > MAX_SERVERS:
        raise wrong(asked[MAX_SERVERS].place, f"there are more than {MAX_SERVERS} MCP servers")
    names: set[str] = set()
    for server in asked:
        if server.name in names:
            raise wrong(server.place, f"two MCP servers have the name {server.name!r}")
        names.add(server.name)
        if server.url is None:
            if not own:
                setting = "Set server.mcp_json = true in config.toml to allow it."
                raise wrong(server.place, "this server does not let requests use the MCP servers of mcp.json", setting)
            continue
        if not urls:
            setting = 'Set server.mcp_urls to "public" in config.toml to allow it.'
            raise wrong(server.place, "this server does not call MCP servers that requests name", setting)
        try:
            check_url(server.url)
        except ConfigError as error:
            raise wrong(server.place, f"{error.title[0].lower()}{error.title[1:]}") from None


async def _own(host: Host, asked: Sequence[AskedServer]) -> dict[str, ServerConfig]:
    wanted = [server for server in asked if server.url is None]
    if not wanted:
        return {}
    try:
        known = await in_thread(listed_servers, host.home)
    except ConfigError as error:
        _log.error("no MCP server can be used: %s", error)
        raise InvalidRequestError(
            "The server's mcp.json cannot be read", cause="Its log says why.", data={"param": wanted[0].place}
        ) from None
    for server in wanted:
        if server.name not in known:
            raise wrong(server.place, f"there is no MCP server {server.name!r} in mcp.json")
    return {server.name: known[server.name] for server in wanted}


async def _begun(
    connections: Connections, configs: Mapping[str, ServerConfig], taken: Collection[str], *, is_own: bool
) -> dict[str, McpTool]:
    try:
        return await connections.begin(configs, taken, Deadline(START_LIMIT_SEC))
    except StudioloError as error:
        if not is_own:
            error.data["code"] = "mcp_connection_error"
            raise
        _log.error("an MCP server cannot be used: %s", error)  # its command and its variables are not the client's
        raise ConnectionFailedError(error.title, data={"code": "mcp_connection_error"}) from None


def _allowed(tools: Mapping[str, McpTool], asked: Sequence[AskedServer]) -> dict[str, McpTool]:
    by_name = {server.name: server for server in asked}
    for server in asked:
        has = {tool.name for tool in tools.values() if tool.server == server.name}
        for name in server.allowed or ():
            if name not in has:
                raise wrong(f"{server.place}.allowed_tools", f"the MCP server {server.name!r} has no tool {name!r}")

    def is_allowed(tool: McpTool) -> bool:
        allowed = by_name[tool.server].allowed
        return allowed is None or tool.name in allowed

    return {name: tool for name, tool in tools.items() if is_allowed(tool)}


@dataclass(frozen=True)
class Step:
    """An event of a prediction, and what it adds to the answer."""

    event: Event
    pieces: Sequence[Piece]


@dataclass(frozen=True)
class Answered:
    """A call of a tool has its result.

    Parameters:
        call: the call.
        tool: the tool.
        output: what it returned: text, or blocks of the protocol.
        error: why it failed; ``None`` where it did not.
    """

    call: CallText
    tool: McpTool
    output: Any
    error: str | None

    @property
    def text(self) -> str:
        """What the model is given."""
        if self.error is not None:
            return f"Error: {self.error}"
        text = self.output if isinstance(self.output, str) else msgspec.json.encode(self.output).decode()
        if len(text) <= MAX_RESULT_CHARS:
            return text
        return f"{text[:MAX_RESULT_CHARS]}\n(cut off: it has {len(text)} characters)"


Predict = Callable[[ChatRequest, int | None], AsyncGenerator[Event, None]]
"""Answers a chat, given how many tokens the answer may have; ``None`` for no limit."""


class Rounds:
    """The answers of a model to a chat: the server calls the tools in between.

    Parameters:
        chat: the chat, with all tools.
        tools: those that the server calls, by the model's names.
        predict: answers a chat.
        call_prefix: what the ids of calls begin with.
        max_tokens: tokens of all answers together at most; ``None`` for no limit.
        max_calls: calls at most; ``None`` for no limit but those of rounds and time.
    """

    def __init__(
        self,
        chat: ChatRequest,
        tools: Mapping[str, McpTool],
        predict: Predict,
        call_prefix: str = "call_",
        *,
        max_tokens: int | None,
        max_calls: int | None = None,
    ) -> None:
        self.chat = chat
        self.answers: list[Gathered] = []
        self._tools = tools
        self._predict = predict
        self._call_prefix = call_prefix
        self._max_tokens = max_tokens
        self._calls_left = max_calls

    @property
    def answer(self) -> Gathered:
        """The last answer."""
        return self.answers[-1]

    def tool(self, name: str) -> McpTool | None:
        """Return the tool that the model knows by a name; ``None`` where it is not the server's."""
        return self._tools.get(name)

    async def steps(self) -> AsyncGenerator[Step | Answered, None]:
        """Yield what happens, until the model has answered, or has called a tool that is not the server's."""
        deadline = Deadline(TOOLS_LIMIT_SEC)
        for number in range(1, MAX_ROUNDS + 1):
            left = self._tokens_left()
            if self.answers and left is not None and left <= 0:
                self.answer.result = replace(self.answer.end, stop_reason="max_tokens")
                return
            is_last = number == MAX_ROUNDS or deadline.has_passed or self._calls_left == 0
            chat = replace(self.chat, tool_choice="none") if self._tools and is_last else self.chat
            answer = Gathered(call_prefix=self._call_prefix)
            self.answers.append(answer)
            async with contextlib.aclosing(self._predict(chat, left)) as events:
                async for event in events:
                    yield Step(event, answer.add(event))
            calls = [call for call in answer.calls if call.call is not None]
            own = [call for call in calls if call.name in self._tools]
            if not answer.called or is_last or not own:
                return
            results: list[Part] = []
            for call in own:
                found = await self._called(call, deadline)
                results.append(ToolResult(found.text, call.id, call.name))
                yield found
            if len(own) < len(calls):  # the client makes the others
                return
            self.chat = continued(self.chat, answer, calls, results)

    def _tokens_left(self) -> int | None:
        if self._max_tokens is None:
            return None
        return self._max_tokens - sum(each.end.usage.predicted_tokens for each in self.answers)

    async def _called(self, call: CallText, deadline: Deadline) -> Answered:
        tool = self._tools[call.name]
        if self._calls_left is not None:
            if self._calls_left == 0:
                return Answered(call, tool, None, "The limit of calls is reached")
            self._calls_left -= 1
        return await called(tool, call, deadline)

    def total(self) -> Gathered:
        """Return the last answer with the tokens of all of them."""
        ends = [answer.end.usage for answer in self.answers]
        usage = Usage(
            sum(each.prompt_tokens for each in ends),
            sum(each.cached_prompt_tokens for each in ends),
            sum(each.predicted_tokens for each in ends),
        )
        return dataclasses.replace(
            self.answer,
            reasoning_tokens=sum(answer.reasoning_tokens for answer in self.answers),
            result=replace(self.answer.end, usage=usage),
        )


async def called(tool: McpTool, call: CallText, deadline: Deadline) -> Answered:
    """Call a tool, and return its result or why it failed."""
    arguments = call.call.arguments if call.call is not None else None
    left = deadline.remaining()
    limit_sec = CALL_LIMIT_SEC if left is None else min(CALL_LIMIT_SEC, left)
    try:
        async with asyncio.timeout(limit_sec):
            return Answered(call, tool, await tool.call(**(arguments or {})), None)
    except TimeoutError:
        return Answered(call, tool, None, f"The tool {tool.name} did not end within {limit_sec:.0f} s")
    except McpToolError as error:
        return Answered(call, tool, None, error.cause or error.title)


def continued(chat: ChatRequest, answer: Gathered, calls: Sequence[CallText], results: Sequence[Part]) -> ChatRequest:
    """Return the chat after a round: with what the model said, its calls and their results."""
    said: list[Part] = [Text(answer.text)] if answer.text.strip() else []
    said += [ToolCall(call.name, call.call.arguments, call.id) for call in calls if call.call is not None]
    messages = [*chat.messages, Message("assistant", said), Message("tool", list(results))]
    choice = chat.tool_choice if chat.tool_choice == "none" else None  # a call was made where one was required
    return replace(chat, messages=messages, tool_choice=choice, continue_last=False)
