"""The messages of a conversation as the model gets them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..domain.chat import Image, Text, ToolCall, ToolResult
from ..sdk.chat import Chat
from ..store.conversation import ConversationMessage, Document


def images_of(messages: Iterable[ConversationMessage]) -> list[Image]:
    """Return the images that the model gets with these messages."""
    return [part for message in messages if message.role == "user" for part in message.parts if isinstance(part, Image)]


def as_chat(messages: Iterable[ConversationMessage], system_prompt: str, handle: Callable[[Image], Any]) -> Chat:
    """Return the chat of a branch. Reasoning is left out: models do not get their earlier thoughts.

    Parameters:
        handle: returns the handle of an image on the host.
    """
    chat = Chat(system_prompt or None)
    for message in messages:
        match message.role:
            case "user":
                chat.add_user_message(_user_text(message), images=[handle(image) for image in images_of([message])])
            case "assistant":
                calls = [_call(part) for part in message.parts if isinstance(part, ToolCall)]
                chat.add_assistant_response(message.text, calls)
            case "tool":
                results = [part for part in message.parts if isinstance(part, ToolResult)]
                chat.add_tool_results([_result(part) for part in results])
            case "system":
                chat.add_system_prompt(message.text)
    return chat


def _user_text(message: ConversationMessage) -> str:
    documents = [part for part in message.parts if isinstance(part, Document)]
    texts = [
        f"{'Passages of the file' if each.is_excerpt else 'File'} {each.name}:\n\n{each.text}" for each in documents
    ]
    return "\n\n".join([*texts, *(part.text for part in message.parts if isinstance(part, Text))])


def _call(part: ToolCall) -> dict[str, Any]:
    request = {"type": "function", "name": part.name, "id": part.id, "arguments": part.arguments}
    return {"type": "toolCallRequest", "toolCallRequest": request}


def _result(part: ToolResult) -> dict[str, Any]:
    return {"type": "toolCallResult", "content": part.content, "tool_call_id": part.call_id, "name": part.name}
