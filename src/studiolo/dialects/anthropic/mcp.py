"""MCP servers of a request in Anthropic's form, and which of their tools are offered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ...mcp.connections import McpTool
from ..http.fields import Field, converted, honoured, wrong
from ..http.tool_servers import AskedServer
from .tools import TOOLSET, ToolEntry


class ToolConfiguration(Struct, kw_only=True):
    """Which tools of a server are offered: the older form."""

    allowed_tools: list[str] | None = None
    enabled: bool | None = None


class McpServer(Struct, kw_only=True):
    """An MCP server."""

    type: Literal["url"]
    name: Annotated[str, Meta(min_length=1)]
    url: str
    authorization_token: str | None = None
    tool_configuration: ToolConfiguration | None = None


class Enabled(Struct):
    """Whether a tool is offered, or all tools of a server are."""

    enabled: bool = True


class Toolset(Struct):
    """Which tools of a server are offered.

    Parameters:
        default: whether a tool is.
        tools: the exceptions, by name.
    """

    default: bool
    tools: dict[str, bool]

    def offers(self, tool: McpTool) -> bool:
        """Whether a tool is offered."""
        return self.tools.get(tool.name, self.default)


def asked_servers(servers: Sequence[McpServer], entries: Sequence[ToolEntry]) -> list[AskedServer]:
    """Return the servers to connect to. Raise :class:`InvalidRequestError` for a toolset of none of them."""
    names = {server.name for server in servers}
    for index, entry in enumerate(entries):
        if entry.type == TOOLSET and entry.mcp_server_name not in names:
            place = f"tools.{index}.mcp_server_name"
            if entry.mcp_server_name is None:
                raise wrong(place, "missing")
            raise wrong(place, f"there is no MCP server {entry.mcp_server_name!r} in mcp_servers")
    found: list[AskedServer] = []
    for index, server in enumerate(servers):
        configuration = server.tool_configuration or ToolConfiguration()
        if configuration.enabled is not False:
            token = server.authorization_token
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            allowed = configuration.allowed_tools
            place = f"mcp_servers.{index}"
            found.append(AskedServer(name=server.name, place=place, url=server.url, headers=headers, allowed=allowed))
    return found


def offered_tools(tools: Mapping[str, McpTool], entries: Sequence[ToolEntry]) -> dict[str, McpTool]:
    """Return the tools of servers that are offered, by the model's names."""
    sets = {
        entry.mcp_server_name: _toolset(entry, f"tools.{index}")
        for index, entry in enumerate(entries)
        if entry.type == TOOLSET
    }
    everything = Toolset(True, {})
    return {name: tool for name, tool in tools.items() if sets.get(tool.server, everything).offers(tool)}


def _toolset(entry: ToolEntry, place: str) -> Toolset:
    default = converted(entry.default_config or {}, Enabled, f"{place}.default_config").enabled
    configs: dict[str, Any] = entry.configs or {}
    exceptions = {
        name: converted(given, Enabled, f"{place}.configs.{name}").enabled
        for name, given in configs.items()
        if isinstance(given, dict) and "enabled" in given
    }
    return Toolset(default, exceptions)


FIELDS: dict[str, Field] = {
    "mcp_servers": honoured(
        "MCP servers whose tools the server calls, where server.mcp_urls allows it; a mcp_toolset among the tools says "
        "which."
    ),
    "mcp_servers.type": honoured("url, the only one."),
    "mcp_servers.name": honoured("Its name."),
    "mcp_servers.url": honoured("Its address: MCP over streamable HTTP."),
    "mcp_servers.authorization_token": honoured("Sent to it as a bearer token."),
    "mcp_servers.tool_configuration": honoured("Which of its tools are offered: the older form."),
    "mcp_servers.tool_configuration.allowed_tools": honoured("These alone.", whole=True),
    "mcp_servers.tool_configuration.enabled": honoured("false: none."),
}
