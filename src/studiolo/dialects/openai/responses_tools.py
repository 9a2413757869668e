"""The tools of a request for a response: which are offered to the model, under which names, and which one it must call.

A model knows functions alone. A tool with free text as input becomes a function with one text, and a function in a
namespace is named after both. Tools that OpenAI runs on its own machines are not offered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

from msgspec import Meta, Struct

from ...domain.chat import NamedTool, Tool, ToolChoice
from ...mcp.connections import McpTool
from ..http.chats import chosen
from ..http.fields import converted, wrong
from .responses_mcp import Servers

FREE_TEXT = "input"
"""The parameter of the function that stands for a tool with free text as input."""

_FREE_TEXT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {FREE_TEXT: {"type": "string"}},
    "required": [FREE_TEXT],
    "additionalProperties": False,
}

Name = Annotated[str, Meta(min_length=1)]


class FunctionTool(Struct):
    """A function."""

    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class CustomTool(Struct):
    """A tool with free text as input."""

    type: Literal["custom"]
    name: Name
    description: str | None = None
    format: dict[str, Any] | None = None


class Namespace(Struct):
    """Tools under a common name."""

    type: Literal["namespace"]
    name: Name
    tools: list[dict[str, Any]]
    description: str = ""


class AllowedTools(Struct):
    """Some of the tools, and whether one of them must be called."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[dict[str, Any]]


class ChosenTool(Struct):
    """A tool that must be called."""

    type: Literal["function", "custom"]
    name: str
    namespace: str | None = None


class ChosenServer(Struct):
    """An MCP server one of whose tools must be called."""

    type: Literal["mcp"]
    server_label: str
    name: str | None = None


@dataclass(frozen=True)
class Origin:
    """Where a function of the model's comes from."""

    name: str
    namespace: str | None = None
    is_custom: bool = False


