"""Tools of MCP servers: programs that speak the Model Context Protocol over standard input and output, or over HTTP.

Servers are named as LM Studio's ``mcp.json`` does. The official ``mcp`` package is needed (``pip install
"studiolo[mcp]"``) and is imported when the first server is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO, cast

import msgspec

from ..deadline import UNLIMITED, Deadline
from ..domain.chat import Tool
from ..errors import ConfigError, ConnectionFailedError, StudioloError
from ..paths import Home
from . import background
from .arguments import items
from .tools import BoundTool

McpServer = str | Path | Mapping[str, Any]
"""A server: its URL, its name in the user's ``mcp.json``, the path of an ``mcp.json``, or a dict of either form."""

_log = logging.getLogger("studiolo.client")

START_LIMIT_SEC = 60.0
"""How long a server may take until its first answer: many are downloaded when they are first started."""

CLOSE_LIMIT_SEC = 0.5
"""How long a thread waits for the programs to end; then they are ended while it continues."""

_PAGES = 100
"""The maximum number of pages of a server's list of tools."""


class ServerConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=False):
    """A server, as an entry of ``mcpServers`` in ``mcp.json``.

    Parameters:
        command, args, env, cwd: a program to start, with its arguments, environment and working directory.
        url, headers: an endpoint, and the HTTP headers of every request.
        type: ``sse`` for an endpoint of the older kind; otherwise the form is seen from the other fields.
        timeout: the maximum of seconds of a call. Default: no limit.
        disabled: leave it out.
    """

    command: str | None = None
    args: list[str] = msgspec.field(default_factory=list[str])
    env: dict[str, str] | None = None
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] | None = None
    type: str | None = None
    timeout: float | None = None
    disabled: bool = False


def mcp_json(home: Home | None = None) -> Path:
    """Return the path of the user's list of servers: ``mcp.json`` under ``STUDIOLO_HOME``."""
    return (home or Home.default()).root / "mcp.json"


def server_configs(servers: Iterable[McpServer]) -> dict[str, ServerConfig]:
    """Return the servers by name.

    Raises:
        ConfigError: a file cannot be read, an entry is malformed, or a name is unknown or used twice.
    """
    found: dict[str, ServerConfig] = {}
    for server in items(servers, "mcp", "a list of MCP servers"):
        for name, config in _named(server):
            if name in found:
                raise ConfigError(f"Two MCP servers have the name {name!r}")
            if not config.disabled:
                found[name] = config
    return found


