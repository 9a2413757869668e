"""Tools on the wire: their definitions, the settings that carry them, and what a prediction tells of their calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec

from ..errors import ConfigError
from .chat import ToolCallRequest
from .errors import SerializedError
from .kv import TOOL_CHOICE_KEY, TOOLS_KEY, KvField
from .structs import Message, WireStruct

MAX_SCHEMA_DEPTH = 64
"""Levels of objects and lists that the schema of a tool may have."""

ToolChoice = Literal["auto", "required", "none"]


class ToolFunction(WireStruct, frozen=True, kw_only=True):
    """What a model is told of a tool.

    Parameters:
        name: what the model calls it by.
        description: what it is for, in the model's language.
        parameters: a JSON schema of its arguments, of type ``object``; none for a tool without arguments.
    """

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(WireStruct, frozen=True, kw_only=True, omit_defaults=False):
    """A tool that a model may call."""

    type: Literal["function"] = "function"
    function: ToolFunction


class ToolUse(WireStruct, frozen=True, kw_only=True, omit_defaults=False):
    """The setting ``llm.prediction.tools``.

    Parameters:
        type: ``toolArray``, or ``none`` for no tools.
        tools: the tools.
        force: the model must call one of them, whatever the prompt.
    """

    type: Literal["none", "toolArray"]
    tools: list[Tool] = msgspec.field(default_factory=list[Tool])
    force: bool = False


class ToolCallStart(Message, frozen=True, tag="toolCallGenerationStart"):
    """The model has begun to write a tool call. What follows until its end belongs to it."""

    tool_call_id: str | None = None


class ToolCallName(Message, frozen=True, tag="toolCallGenerationNameReceived"):
    name: str


class ToolCallArguments(Message, frozen=True, tag="toolCallGenerationArgumentFragmentGenerated"):
    content: str
    """The next piece of the arguments, as the model writes them."""


class ToolCallEnd(Message, frozen=True, tag="toolCallGenerationEnd"):
    tool_call_request: ToolCallRequest
    raw_content: str | None = None
    """The call as the model wrote it."""


class ToolCallFailed(Message, frozen=True, tag="toolCallGenerationFailed"):
    """What the model wrote is not a call of a tool."""

    error: SerializedError
    raw_content: str | None = None


ToolCallEvent = ToolCallStart | ToolCallName | ToolCallArguments | ToolCallEnd | ToolCallFailed


def encode_tool_use(tools: list[Tool], choice: ToolChoice | None = None) -> list[KvField]:
    """The settings that give a prediction ``tools``; without any, those that forbid them."""
    use = ToolUse(type="toolArray", tools=tools) if tools else None
    fields = [KvField(key=TOOLS_KEY, value={"type": "none"} if use is None else msgspec.to_builtins(use))]
    if choice is not None:
        fields.append(KvField(key=TOOL_CHOICE_KEY, value={"type": "generic", "mode": choice}))
    return fields


def parse_tools(setting: Mapping[str, Any] | None) -> tuple[list[Tool], bool]:
    """The tools of the setting ``llm.prediction.tools``, and whether the model must call one.

    Raises:
        ConfigError: the setting is malformed or forces a call of no tools, a tool has no name, or two have one name.
    """
    if setting is None:
        return [], False
    try:
        use = msgspec.convert(setting, ToolUse)
    except msgspec.ValidationError as error:
        raise ConfigError(f"The setting {TOOLS_KEY} is malformed", cause=str(error).replace("`", "'")) from None
    if use.type == "none":
        return [], False
    if use.force and not use.tools:
        raise ConfigError(f"The setting {TOOLS_KEY} forces a call, and has no tools")
    seen: set[str] = set()
    for tool in use.tools:
        name = tool.function.name
        if not name.strip():
            raise ConfigError(f"A tool of {TOOLS_KEY} has an empty name")
        if name in seen:
            raise ConfigError(f"Two tools of {TOOLS_KEY} have the name {name!r}")
        seen.add(name)
        if _is_deeper(tool.function.parameters, MAX_SCHEMA_DEPTH):
            raise ConfigError(f"The parameters of the tool {name!r} are nested deeper than {MAX_SCHEMA_DEPTH} levels")
        kind: Any = "object" if tool.function.parameters is None else tool.function.parameters.get("type", "object")
        if kind != "object":
            raise ConfigError(f"The parameters of the tool {name!r} are a schema of type {kind!r}, not 'object'")
    return use.tools, use.force


def _is_deeper(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        items = list(cast("dict[str, Any]", value).values())
    elif isinstance(value, list):
        items = cast("list[Any]", value)
    else:
        return False
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in items)