@dataclass
class Offered:
    """The tools that a model is offered.

    Parameters:
        tools: as the model knows them.
        origins: by the model's names.
        declared: as the request has declared them; what is not offered is left out.
        ignored: takes the paths of what is not offered, and of grammars, which are not enforced.
        servers: the MCP servers whose tools are offered.
    """

    tools: list[Tool] = field(default_factory=list[Tool])
    origins: dict[str, Origin] = field(default_factory=dict[str, Origin])
    declared: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    ignored: list[str] = field(default_factory=list[str])
    servers: Servers = field(default_factory=Servers)

    def connected(self, tools: Mapping[str, McpTool]) -> None:
        """Offer the tools of the MCP servers, which are connected now."""
        self.servers.connected(tools)
        self.tools += [tool.definition for tool in self.servers.tools.values()]

    def origin(self, model_name: str) -> Origin:
        """Return what the model means by a name."""
        return self.origins.get(model_name, Origin(model_name))

    def add(self, given: Any, place: str) -> None:
        """Offer a tool of a request.

        Parameters:
            place: its path in the request.
        """
        kind = _kind(given, place)
        if kind == "mcp":
            self.declared.append(self.servers.add(given, place))
        elif kind == "namespace":
            self._add_namespace(converted(given, Namespace, place), place)
        elif (declared := self._add_one(given, place)) is not None:
            self.declared.append(declared)

    def _add_namespace(self, space: Namespace, place: str) -> None:
        found = [self._add_one(tool, f"{place}.tools.{i}", space) for i, tool in enumerate(space.tools)]
        tools = [tool for tool in found if tool is not None]
        self.declared.append(
            {"type": "namespace", "name": space.name, "description": space.description, "tools": tools}
        )

    def _add_one(self, given: Any, place: str, space: Namespace | None = None) -> dict[str, Any] | None:
        kind = _kind(given, place)
        if kind == "function":
            tool: FunctionTool | CustomTool = converted(given, FunctionTool, place)
            parameters = tool.parameters
            declared: dict[str, Any] = {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": parameters,
                "strict": tool.strict is not False,
            }
            notes: list[str] = []
        elif kind == "custom":
            tool = converted(given, CustomTool, place)
            shape = tool.format or {"type": "text"}
            declared = {"type": "custom", "name": tool.name, "description": tool.description, "format": shape}
            parameters = dict(_FREE_TEXT_SCHEMA)
            if definition := shape.get("definition"):
                self.ignored.append(f"{place}.format")
            notes = [f"The input has the form of this {shape.get('syntax')} grammar:\n{definition}"] * bool(definition)
        else:
            self.ignored.append(place)
            return None
        namespace = None if space is None else space.name
        name = model_name(tool.name, namespace)
        if name in self.origins:
            raise wrong(place, f"two tools have the name {tool.name!r}")
        about = [space.description] if space is not None else []
        description = "\n".join(part for part in (*about, tool.description, *notes) if part)
        self.origins[name] = Origin(tool.name, namespace, kind == "custom")
        self.tools.append(Tool(name, description or None, parameters))
        return declared

    def choice(self, value: Any) -> tuple[list[Tool], ToolChoice | None]:
        """Return the tools that may be called, and whether one must be, by the field ``tool_choice``."""
        where = "tool_choice"
        if value is None or value in ("none", "auto", "required"):
            return self.tools, chosen(self.tools, value)
        if isinstance(value, str):
            raise wrong(where, f"{value!r} is none of none, auto, required")
        kind = _kind(value, where)
        if kind == "allowed_tools":
            allowed = converted(value, AllowedTools, where)
            each = [self._chosen(tool, f"{where}.tools.{i}") for i, tool in enumerate(allowed.tools)]
            names = {name for some in each for name in some}
            tools = [tool for tool in self.tools if tool.name in names]
            return tools, chosen(tools, allowed.mode)
        named = self._chosen(value, where)
        if len(named) > 1:  # any tool of an MCP server
            return [tool for tool in self.tools if tool.name in named], "required"
        return self.tools, NamedTool(named[0])

    def _chosen(self, value: Any, place: str) -> list[str]:
        kind = _kind(value, place)
        if kind == "mcp":
            server = converted(value, ChosenServer, place)
            if not (found := self.servers.chosen(server.server_label, server.name)):
                raise wrong("tool_choice", f"the MCP server {server.server_label!r} has no such tool")
            return found
        if kind not in ("function", "custom"):
            raise wrong("tool_choice", f"there is no tool {kind!r} here", "Name one of the request's functions.")
        tool = converted(value, ChosenTool, place)
        names = [
            name
            for name, origin in self.origins.items()
            if origin.name == tool.name
            and origin.is_custom == (kind == "custom")
            and tool.namespace in (None, origin.namespace)
        ]
        if not names:
            raise wrong("tool_choice", f"there is no tool {tool.name!r}", "Name one of the request's tools.")
        return names[:1]


def read_tools(tools: Sequence[Any], items: Sequence[tuple[str, dict[str, Any]]], ignored: list[str]) -> Offered:
    """Return the tools of a request.

    Parameters:
        tools: its field ``tools``.
        items: the items of its input, with their paths; ``additional_tools`` are among them.
        ignored: takes the paths of what is not offered.
    """
    offered = Offered(ignored=ignored)
    for index, tool in enumerate(tools):
        offered.add(tool, f"tools.{index}")
    for place, item in items:
        if item.get("type") == "additional_tools":
            for index, tool in enumerate(cast("list[Any]", item["tools"])):
                offered.add(tool, f"{place}.tools.{index}")
    return offered


def model_name(name: str, namespace: str | None) -> str:
    """Return the name by which the model calls a tool."""
    return name if not namespace else f"{namespace}__{name}"


def free_text(arguments: str) -> str:
    """Return the free text in the arguments of a call, as far as they are written."""
    try:
        whole = json.loads(arguments)
        return str(whole[FREE_TEXT])
    except (ValueError, KeyError, TypeError):
        pass
    _, _, rest = arguments.partition(f'"{FREE_TEXT}"')
    begun = rest.lstrip().removeprefix(":").lstrip()
    for end in range(len(begun), max(len(begun) - 6, 0), -1):  # an escape may be cut off
        try:
            return str(json.loads(begun[:end] + '"', strict=False))
        except ValueError:
            continue
    return ""


def _kind(value: Any, place: str) -> str:
    if not isinstance(value, dict):
        raise wrong(place, "expected an object")
    kind = cast("dict[str, Any]", value).get("type")
    if not isinstance(kind, str):
        raise wrong(f"{place}.type", "missing" if kind is None else "expected a string")
    return kind
