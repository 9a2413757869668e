"""Tools of MCP servers for ``act``: in an event loop, and in a thread."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from typing import Any

from ..daemon_threads import in_thread
from ..deadline import UNLIMITED, Deadline
from ..mcp import config
from ..mcp.config import McpServer, ServerConfig
from ..mcp.connections import INTERRUPTED_CLOSE_LIMIT_SEC, Connections, McpTool, close_limit_sec
from . import background
from .arguments import items
from .tools import BoundTool


def server_configs(servers: Iterable[McpServer]) -> Mapping[str, ServerConfig]:
    """Return the servers by name; raises as :func:`studiolo.mcp.config.server_configs`, and for what is no list."""
    return config.server_configs(items(servers, "mcp", "a list of MCP servers"))


@contextlib.asynccontextmanager
async def mcp_tools(
    servers: Iterable[McpServer], taken: Iterable[str] = (), deadline: Deadline = UNLIMITED
) -> AsyncGenerator[dict[str, BoundTool]]:
    """Connect to the servers, and yield their tools by name; disconnect at the end of the block.

    Raises:
        ConfigError: a server's settings are malformed.
        StudioloError: as :meth:`studiolo.mcp.connections.Connections.begin`.
    """
    connections = Connections()
    tools = await _begun(connections, servers, taken, deadline)
    try:
        yield {name: _bound(tool) for name, tool in tools.items()}
    except BaseException:
        await connections.end(INTERRUPTED_CLOSE_LIMIT_SEC)
        raise
    await connections.end(close_limit_sec(deadline))


async def _begun(
    connections: Connections, servers: Iterable[McpServer], taken: Iterable[str], deadline: Deadline
) -> dict[str, McpTool]:
    return await connections.begin(await in_thread(server_configs, servers), taken, deadline)


def _bound(tool: McpTool) -> BoundTool:
    return BoundTool(definition=tool.definition, arguments=dict, call=tool.call, is_async=True)


@contextlib.contextmanager
def mcp_tools_from_thread(
    servers: Iterable[McpServer], taken: Iterable[str] = (), deadline: Deadline = UNLIMITED
) -> Generator[dict[str, BoundTool]]:
    """:func:`mcp_tools` for a thread: the connections live on the background loop, the tools are ordinary functions."""
    connections = Connections()
    tools = background.run(_begun(connections, servers, taken, deadline))
    try:
        yield {name: _in_thread(tool, connections) for name, tool in tools.items()}
    except BaseException:
        background.run(connections.end(INTERRUPTED_CLOSE_LIMIT_SEC))
        raise
    background.run(connections.end(close_limit_sec(deadline)))


def _in_thread(tool: McpTool, connections: Connections) -> BoundTool:
    def call_and_wait(**arguments: Any) -> Any:
        return background.run(connections.call(tool.call(**arguments)))

    return BoundTool(definition=tool.definition, arguments=dict, call=call_and_wait, is_async=False)
