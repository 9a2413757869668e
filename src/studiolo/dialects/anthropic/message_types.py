"""The types of answers, for the documentation of the routes."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct


class ThinkingTokens(Struct):
    """Tokens of reasoning among those that were generated."""

    thinking_tokens: int


class MessageUsage(Struct, kw_only=True):
    """Tokens in and out. The three counts of input tokens add up to the prompt."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: ThinkingTokens


class TextBlock(Struct, tag_field="type", tag="text"):
    """Text."""

    text: str


class ThinkingBlock(Struct, tag_field="type", tag="thinking"):
    """Reasoning."""

    thinking: str
    signature: str


class ToolUseBlock(Struct, tag_field="type", tag="tool_use"):
    """A call of a tool."""

    id: str
    name: str
    input: dict[str, Any]


class McpToolUseBlock(Struct, tag_field="type", tag="mcp_tool_use"):
    """A call of a tool of an MCP server, which the server has made."""

    id: str
    name: str
    server_name: str
    input: dict[str, Any]


class McpToolResultBlock(Struct, tag_field="type", tag="mcp_tool_result"):
    """What a tool of an MCP server has returned."""

    tool_use_id: str
    is_error: bool
    content: list[TextBlock]


class AppliedEdits(Struct):
    """The edits that were applied to the conversation: none."""

    applied_edits: list[Any]


class Message(Struct, kw_only=True):
    """A message of the model."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[TextBlock | ThinkingBlock | ToolUseBlock | McpToolUseBlock | McpToolResultBlock]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]
    stop_sequence: str | None
    usage: MessageUsage
    context_management: AppliedEdits | None = None


class TokenCount(Struct):
    """The tokens of a prompt."""

    input_tokens: int
