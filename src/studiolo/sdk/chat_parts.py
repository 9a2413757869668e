"""The messages of a chat as the SDK keeps them: LM Studio's form, with images and audio that are not uploaded yet."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from ..deadline import Deadline
from ..domain import chat as domain
from ..protocol.chat import (
    AnyChatMessage,
    AssistantResponse,
    ChatHistoryData,
    ChatStruct,
    FileHandle,
    SystemPrompt,
    TextData,
    ToolCallRequest,
    ToolCallRequestData,
    ToolCallResultData,
    ToolResultMessage,
    UserMessage,
)
from .files import AsyncFilesNamespace
from .session import Session


class InlineImage(ChatStruct, kw_only=True, tag_field="type", tag="image_url", rename=None):
    """A part of a message: an image as a data URL. It is uploaded when the chat is sent.

    Parameters:
        image_url: ``{"url": "data:image/png;base64,..."}``.
    """

    image_url: dict[str, str]

    @property
    def content(self) -> bytes:
        """The bytes of the image file."""
        return base64.b64decode(self.image_url["url"].partition(",")[2])

    @property
    def name(self) -> str:
        """A name for messages: ``image`` with the suffix of its kind."""
        return f"image.{self.image_url['url'].partition(';')[0].rpartition('/')[2]}"


class InlineAudio(ChatStruct, kw_only=True, tag_field="type", tag="input_audio", rename=None):
    """A part of a message: audio in base64. It is uploaded when the chat is sent.

    Parameters:
        input_audio: ``{"data": "...", "format": "wav"}``.
    """

    input_audio: dict[str, str]

    @property
    def content(self) -> bytes:
        """The bytes of the audio file."""
        return base64.b64decode(self.input_audio["data"])

    @property
    def name(self) -> str:
        """A name for messages: ``audio`` with the suffix of its format."""
        return f"audio.{self.input_audio['format']}"


_MESSAGES: dict[domain.Role, Any] = {
    "system": SystemPrompt,
    "user": UserMessage,
    "assistant": AssistantResponse,
    "tool": ToolResultMessage,
}


def message_of(role: domain.Role, parts: Sequence[domain.Part]) -> AnyChatMessage:
    """Return a new message of the chat."""
    return _MESSAGES[role](content=[part_of(part) for part in parts])


def part_of(part: domain.Part) -> Any:
    """Return a new part of a message."""
    match part:
        case domain.Text():
            return TextData(text=part.text)
        case domain.File():
            return FileHandle(
                name=part.name, identifier=part.identifier, size_bytes=part.size_bytes, file_type=part.file_type
            )
        case domain.ToolCall():
            call = ToolCallRequest(type="function", name=part.name, id=part.id, arguments=part.arguments)
            return ToolCallRequestData(tool_call_request=call)
        case domain.ToolResult():
            return ToolCallResultData(content=part.content, tool_call_id=part.call_id, name=part.name)
        case domain.Image():
            data = base64.b64encode(part.data).decode()
            return InlineImage(image_url={"url": f"data:image/{part.name.rpartition('.')[2]};base64,{data}"})
        case domain.Audio():
            data = base64.b64encode(part.data).decode()
            return InlineAudio(input_audio={"data": data, "format": part.name.rpartition(".")[2]})


async def upload_media(session: Session, history: ChatHistoryData, deadline: Deadline) -> None:
    """Upload the images and the audio of a chat, and put their handles in their places. Raise :class:`FilesError`."""
    files = AsyncFilesNamespace(session)
    for message in history.messages:
        content: list[Any] = message.content  # type: ignore[assignment]
        for index, part in enumerate(content):
            if isinstance(part, InlineImage):
                content[index] = await files.prepare_image(part.content, part.name, timeout=deadline)
            elif isinstance(part, InlineAudio):
                content[index] = await files.prepare_audio(part.content, part.name, timeout=deadline)
