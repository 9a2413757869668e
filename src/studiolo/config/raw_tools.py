"""Tools in LM Studio's form of the setting ``raw_tools``: ``{"type": "toolArray", "tools": [...], "force": false}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec
from msgspec import Struct

from ..domain.chat import Tool
from ..errors import ConfigError
from ..struct_types import examined

MAX_SCHEMA_DEPTH = 64
"""Levels of objects and lists that the schema of a tool may have."""

_ABOUT = {"feature": "raw_tools"}


class ToolFunction(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The definition of a tool: its name, its purpose, and a JSON schema of its arguments."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ToolDefinition(Struct, frozen=True, kw_only=True):
    """An entry of the list of tools."""

    type: Literal["function"] = "function"
    function: ToolFunction


class RawTools(Struct, frozen=True, kw_only=True):
    """The whole setting.

    Parameters:
        type: ``toolArray``, or ``none`` for no tools.
        tools: the tools.
        force: the model must call one of them, whatever the prompt.
    """

    type: Literal["none", "toolArray"]
    tools: list[ToolDefinition] = msgspec.field(default_factory=list[ToolDefinition])
    force: bool = False


def raw_tools(tools: list[Tool]) -> dict[str, Any]:
    """Return the setting that offers ``tools``; without any, the one that forbids them."""
    if not tools:
        return {"type": "none"}
    definitions = [
        ToolDefinition(function=ToolFunction(name=t.name, description=t.description, parameters=t.parameters))
        for t in tools
    ]
    return msgspec.to_builtins(RawTools(type="toolArray", tools=definitions))


def parse_raw_tools(setting: Mapping[str, Any] | None) -> tuple[list[Tool], bool]:
    """Return the tools of the setting ``raw_tools``, and whether the model must call one.

    Raises:
        ConfigError: the setting is malformed or forces a call of no tools, a tool has no name, or two have one name.
    """
    if setting is None:
        return [], False
    try:
        parsed = msgspec.convert(setting, examined(RawTools))
    except msgspec.ValidationError as error:
        raise ConfigError("The setting raw_tools is malformed", cause=str(error).replace("`", "'")) from None
    if parsed.type == "none":
        return [], False
    if parsed.force and not parsed.tools:
        raise ConfigError("The setting raw_tools forces a call, and has no tools")
    tools = [Tool(t.function.name, t.function.description, t.function.parameters) for t in parsed.tools]
    check_tools(tools)
    return tools, parsed.force


def check_tools(tools: list[Tool]) -> None:
    """Raise :class:`ConfigError` for tools without a name, with one name, or with parameters that are no object."""
    seen: set[str] = set()
    for tool in tools:
        if not tool.name.strip():
            raise ConfigError("A tool has an empty name", data=_ABOUT)
        if tool.name in seen:
            raise ConfigError(f"Two tools have the name {tool.name!r}", data=_ABOUT)
        seen.add(tool.name)
        if _is_deeper(tool.parameters, MAX_SCHEMA_DEPTH):
            raise ConfigError(
                f"The parameters of the tool {tool.name!r} are nested deeper than {MAX_SCHEMA_DEPTH} levels",
                data=_ABOUT,
            )
        kind: Any = "object" if tool.parameters is None else tool.parameters.get("type", "object")
        if kind != "object":
            raise ConfigError(
                f"The parameters of the tool {tool.name!r} are a schema of type {kind!r}, not 'object'", data=_ABOUT
            )


def _is_deeper(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        items = list(cast("dict[str, Any]", value).values())
    elif isinstance(value, list):
        items = cast("list[Any]", value)
    else:
        return False
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in items)
