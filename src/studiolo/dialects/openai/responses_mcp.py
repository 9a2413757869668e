"""Tools of MCP servers in OpenAI's Responses API: which are offered, which need approval, and their items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta, Struct

from ...mcp.connections import McpTool
from ..http.fields import converted, wrong
from ..http.tool_servers import AskedServer

_UPSTREAM = ("connector_id", "tunnel_id")
"""Ways to reach servers through OpenAI's own services."""


class ToolFilter(Struct):
    """Some of the tools of a server."""

    tool_names: list[str] | None = None
    read_only: bool | None = None

    def matches(self, tool: McpTool) -> bool:
        """Whether a tool is among them."""
        is_read_only = tool.annotations.get("readOnlyHint") is True
        return (self.tool_names is None or tool.name in self.tool_names) and (
            self.read_only is None or is_read_only == self.read_only
        )


class ApprovalFilter(Struct):
    """Which tools need approval, and which do not."""

    always: ToolFilter | None = None
    never: ToolFilter | None = None


class McpServerTool(Struct):
    """An MCP server, in the tools of a request."""

    type: Literal["mcp"]
    server_label: Annotated[str, Meta(min_length=1)]
    server_url: str | None = None
    server_description: str | None = None
    headers: dict[str, str] | None = None
    authorization: str | None = None
    allowed_tools: list[str] | ToolFilter | None = None
    require_approval: Literal["always", "never"] | ApprovalFilter | None = None
    allowed_callers: list[Literal["direct", "programmatic"]] | None = None

    def needs_approval(self, tool: McpTool) -> bool:
        """Whether a call of a tool has to be approved before it is made: as upstream, by default."""
        rule = self.require_approval
        if isinstance(rule, ApprovalFilter):
            if rule.never is not None and rule.never.matches(tool):
                return False
            if rule.always is not None and rule.always.matches(tool):
                return True
            return rule.always is None or rule.never is not None
        return rule != "never"

    @property
    def declared(self) -> dict[str, Any]:
        """The server as a response shows it: without what authenticates the request at it."""
        allowed = self.allowed_tools
        rule = self.require_approval
        return {
            "type": "mcp",
            "server_label": self.server_label,
            "server_url": self.server_url,
            "server_description": self.server_description,
            "headers": None,
            "allowed_tools": msgspec.to_builtins(allowed) if isinstance(allowed, ToolFilter) else allowed,
            "require_approval": (msgspec.to_builtins(rule) if isinstance(rule, ApprovalFilter) else rule) or "always",
        }


@dataclass
class Servers:
    """The MCP servers of a request, and their tools once they are connected.

    Parameters:
        asked: the servers, as they are connected to.
        given: the same by their labels, as the request has them.
        tools: by the model's names.
    """

    asked: list[AskedServer] = field(default_factory=list[AskedServer])
    given: dict[str, McpServerTool] = field(default_factory=dict[str, McpServerTool])
    tools: dict[str, McpTool] = field(default_factory=dict[str, McpTool])

    def add(self, value: Any, place: str) -> dict[str, Any]:
        """Take a server of a request. Return it as a response shows it.

        Parameters:
            place: its path in the request.
        """
        for name in _UPSTREAM:
            if cast("dict[str, Any]", value).get(name) is not None:
                raise wrong(f"{place}.{name}", "a service of OpenAI's own", "Give a server_url.")
        server = converted(value, McpServerTool, place)
        if server.server_url is None:
            raise wrong(f"{place}.server_url", "missing")
        headers = dict(server.headers or {})
        if server.authorization is not None:
            headers["Authorization"] = f"Bearer {server.authorization}"
        allowed = server.allowed_tools
        self.asked.append(
            AskedServer(
                name=server.server_label,
                place=place,
                url=server.server_url,
                headers=headers,
                allowed=allowed if isinstance(allowed, list) else None,
            )
        )
        self.given[server.server_label] = server
        return server.declared

    def connected(self, tools: Mapping[str, McpTool]) -> None:
        """Take the tools of the servers that are connected."""
        self.tools = {name: tool for name, tool in tools.items() if self._is_allowed(tool)}

    def _is_allowed(self, tool: McpTool) -> bool:
        server = self.given[tool.server]
        if server.allowed_callers is not None and "direct" not in server.allowed_callers:
            return False
        return not isinstance(server.allowed_tools, ToolFilter) or server.allowed_tools.matches(tool)

    @property
    def callable(self) -> dict[str, McpTool]:
        """The tools that are called without being approved, by the model's names."""
        return {name: tool for name, tool in self.tools.items() if not self.needs_approval(name)}

    def needs_approval(self, name: str) -> bool:
        """Whether a call of the tool that the model knows by a name has to be approved."""
        tool = self.tools[name]
        return self.given[tool.server].needs_approval(tool)

    def find(self, label: str, name: str) -> tuple[str, McpTool] | None:
        """Return a server's tool with the name that the model knows it by."""
        return next(
            ((known, tool) for known, tool in self.tools.items() if (tool.server, tool.name) == (label, name)), None
        )

    def chosen(self, label: str, name: str | None) -> list[str]:
        """Return the names, as the model knows them, of one tool of a server or of all."""
        return [known for known, tool in self.tools.items() if tool.server == label and name in (None, tool.name)]

    def listed(self, label: str) -> list[dict[str, Any]]:
        """Return the tools of a server as an item lists them."""
        return [
            {
                "name": tool.name,
                "description": tool.definition.description,
                "input_schema": tool.definition.parameters or {},
                "annotations": dict(tool.annotations) or None,
            }
            for tool in self.tools.values()
            if tool.server == label
        ]


@dataclass(frozen=True)
class Approved:
    """A call that the client has approved.

    Parameters:
        request: the item by which approval was asked for.
        place: the path of the approval in the request.
    """

    request: dict[str, Any]
    place: str


def approved_calls(placed: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[Approved]:
    """Yield the calls that are approved and not made yet.

    Raises:
        InvalidRequestError: an approval is of a request that is not there.
    """
    requests = {item["id"]: item for _, item in placed if item["type"] == "mcp_approval_request"}
    made = {item.get("approval_request_id") for _, item in placed if item["type"] == "mcp_call"}
    for place, item in placed:
        if item["type"] == "mcp_approval_response":
            wanted = item["approval_request_id"]
            if wanted not in requests:
                raise wrong(f"{place}.approval_request_id", f"there is no approval request {wanted!r}")
            if item["approve"] and wanted not in made:
                made.add(wanted)
                yield Approved(requests[wanted], place)
