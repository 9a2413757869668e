"""Conversations as files: Markdown for people, JSON with all branches for programs, which can be read again."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ..domain.chat import Image, Text, ToolCall, ToolResult
from ..errors import ConfigError
from ..struct_types import examined
from .conversation import Conversation, ConversationMessage, ConversationPart, MessageTree, new_id

_NAMES = {"system": "System", "user": "You", "assistant": "Model", "tool": "Tools"}


class _Export(Struct, frozen=True, kw_only=True):
    conversation: Conversation
    messages: list[ConversationMessage]
    version: int = 1


def as_json(conversation: Conversation, tree: MessageTree) -> str:
    """Return a conversation with all its branches as JSON, from which :func:`from_json` reads it."""
    export = _Export(conversation=conversation, messages=tree.all())
    return msgspec.json.format(msgspec.json.encode(export), indent=2).decode()


def from_json(text: str | bytes) -> tuple[Conversation, MessageTree]:
    """Return the conversation in the output of :func:`as_json`, under an id of its own.

    Raises:
        ConfigError: it is not such an output.
    """
    try:
        export = msgspec.json.decode(text, type=examined(_Export))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ConfigError("This is not an exported conversation", cause=str(error).replace("`", "'")) from None
    if export.version != 1:
        raise ConfigError(
            f"The exported conversation has the form {export.version}", cause="This version of studiolo knows form 1."
        )
    tree, conversation = MessageTree(export.messages), export.conversation
    if conversation.head is not None and conversation.head not in tree:
        raise ConfigError(f"The exported conversation ends with {conversation.head!r}, which is none of its messages")
    return replace(conversation, id=new_id()), tree


def as_markdown(conversation: Conversation, path: Sequence[ConversationMessage]) -> str:
    """Return one branch of a conversation as Markdown."""
    began = datetime.datetime.fromtimestamp(conversation.created).astimezone()
    lines = [f"# {conversation.title or 'Conversation'}", "", f"{began:%Y-%m-%d %H:%M}"]
    lines[-1] += f", {conversation.model}" if conversation.model else ""
    if conversation.system_prompt:
        lines += ["", "## System", "", conversation.system_prompt]
    for message in path:
        lines += ["", f"## {_NAMES[message.role]}"]
        if message.reasoning:
            lines += ["", "<details><summary>Reasoning</summary>", "", message.reasoning.strip(), "", "</details>"]
        for part in message.parts:
            if (shown := _part(part)).strip():
                lines += ["", shown]
        if message.stop_reason == "userStopped":
            lines += ["", "*(stopped)*"]
    return "\n".join(lines) + "\n"


def _part(part: ConversationPart) -> str:
    match part:
        case Text():
            return part.text.strip()
        case Image():
            return f"*(image {part.name}, {len(part.data)} bytes)*"
        case ToolCall():
            return f"Calls `{part.name}`:\n\n{_fenced(json.dumps(part.arguments or {}, ensure_ascii=False), 'json')}"
        case ToolResult():
            return f"`{part.name or 'tool'}` returned:\n\n{_fenced(part.content)}"
        case _:
            what = "passages of " if part.is_excerpt else ""
            return f"*({what}the file {part.name})*\n\n{_fenced(part.text)}"


def _fenced(text: str, language: str = "") -> str:
    """Return a code block, whose fence is longer than any in the text."""
    longest = max((len(fence) for fence in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
