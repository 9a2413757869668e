"""Tools of MCP servers: programs that speak the Model Context Protocol over standard input and output, or over HTTP.

Servers are named as LM Studio's ``mcp.json`` does (:mod:`.config`). The official ``mcp`` package is needed
(``pip install "studiolo[mcp]"``) and is imported when the first server is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, cast

import msgspec

from ..daemon_threads import in_thread
from ..deadline import UNLIMITED, Deadline
from ..domain.chat import Tool
from ..errors import ConfigError, ConnectionFailedError, StudioloError
from ..outbound import Reach
from .checked_http import checked_client
from .config import ServerConfig
from .program import Program

_log = logging.getLogger("studiolo.client")

START_LIMIT_SEC = 60.0
"""How long the start of a server may take, up to its list of tools: many are downloaded when they are first started."""

CALL_LIMIT_SEC = 300.0
"""How long a call of a tool may take without an answer or a progress notification."""

HTTP_LIMIT_SEC = 30.0
"""How long it may take to connect to an address, and to send to it."""

CLOSE_LIMIT_SEC = 8.0
"""How long to wait for a connection to close and its program to end; then the program is killed."""

INTERRUPTED_CLOSE_LIMIT_SEC = 0.4
"""The same where the caller waits because of an exception."""

ABANDON_LIMIT_SEC = 3.0
"""How long to wait for a connection whose program was killed."""

_PAGES = 1000
"""The maximum number of pages of a server's list of tools."""


@dataclass(frozen=True, kw_only=True)
class McpTool:
    """A tool of a server that is connected.

    Parameters:
        server: the server's name.
        name: the tool's own name.
        definition: its description for the model, under a name that no other tool has.
        call: calls it with its arguments as keywords; raises :class:`McpToolError`.
        is_remote: whether a request names the server by its address.
        annotations: what the server says about it, such as ``readOnlyHint``.
    """

    server: str
    name: str
    definition: Tool
    call: Callable[..., Coroutine[Any, Any, Any]]
    is_remote: bool
    annotations: Mapping[str, Any]


def close_limit_sec(deadline: Deadline) -> float:
    """Return how long to wait for connections to close: no longer than the caller has time, but for a moment."""
    left = deadline.remaining()
    return CLOSE_LIMIT_SEC if left is None else min(CLOSE_LIMIT_SEC, max(INTERRUPTED_CLOSE_LIMIT_SEC, left))


