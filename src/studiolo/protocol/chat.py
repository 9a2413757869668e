"""Chats as they travel: messages, and the parts they are made of.

The same types are what users of the SDK handle. A message's ``role`` and a part's ``type`` tell which it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import msgspec
from msgspec import Struct

from .structs import struct_from_dict

FileType = Literal["image", "text/plain", "application/pdf", "application/word", "text/other", "unknown"]


class ChatStruct(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A JSON object: camelCase there, snake_case here. Fields that are not known are ignored."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """An instance from a dict with keys in camelCase or snake_case. Raises :class:`ConfigError`."""
        return struct_from_dict(cls, data)

    def to_dict(self) -> dict[str, Any]:
        """The instance as a dict with keys in camelCase."""
        return msgspec.to_builtins(self, order="deterministic")

    def __str__(self) -> str:
        return f"{type(self).__name__}.from_dict({json.dumps(self.to_dict(), indent=2, sort_keys=True)})"


class TextData(ChatStruct, kw_only=True, tag_field="type", tag="text"):
    """A part of a message: text."""

    type: ClassVar[str] = "text"
    text: str


class FileHandle(ChatStruct, kw_only=True, tag_field="type", tag="file"):
    """A part of a message: a file that the host has.

    Parameters:
        name: the file's name, for people.
        identifier: the host's name for it.
        size_bytes: its size.
        file_type: what it is.
    """

    type: ClassVar[str] = "file"
    name: str
    identifier: str
    size_bytes: int
    file_type: FileType


class ToolCallRequest(ChatStruct, kw_only=True):
    """What a model asks for: a tool's name and arguments."""

    type: Literal["function"]
    name: str
    id: str | None = None
    arguments: dict[str, Any] | None = None


class ToolCallRequestData(ChatStruct, kw_only=True, tag_field="type", tag="toolCallRequest"):
    """A part of a message: a tool call that the model asks for."""

    type: ClassVar[str] = "toolCallRequest"
    tool_call_request: ToolCallRequest


class ToolCallResultData(ChatStruct, kw_only=True, tag_field="type", tag="toolCallResult"):
    """A part of a message: what a tool call gave."""

    type: ClassVar[str] = "toolCallResult"
    content: str
    tool_call_id: str | None = None
    name: str | None = None
    """The tool's; since LM Studio's SDK 2.0.0."""


class SystemPrompt(ChatStruct, kw_only=True, tag_field="role", tag="system"):
    """What the model is told to be."""

    role: ClassVar[str] = "system"
    content: list[TextData | FileHandle]


class UserMessage(ChatStruct, kw_only=True, tag_field="role", tag="user"):
    """What the user says: text and files."""

    role: ClassVar[str] = "user"
    content: list[TextData | FileHandle]


class AssistantResponse(ChatStruct, kw_only=True, tag_field="role", tag="assistant"):
    """What the model says: text, then the tool calls it asks for."""

    role: ClassVar[str] = "assistant"
    content: list[TextData | FileHandle | ToolCallRequestData]


class ToolResultMessage(ChatStruct, kw_only=True, tag_field="role", tag="tool"):
    """What tools answer."""

    role: ClassVar[str] = "tool"
    content: list[ToolCallResultData]


AnyChatMessage = AssistantResponse | UserMessage | SystemPrompt | ToolResultMessage
AnyChatPart = TextData | FileHandle | ToolCallRequestData | ToolCallResultData


class ChatHistoryData(ChatStruct, kw_only=True):
    """A whole chat."""

    messages: list[AnyChatMessage]


def text_of(message: AnyChatMessage) -> str:
    """The text parts of a message, one after the other."""
    return "".join(part.text for part in message.content if isinstance(part, TextData))


def files_of(message: AnyChatMessage) -> list[FileHandle]:
    """The files of a message."""
    return [part for part in message.content if isinstance(part, FileHandle)]
