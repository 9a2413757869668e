"""Tools on the wire: the settings that define them, and the messages about tool calls of a prediction."""

from __future__ import annotations

from typing import Literal

from ..config.raw_tools import raw_tools
from ..domain.chat import Tool
from .chat import ToolCallRequest
from .errors import SerializedError
from .kv import TOOL_CHOICE_KEY, TOOLS_KEY, KvField
from .structs import Message

ToolChoice = Literal["auto", "required", "none"]


class ToolCallStart(Message, frozen=True, tag="toolCallGenerationStart"):
    """The model has started a tool call. The messages up to its end belong to it."""

    tool_call_id: str | None = None


class ToolCallName(Message, frozen=True, tag="toolCallGenerationNameReceived"):
    name: str


class ToolCallArguments(Message, frozen=True, tag="toolCallGenerationArgumentFragmentGenerated"):
    content: str
    """The next part of the arguments, as the model writes them."""


class ToolCallEnd(Message, frozen=True, tag="toolCallGenerationEnd"):
    tool_call_request: ToolCallRequest
    raw_content: str | None = None
    """The call as the model wrote it."""


class ToolCallFailed(Message, frozen=True, tag="toolCallGenerationFailed"):
    """The model wrote an invalid tool call."""

    error: SerializedError
    raw_content: str | None = None


ToolCallEvent = ToolCallStart | ToolCallName | ToolCallArguments | ToolCallEnd | ToolCallFailed


def encode_tool_use(tools: list[Tool], choice: ToolChoice | None = None) -> list[KvField]:
    """Return the settings that offer ``tools`` to a prediction; an empty list forbids tool calls."""
    fields = [KvField(key=TOOLS_KEY, value=raw_tools(tools))]
    if choice is not None:
        fields.append(KvField(key=TOOL_CHOICE_KEY, value={"type": "generic", "mode": choice}))
    return fields