def _named(server: McpServer) -> Iterable[tuple[str, ServerConfig]]:
    if isinstance(server, Mapping):
        if "mcpServers" in server:
            return _all(server, "the dict")
        name = str(server.get("name") or server.get("command") or server.get("url") or "server")
        return [(name, _config(name, {key: value for key, value in server.items() if key != "name"}))]
    if not isinstance(server, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(
            f"An MCP server is a {type(server).__name__}",
            cause="It can be a name in mcp.json, the path of such a file, a URL, or a dict of its settings.",
        )
    if isinstance(server, str) and re.match(r"https?://", server):
        return [(server, ServerConfig(url=server))]
    if isinstance(server, Path) or server.endswith(".json"):
        return _all(_read(Path(server)), str(server))
    path = mcp_json()
    known = dict(_all(_read(path), str(path))) if path.exists() else {}
    if server not in known:
        raise ConfigError(
            f"There is no MCP server {server!r}",
            cause=f"{path} names {', '.join(known)}." if known else f"{path} names none.",
            suggestion="Add it there, or pass its command or URL.",
        )
    return [(server, known[server])]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a list of MCP servers", cause=str(error)) from None
    return cast("Mapping[str, Any]", content)


def _all(content: Mapping[str, Any], where: str) -> Iterable[tuple[str, ServerConfig]]:
    servers: Any = content.get("mcpServers") if isinstance(content, Mapping) else None  # pyright: ignore[reportUnnecessaryIsInstance]
    if not isinstance(servers, Mapping):
        raise ConfigError(
            f"{where} lists no MCP servers", suggestion='The form is {"mcpServers": {"name": {"command": ...}}}.'
        )
    return [(name, _config(name, config)) for name, config in cast("Mapping[str, Any]", servers).items()]


def _config(name: str, entry: Any) -> ServerConfig:
    try:
        config = msgspec.convert(entry, ServerConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"The MCP server {name!r} is malformed", cause=str(error).replace("`", "'")) from None
    if (config.command is None) == (config.url is None):
        raise ConfigError(f"The MCP server {name!r} needs either a command or a url")
    return config


@contextlib.asynccontextmanager
async def mcp_tools(
    servers: Iterable[McpServer], taken: Iterable[str] = (), deadline: Deadline = UNLIMITED
) -> AsyncGenerator[dict[str, BoundTool]]:
    """Connect to the servers and yield their tools by name; disconnect at the end of the block.

    A tool whose name is in ``taken`` or used by another server is renamed to ``server_tool``.

    Raises:
        ConfigError: as :func:`server_configs`, or the ``mcp`` package is not installed.
        ConnectionFailedError: a server cannot be started or reached.
        TimeLimitError: not all of them answered before the ``deadline``.
    """
    connections = _Connections()
    tools = await connections.begin(servers, taken, deadline)
    try:
        yield tools
    finally:
        await connections.end()


_closing: set[asyncio.Task[None]] = set()
"""Tasks on the background loop that still close connections, whose users did not wait for it."""


async def _finish_closing() -> None:
    if _closing:
        await asyncio.wait(_closing)


class _Connections:
    """Connections that a task of their own holds open: cancelling a user of them does not cancel it."""

    def __init__(self) -> None:
        self._release = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
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
        self, servers: Iterable[McpServer], taken: Iterable[str], deadline: Deadline
    ) -> dict[str, BoundTool]:
        """Connect; raises as :func:`mcp_tools`."""
        configs = await asyncio.to_thread(server_configs, servers)
        if not configs:
            return {}
        ready: asyncio.Future[dict[str, BoundTool]] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold(configs, set(taken), ready), name="MCP servers")
        try:
            async with deadline.enforced("Starting the MCP servers"):
                return await ready
        except BaseException:
            self._task.cancel()
            await asyncio.wait([self._task])
            raise

    async def end(self, limit_sec: float | None = None) -> None:
        """Cancel the calls that still run, close the connections, and end the programs behind them.

        Parameters:
            limit_sec: how long to wait; the rest is done on the background loop while the caller continues.
        """
        for call in self._calls:
            call.cancel()
        self._release.set()
        if self._task is not None:
            _, running = await asyncio.wait([self._task], timeout=limit_sec)
            if running:
                _closing.add(self._task)
                self._task.add_done_callback(_closing.discard)
                background.at_close(_finish_closing)

    async def _hold(
        self, configs: Mapping[str, ServerConfig], taken: set[str], ready: asyncio.Future[dict[str, BoundTool]]
    ) -> None:
        try:
            async with contextlib.AsyncExitStack() as stack:
                tools = await _connect_all(stack, configs, taken)
                if not ready.done():
                    ready.set_result(tools)
                    await self._release.wait()
        except Exception as error:
            if not ready.done():
                ready.set_exception(_innermost(error))
            else:
                _log.warning("the MCP servers could not be left in order: %r", error)
        finally:
            if not ready.done():
                ready.set_exception(ConnectionFailedError("The MCP servers ended while they were being started"))


async def _connect_all(
    stack: contextlib.AsyncExitStack, configs: Mapping[str, ServerConfig], names: set[str]
) -> dict[str, BoundTool]:
    tools: dict[str, BoundTool] = {}
    for server, config in configs.items():
        client = await _connected(stack, server, config)
        for tool in await _listed(client, server):
            name = tool.name
            if name in names:
                name = re.sub(r"\W+", "_", f"{server}_{tool.name}").strip("_")
            if name in names:
                raise ConfigError(
                    f"Duplicate tool names are not permitted: {name!r}", cause=f"One is the MCP server {server!r}'s."
                )
            names.add(name)
            tools[name] = _bound(client, name, tool)
    return tools


