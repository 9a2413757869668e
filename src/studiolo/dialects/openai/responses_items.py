"""The items of a response: what a model has put out, in the form of OpenAI's Responses API."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

ItemStatus = Literal["in_progress", "completed", "incomplete"]

SEALED = "studiolo:"
"""What the member ``encrypted_content`` begins with here. It carries reasoning or a summary in readable form."""

_ID = re.compile(r"[a-z]+_([0-9a-f]{48})[0-9a-f]{4}")


class OutputText(Struct, kw_only=True, tag="output_text", tag_field="type"):
    """A part of a message: text."""

    text: str = ""
    annotations: list[Any] = msgspec.field(default_factory=list[Any])
    logprobs: list[dict[str, Any]] = msgspec.field(default_factory=list[dict[str, Any]])


class ReasoningText(Struct, kw_only=True, tag="reasoning_text", tag_field="type"):
    """A part of an item of reasoning: its text."""

    text: str = ""


class MessageItem(Struct, kw_only=True, tag="message", tag_field="type"):
    """A message of the model."""

    id: str
    status: ItemStatus = "in_progress"
    role: Literal["assistant"] = "assistant"
    content: list[OutputText] = msgspec.field(default_factory=list[OutputText])


class ReasoningItem(Struct, kw_only=True, tag="reasoning", tag_field="type"):
    """What the model has thought before it answered. Local models do not summarise it."""

    id: str
    status: ItemStatus = "in_progress"
    summary: list[Any] = msgspec.field(default_factory=list[Any])
    content: list[ReasoningText] = msgspec.field(default_factory=list[ReasoningText])
    encrypted_content: str | UnsetType = UNSET


class FunctionCallItem(Struct, kw_only=True, tag="function_call", tag_field="type"):
    """A call of a function, with its arguments as JSON text; cut off where the answer was."""

    id: str
    call_id: str
    name: str
    arguments: str = ""
    status: ItemStatus = "in_progress"
    namespace: str | UnsetType = UNSET


class CustomCallItem(Struct, kw_only=True, tag="custom_tool_call", tag_field="type"):
    """A call of a tool with free text as its input."""

    id: str
    call_id: str
    name: str
    input: str = ""
    status: ItemStatus = "in_progress"
    namespace: str | UnsetType = UNSET


class McpListItem(Struct, kw_only=True, tag="mcp_list_tools", tag_field="type"):
    """The tools of an MCP server."""

    id: str
    server_label: str
    tools: list[dict[str, Any]] = msgspec.field(default_factory=list[dict[str, Any]])


class McpCallItem(Struct, kw_only=True, tag="mcp_call", tag_field="type"):
    """A call of a tool of an MCP server, which the server makes itself."""

    id: str
    server_label: str
    name: str
    arguments: str = ""
    status: Literal["in_progress", "calling", "completed", "incomplete", "failed"] = "in_progress"
    approval_request_id: str | None = None
    output: str | None = None
    error: dict[str, Any] | None = None


class McpApprovalItem(Struct, kw_only=True, tag="mcp_approval_request", tag_field="type"):
    """The question whether a call of a tool of an MCP server may be made."""

    id: str
    server_label: str
    name: str
    arguments: str = ""


Item = MessageItem | ReasoningItem | FunctionCallItem | CustomCallItem | McpListItem | McpCallItem | McpApprovalItem

PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "additional_tools": "at",
    "compaction": "cmp",
    "mcp_list_tools": "mcpl",
    "mcp_call": "mcp",
    "mcp_approval_request": "mcpr",
    "mcp_approval_response": "mcpa",
}
"""What the ids of items begin with, by type."""


class Ids:
    """The ids of a response and of its items. From an item's id the response's can be read."""

    def __init__(self) -> None:
        self._key = secrets.token_hex(24)
        self._items = 0

    @property
    def response(self) -> str:
        """The response's."""
        return f"resp_{self._key}"

    def item(self, kind: str) -> str:
        """Return the id of the next item.

        Parameters:
            kind: its type.
        """
        self._items += 1
        return f"{PREFIXES[kind]}_{self._key}{self._items % 65536:04x}"


def response_of(item_id: str) -> str | None:
    """Return the id of the response to which an item belongs; ``None`` where it cannot be read from the item's."""
    match = _ID.fullmatch(item_id)
    return None if match is None else f"resp_{match[1]}"


def sealed(text: str) -> str:
    """Return a text as ``encrypted_content``. It is encoded, and not secret."""
    return SEALED + base64.b64encode(text.encode()).decode()


def unsealed(content: str) -> str:
    """Return the text in ``encrypted_content``; nothing where another server has made it."""
    if not content.startswith(SEALED):
        return ""
    try:
        return base64.b64decode(content.removeprefix(SEALED), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
