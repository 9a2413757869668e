"""Chats: messages and their parts, the tools that a model may call, and the request that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

Role = Literal["system", "user", "assistant", "tool"]

FileType = Literal["image", "audio", "text/plain", "application/pdf", "application/word", "text/other", "unknown"]


class Text(Struct, frozen=True, tag=True):
    """A part of a message: text."""

    text: str


class Image(Struct, frozen=True, tag=True):
    """A part of a message: an image.

    Parameters:
        data: the bytes of an image file, in any format that Pillow reads.
        name: for error messages.
    """

    data: bytes
    name: str = "image"


class Audio(Struct, frozen=True, tag=True):
    """A part of a message: audio.

    Parameters:
        data: the bytes of a WAV, MP3 or FLAC file.
        name: for error messages.
    """

    data: bytes
    name: str = "audio"


class File(Struct, frozen=True, kw_only=True, tag=True):
    """A part of a message: a file in the host's file store.

    Parameters:
        identifier: the store's name for it.
        name: the file's name, for people.
        size_bytes: its size.
        file_type: what it is; only images and audio become part of a prompt.
    """

    identifier: str
    name: str
    size_bytes: int = 0
    file_type: FileType = "unknown"


class ToolCall(Struct, frozen=True, tag=True):
    """A call that a model asks for.

    Parameters:
        name: the tool's.
        arguments: by parameter; ``None`` for a tool without any.
        id: the call's; results refer to it.
    """

    name: str
    arguments: dict[str, Any] | None = None
    id: str | None = None


class ToolResult(Struct, frozen=True, tag=True):
    """A part of a message of the role ``tool``: what a call returned.

    Parameters:
        content: the result as text.
        call_id: the id of the call.
        name: the tool's.
    """

    content: str
    call_id: str | None = None
    name: str | None = None


Part = Text | Image | Audio | File | ToolCall | ToolResult


class Message(Struct, frozen=True):
    """One message of a chat."""

    role: Role
    parts: Sequence[Part]

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def files(self) -> list[File]:
        """The files of the host's store that the message refers to."""
        return [part for part in self.parts if isinstance(part, File)]


class Tool(Struct, frozen=True):
    """A tool that a model may call.

    Parameters:
        name: what the model calls it by.
        description: what it is for, in the model's language.
        parameters: a JSON schema of its arguments, of type ``object``; ``None`` for a tool without arguments.
    """

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None

    @property
    def definition(self) -> dict[str, Any]:
        """The tool as chat templates expect it: OpenAI's form."""
        function: dict[str, Any] = {"name": self.name}
        if self.description is not None:
            function["description"] = self.description
        if self.parameters is not None:
            function["parameters"] = self.parameters
        return {"type": "function", "function": function}


class NamedTool(Struct, frozen=True):
    """The tool choice by which the model must call one certain tool."""

    name: str


ToolChoice = Literal["auto", "none", "required"] | NamedTool


class ChatRequest(Struct, frozen=True, kw_only=True):
    """A chat to be answered.

    Parameters:
        messages: what was said so far.
        tools: the tools that the model may call; ``None`` where the request says nothing of tools.
        tool_choice: whether it may, must or must not call one; ``None`` where the request does not say.
        parallel_tool_calls: whether it may call several at once.
        continue_last: whether the last message, an assistant's, is the beginning of the answer, which is continued.
    """

    messages: Sequence[Message]
    tools: Sequence[Tool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool = True
    continue_last: bool = False

    @property
    def beginning(self) -> str:
        """The text that the answer begins with, where the last message is continued."""
        return self.messages[-1].text if self.continue_last else ""

    @property
    def answered(self) -> Sequence[Message]:
        """The messages without the beginning of the answer."""
        return self.messages[:-1] if self.continue_last else self.messages
