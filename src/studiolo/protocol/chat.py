"""Chat messages and their parts on the wire.

Users of the SDK handle the same types. A message's ``role`` and a part's ``type`` are its kind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import msgspec
from msgspec import Struct

from .structs import struct_from_dict

FileType = Literal["image", "audio", "text/plain", "application/pdf", "application/word", "text/other", "unknown"]
"""LM Studio's types of files, and ``audio``, which only studiolo's hosts accept."""


class ChatStruct(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A JSON object with camelCase keys; the fields are snake_case here. Unknown fields are ignored."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return an instance from a dict with camelCase or snake_case keys. Raise :class:`ConfigError` if invalid."""
        return struct_from_dict(cls, data)

    def to_dict(self) -> dict[str, Any]:
        """Return the instance as a dict with camelCase keys."""
        return msgspec.to_builtins(self, order="deterministic")

    def __str__(self) -> str:
        return f"{type(self).__name__}.from_dict({json.dumps(self.to_dict(), indent=2, sort_keys=True)})"


class TextData(ChatStruct, kw_only=True, tag_field="type", tag="text"):
    """A part of a message: text."""

    type: ClassVar[str] = "text"
    text: str


class FileHandle(ChatStruct, kw_only=True, tag_field="type", tag="file"):
    """A part of a message: a file that the host stores.

    Parameters:
        name: the file's name, for display.
        identifier: the host's identifier of the file.
        size_bytes: the file's size in bytes.
        file_type: the kind of file.
    """

    type: ClassVar[str] = "file"
    name: str
    identifier: str
    size_bytes: int
    file_type: FileType


class ToolCallRequest(ChatStruct, kw_only=True):
    """A tool call that a model requests: the tool's name and arguments."""

    type: Literal["function"]
    name: str
    id: str | None = None
    arguments: dict[str, Any] | None = None


class ToolCallRequestData(ChatStruct, kw_only=True, tag_field="type", tag="toolCallRequest"):
    """A part of a message: a tool call that the model requests."""

    type: ClassVar[str] = "toolCallRequest"
    tool_call_request: ToolCallRequest


class ToolCallResultData(ChatStruct, kw_only=True, tag_field="type", tag="toolCallResult"):
    """A part of a message: the result of a tool call."""

    type: ClassVar[str] = "toolCallResult"
    content: str
    tool_call_id: str | None = None
    name: str | None = None
    """The tool's name; sent since LM Studio's SDK 2.0.0."""


class SystemPrompt(ChatStruct, kw_only=True, tag_field="role", tag="system"):
    """Instructions to the model."""

    role: ClassVar[str] = "system"
    content: list[TextData | FileHandle]


class UserMessage(ChatStruct, kw_only=True, tag_field="role", tag="user"):
    """A message of the user: text and files."""

    role: ClassVar[str] = "user"
    content: list[TextData | FileHandle]


class AssistantResponse(ChatStruct, kw_only=True, tag_field="role", tag="assistant"):
    """A message of the model: text, then the tool calls that it requests."""

    role: ClassVar[str] = "assistant"
    content: list[TextData | FileHandle | ToolCallRequestData]


class ToolResultMessage(ChatStruct, kw_only=True, tag_field="role", tag="tool"):
    """Results of tool calls."""

    role: ClassVar[str] = "tool"
    content: list[ToolCallResultData]


AnyChatMessage = AssistantResponse | UserMessage | SystemPrompt | ToolResultMessage
AnyChatPart = TextData | FileHandle | ToolCallRequestData | ToolCallResultData


class ChatHistoryData(ChatStruct, kw_only=True):
    """A whole chat."""

    messages: list[AnyChatMessage]