async def _connected(stack: contextlib.AsyncExitStack, name: str, config: ServerConfig) -> Any:
    package, transport = _package("mcp"), None
    if config.command is not None:
        parameters = package.StdioServerParameters(
            command=config.command, args=config.args, env=config.env, cwd=config.cwd
        )
        log = stack.enter_context(_open_log(name))
        transport = _package("mcp.client.stdio").stdio_client(parameters, errlog=log)
    elif config.type == "sse":
        transport = _package("mcp.client.sse").sse_client(config.url, headers=config.headers)
    else:
        http = _package("mcp.shared._httpx_utils").create_mcp_http_client(headers=config.headers)
        client = await stack.enter_async_context(http)
        transport = _package("mcp.client.streamable_http").streamable_http_client(config.url, http_client=client)
    connection = package.Client(transport, read_timeout_seconds=config.timeout)
    try:
        async with asyncio.timeout(START_LIMIT_SEC):
            return await stack.enter_async_context(connection)
    except Exception as error:
        raise _unreachable(name, config, error) from None


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            "MCP servers need the package mcp, which is not installed",
            cause=str(error),
            suggestion='Install it: pip install "studiolo[mcp]".',
        ) from None


def _log_path(name: str) -> Path:
    return Home.default().logs / f"mcp-{re.sub(r'[^A-Za-z0-9._-]+', '_', name)[-60:]}.log"


def _open_log(name: str) -> TextIO:
    """Open the log file for a server's standard error."""
    path = _log_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w")


def _unreachable(name: str, config: ServerConfig, error: BaseException) -> ConnectionFailedError:
    error = _innermost(error)
    cause = f"No answer within {START_LIMIT_SEC:.0f} s" if isinstance(error, TimeoutError) else repr(error)
    where = config.url or " ".join([config.command or "", *config.args])
    suggestion = "Try the address in a browser." if config.url else f"Its log is {_log_path(name)}."
    return ConnectionFailedError(
        f"The MCP server {name!r} cannot be {'reached' if config.url else 'started'}",
        cause=f"{where}: {cause}",
        suggestion=suggestion,
    )


def _innermost(error: BaseException) -> BaseException:
    """Return the error that a task group wraps."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


async def _listed(client: Any, server: str) -> list[Any]:
    tools: list[Any] = []
    cursor: str | None = None
    for _ in range(_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if not cursor:
            return tools
    raise ConfigError(f"The MCP server {server!r} lists tools without end")


def _bound(client: Any, name: str, tool: Any) -> BoundTool:
    async def call(**arguments: Any) -> Any:
        return _content(tool.name, await client.call_tool(tool.name, arguments))

    schema: dict[str, Any] = {"type": "object", "properties": {}, **(tool.input_schema or {})}
    schema.pop("$schema", None)
    definition = Tool(name, tool.description or tool.title or name, schema)
    return BoundTool(definition=definition, arguments=dict, call=call, is_async=True)


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


@contextlib.contextmanager
def mcp_tools_from_thread(
    servers: Iterable[McpServer], taken: Iterable[str] = (), deadline: Deadline = UNLIMITED
) -> Generator[dict[str, BoundTool]]:
    """:func:`mcp_tools` for a thread: the connections live on the background loop, the tools are ordinary functions."""
    connections = background.run(_make())
    tools = background.run(connections.begin(servers, taken, deadline))
    try:
        yield {name: _in_thread(tool, connections) for name, tool in tools.items()}
    finally:
        background.run(connections.end(CLOSE_LIMIT_SEC))


async def _make() -> _Connections:
    return _Connections()


def _in_thread(tool: BoundTool, connections: _Connections) -> BoundTool:
    call = tool.call

    def call_and_wait(**arguments: Any) -> Any:
        return background.run(connections.call(call(**arguments)))

    return BoundTool(definition=tool.definition, arguments=tool.arguments, call=call_and_wait, is_async=False)