class Connections:
    """The connections of an ``act`` or of a request, and the calls over them.

    Parameters:
        reach: the addresses that may be connected to; ``None`` for whatever the user has configured.
    """

    def __init__(self, reach: Reach | None = None) -> None:
        self._reach: Reach | None = reach
        self._connections: list[_Connection] = []
        self._calls: set[asyncio.Task[Any]] = set()

    async def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Await a call of a tool, which :meth:`end` cancels if it still runs."""
        task = asyncio.ensure_future(work)
        self._calls.add(task)
        try:
            return await task
        finally:
            self._calls.discard(task)

    async def begin(
        self, given: Mapping[str, ServerConfig], taken: Iterable[str] = (), deadline: Deadline = UNLIMITED
    ) -> dict[str, McpTool]:
        """Connect to the servers, side by side, and return their tools by name.

        A tool whose name is in ``taken`` or used by another server is renamed to ``server_tool``.

        Raises:
            ConfigError: a reference of a server's settings has no value, two tools have one name, or the ``mcp``
                package is not installed.
            ConnectionFailedError: a server cannot be started or reached, or is silent for too long.
            TimeLimitError: not all of them answered before the ``deadline``.
        """
        expanded = dict(given)
        if self._reach is None:  # nobody else may have the variables of this environment sent anywhere
            expanded = {name: config.expanded(name) for name, config in given.items()}  # before anything is started
        if expanded:
            await in_thread(_package, "mcp")
        self._connections = [_Connection(name, given[name], config, self._reach) for name, config in expanded.items()]
        ready = [asyncio.ensure_future(connection.tools()) for connection in self._connections]
        try:
            async with deadline.enforced("Starting the MCP servers"):
                listed = await asyncio.gather(*ready)
            return _by_name(self._connections, listed, set(taken))
        except BaseException:
            for each in ready:
                each.cancel()
            await self.end(INTERRUPTED_CLOSE_LIMIT_SEC)
            await asyncio.gather(*ready, return_exceptions=True)
            raise

    async def end(self, limit_sec: float) -> None:
        """Cancel the calls that still run, close the connections, and end the programs behind them.

        Parameters:
            limit_sec: how long to wait for the programs before they are killed.
        """
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*(connection.end(limit_sec) for connection in self._connections))


class _Connection:
    """A connection, which a task of its own holds open: cancelling a user of it does not cancel it.

    Parameters:
        written: the server's settings as the user has written them, for messages.
        config: the same with references replaced.
        reach: the addresses that may be connected to.
    """

    def __init__(self, name: str, written: ServerConfig, config: ServerConfig, reach: Reach | None) -> None:
        self.name = name
        self._written = written
        self._config = config
        self._reach: Reach | None = reach
        self._step = "start"
        self._needs_login = False
        self._program = Program(name, config) if config.command is not None else None
        self._release = asyncio.Event()
        self._listed: asyncio.Future[list[McpTool]] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold(), name=f"MCP server {name}")

    async def tools(self) -> list[McpTool]:
        """Return the server's tools once it has listed them. Raises as :meth:`Connections.begin`."""
        limit_sec = self._config.timeout or START_LIMIT_SEC
        try:
            async with asyncio.timeout(limit_sec):
                return await asyncio.shield(self._listed)
        except TimeoutError:
            raise self._unreachable(f"it did not answer {self._step!r}", f"No answer within {limit_sec:g} s") from None

    async def end(self, limit_sec: float) -> None:
        """Close the connection; see :meth:`Connections.end`."""
        self._release.set()
        if not self._listed.done():
            self._task.cancel()
        if not (await asyncio.wait([self._task], timeout=limit_sec))[0]:
            self._task.cancel()  # this kills the program
            if not (await asyncio.wait([self._task], timeout=ABANDON_LIMIT_SEC))[0]:
                _log.warning("the connection to the MCP server %r did not close and was abandoned", self.name)

    async def _hold(self) -> None:
        try:
            async with contextlib.AsyncExitStack() as stack:
                transport = await self._transport(stack)
                self._step = "initialize"
                client = await stack.enter_async_context(_package("mcp").Client(transport))
                self._step = "tools/list"
                self._listed.set_result(await self._list(client))
                await self._release.wait()
        except Exception as failure:
            error = _innermost(failure)
            if self._listed.done():
                _log.warning(
                    "the connection to the MCP server %r did not close in order: %s", self.name, self._said(error)
                )
            elif isinstance(error, ConfigError):
                self._listed.set_exception(error)
            else:
                self._listed.set_exception(self._unreachable(f"{self._step!r} failed", self._said(error)))
        finally:
            if self._program is not None:
                self._program.discard_log()
            if not self._listed.done():
                self._listed.set_exception(ConnectionFailedError(f"The MCP server {self.name!r} was not started"))
            self._listed.exception()  # marks it as retrieved: the caller may have given up

    async def _transport(self, stack: contextlib.AsyncExitStack) -> Any:
        config = self._config
        if self._program is not None:
            return self._program.connected()
        if config.type == "sse":
            return _package("mcp.client.sse").sse_client(config.url, config.headers, sse_read_timeout=None)
        if self._reach is None:
            http = _package("mcp.shared._httpx_utils").create_mcp_http_client(headers=config.headers)
        else:
            http = checked_client(config.headers, self._reach)
        client = await stack.enter_async_context(http)
        client.event_hooks = {"response": [self._note_status]}
        client.timeout = (HTTP_LIMIT_SEC, None, HTTP_LIMIT_SEC, HTTP_LIMIT_SEC)  # nothing limits silence but a call
        return _package("mcp.client.streamable_http").streamable_http_client(config.url, http_client=client)

    async def _note_status(self, response: Any) -> None:
        self._needs_login = response.status_code in (401, 403)  # the mcp package hides it

    async def _list(self, client: Any) -> list[McpTool]:
        tools: list[McpTool] = []
        cursor: str | None = None
        for _ in range(_PAGES):
            page = await client.list_tools(cursor=cursor)
            tools += [self._bound(client, tool) for tool in page.tools]
            cursor = page.next_cursor
            if not cursor:
                return tools
        raise ConfigError(f"The MCP server {self.name!r} lists tools without end")

    def _bound(self, client: Any, tool: Any) -> McpTool:
        async def call(**arguments: Any) -> Any:
            return _content(tool.name, await self._call(client, tool.name, arguments))

        schema: dict[str, Any] = {"type": "object", "properties": {}, **(tool.input_schema or {})}
        schema.pop("$schema", None)
        definition = Tool(tool.name, tool.description or tool.title or tool.name, schema)
        hints: dict[str, Any] = {}
        if tool.annotations is not None:
            hints = tool.annotations.model_dump(by_alias=True, exclude_none=True)
        return McpTool(
            server=self.name,
            name=tool.name,
            definition=definition,
            call=call,
            is_remote=self._reach is not None,
            annotations=hints,
        )

    async def _call(self, client: Any, tool: str, arguments: dict[str, Any]) -> Any:
        limit_sec = self._config.timeout or CALL_LIMIT_SEC
        timer = asyncio.timeout(limit_sec)

        async def extend(*_: Any) -> None:
            timer.reschedule(asyncio.get_running_loop().time() + limit_sec)

        try:
            async with timer:
                return await client.call_tool(tool, arguments, progress_callback=extend)
        except Exception as error:
            if timer.expired():
                cause = f"The MCP server {self.name!r} sent neither an answer nor progress for {limit_sec:g} s"
            else:
                cause = f"The MCP server {self.name!r} says: {self._said(error)}"
            raise McpToolError(f"The tool {tool} failed", cause=cause, suggestion=self._hint) from None

    @property
    def _hint(self) -> str | None:
        return self._program.log_hint if self._program is not None else None

    def _said(self, error: BaseException) -> str:
        error = _innermost(error)
        return self._written.without_values(str(error) or repr(error))

    def _unreachable(self, what: str, said: str) -> ConnectionFailedError:
        is_program = self._program is not None
        title = f"The MCP server {self.name!r} cannot be {'started' if is_program else 'reached'}"
        if self._step != "start":
            title += f": {what}"
        suggestion = self._hint if is_program else "Try the address in a browser."
        if self._needs_login or (not is_program and re.search(r"\b40[13]\b", said)):
            suggestion = (
                'The server requires a login: give it a token, as in "headers": {"Authorization": "Bearer ..."}.'
            )
        return ConnectionFailedError(title, cause=f"{self._written.where}: {said}", suggestion=suggestion)


