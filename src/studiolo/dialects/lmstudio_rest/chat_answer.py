"""The answer to a chat of LM Studio's REST API, and what happens until it is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ...mcp.connections import McpTool
from ..http.tool_servers import Answered, Step
from .chat_request import PLUGIN_PREFIX


class MessageItem(Struct, tag="message", tag_field="type"):
    """A part of the answer: a message."""

    content: str


class ReasoningItem(Struct, tag="reasoning", tag_field="type"):
    """A part of the answer: reasoning."""

    content: str


class ToolCallItem(Struct, tag="tool_call", tag_field="type"):
    """A part of the answer: a call of a tool, and what it returned."""

    tool: str
    arguments: dict[str, Any]
    output: str
    provider_info: dict[str, str]


OutputItem = MessageItem | ReasoningItem | ToolCallItem


class Stats(Struct, kw_only=True):
    """Counts of tokens, and times in seconds."""

    input_tokens: int
    total_output_tokens: int
    reasoning_output_tokens: int
    tokens_per_second: float
    time_to_first_token_seconds: float
    model_load_time_seconds: float | UnsetType = UNSET


class ChatAnswer(Struct, kw_only=True):
    """The answer to a chat."""

    model_instance_id: str
    output: list[OutputItem]
    stats: Stats
    response_id: str | UnsetType = UNSET


@dataclass
class Connected:
    """The MCP servers are connected, if there are any."""


@dataclass
class Loading:
    """How far the load of the model is, 0 to 1."""

    progress: float


@dataclass
class Loaded:
    """The model is there; ``seconds`` is how long its load took, ``None`` where it was loaded already."""

    instance_id: str
    seconds: float | None


Happening = Connected | Loading | Loaded | Step | Answered


def tool_item(answered: Answered) -> ToolCallItem:
    """Return a call of a tool with its result: the blocks of the protocol as JSON text, as upstream has them."""
    output = answered.output if answered.error is None else answered.text
    blocks = cast("list[Any]", output) if isinstance(output, list) else [output]
    shown = [{"type": "text", "text": block} if isinstance(block, str) else block for block in blocks]
    call = answered.call.call
    return ToolCallItem(
        tool=answered.tool.name,
        arguments=(call.arguments if call is not None else None) or {},
        output=msgspec.json.encode(shown).decode(),
        provider_info=provider(answered.tool),
    )


def provider(tool: McpTool) -> dict[str, str]:
    """Return where a tool comes from."""
    if tool.is_remote:
        return {"type": "ephemeral_mcp", "server_label": tool.server}
    return {"type": "plugin", "plugin_id": f"{PLUGIN_PREFIX}{tool.server}"}
