"""The messages of a conversation as the model gets them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from ...domain.chat import Image, Text, ToolCall, ToolResult
from ...sdk.chat import Chat
from ...sdk.sync_client import Client
from ...store.conversation import ConversationMessage, Document


class Images:
    """The images of a conversation, each uploaded once.

    Parameters:
        client: of the host.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._handles: dict[bytes, Any] = {}

    def handle(self, image: Image) -> Any:
        """Return the handle of an image. Raise :class:`FilesError` where it is none."""
        key = hashlib.sha256(image.data).digest()
        if key not in self._handles:
            self._handles[key] = self._client.files.prepare_image(image.data, image.name)
        return self._handles[key]


def as_chat(messages: Iterable[ConversationMessage], system_prompt: str, images: Images) -> Chat:
    """Return the chat of a branch. Reasoning is left out: models do not get their earlier thoughts."""
    chat = Chat(system_prompt or None)
    for message in messages:
        match message.role:
            case "user":
                pictures = [images.handle(part) for part in message.parts if isinstance(part, Image)]
                chat.add_user_message(_user_text(message), images=pictures)
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
