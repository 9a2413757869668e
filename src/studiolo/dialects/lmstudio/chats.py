"""Decode chats and tools of the wire into those of the domain."""

from __future__ import annotations

from collections.abc import Iterable

from ...config import PredictionConfig
from ...config.raw_tools import parse_raw_tools
from ...domain.chat import ChatRequest, File, Message, Part, Text, ToolCall, ToolResult
from ...protocol.chat import (
    AnyChatMessage,
    AnyChatPart,
    ChatHistoryData,
    FileHandle,
    TextData,
    ToolCallRequestData,
    ToolCallResultData,
)


def chat_request(history: ChatHistoryData, config: PredictionConfig) -> ChatRequest:
    """Return a chat with the tools in its request's settings. Raise :class:`ConfigError` if the tools are malformed."""
    tools, forced = parse_raw_tools(config.raw_tools)
    return ChatRequest(
        messages=messages(history.messages),
        tools=None if config.raw_tools is None else tools,
        tool_choice="required" if forced else config.tool_choice,
    )


def messages(of_wire: Iterable[AnyChatMessage]) -> list[Message]:
    """Return messages of the wire as those of the domain."""
    return [Message(message.role, [_part(part) for part in message.content]) for message in of_wire]  # type: ignore[arg-type]


def _part(part: AnyChatPart) -> Part:
    match part:
        case TextData():
            return Text(part.text)
        case FileHandle():
            return File(
                identifier=part.identifier, name=part.name, size_bytes=part.size_bytes, file_type=part.file_type
            )
        case ToolCallRequestData(tool_call_request=call):
            return ToolCall(call.name, call.arguments, call.id)
        case ToolCallResultData():
            return ToolResult(part.content, part.tool_call_id, part.name)