def _by_name(connections: list[_Connection], listed: list[list[McpTool]], names: set[str]) -> dict[str, McpTool]:
    """Return the tools of all servers under names that none is taken of."""
    found: dict[str, McpTool] = {}
    for connection, tools in zip(connections, listed, strict=True):
        for tool in tools:
            name = tool.name
            if name in names:
                name = re.sub(r"\W+", "_", f"{connection.name}_{tool.name}").strip("_")
            if name in names:
                raise ConfigError(
                    f"Duplicate tool names are not permitted: {name!r}",
                    cause=f"One is the MCP server {connection.name!r}'s.",
                )
            names.add(name)
            found[name] = replace(tool, definition=msgspec.structs.replace(tool.definition, name=name))
    return found


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            "MCP servers need the package mcp, which is not installed",
            cause=str(error),
            suggestion='Install it: pip install "studiolo[mcp]".',
        ) from None


def _innermost(error: BaseException) -> BaseException:
    """Return the error that a task group wraps."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


class McpToolError(StudioloError):
    """A tool of an MCP server reported an error."""

    code = "studiolo.mcpTool"


def _content(name: str, result: Any) -> Any:
    """Return a result for the model: text unchanged, other kinds of content by their names and sizes."""
    blocks = [_block(block) for block in result.content]
    whole = "\n".join(block for block in blocks if isinstance(block, str))
    if result.is_error:
        raise McpToolError(f"The tool {name} failed", cause=whole or None)
    if all(isinstance(block, str) for block in blocks):
        return whole if blocks or result.structured_content is None else result.structured_content
    return blocks


def _block(block: Any) -> Any:
    if block.type == "text":
        return block.text
    if block.type == "resource" and getattr(block.resource, "text", None) is not None:
        return block.resource.text
    fields = cast("dict[str, Any]", block.model_dump(mode="json", by_alias=True, exclude_none=True))
    if isinstance(data := fields.pop("data", None), str):
        fields["size"] = f"{len(data) * 3 // 4} bytes"
    return fields
