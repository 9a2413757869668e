"""A conversation: a tree of messages. Another answer to a question, or another question, begins a branch."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from ..domain.chat import Image, Role, Text, ToolCall, ToolResult
from ..errors import ConfigError

MAX_TITLE_CHARS = 60


class Document(Struct, frozen=True, kw_only=True, tag=True):
    """A part of a message: the text of a file.

    Parameters:
        name: the file's.
        text: its text as the model got it.
        is_excerpt: whether the text is only those passages that fit the question.
    """

    name: str
    text: str
    is_excerpt: bool = False


ConversationPart = Text | Image | Document | ToolCall | ToolResult


def new_id() -> str:
    """Return an id for a conversation or a message."""
    return secrets.token_hex(6)


class ConversationMessage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message of a conversation.

    Parameters:
        id: unique in its conversation.
        parent: the id of the message before it; ``None`` for the first one of a branch.
        role: who wrote it.
        parts: its content.
        created: when it was complete, in seconds since 1970.
        reasoning: what the model thought before it answered, which is not sent to it again.
        model: the key of the model that wrote it.
        stop_reason: why it ended, by LM Studio's names; ``userStopped`` for an answer that was stopped.
        stats: the statistics of its prediction.
    """

    id: str = msgspec.field(default_factory=new_id)
    parent: str | None = None
    role: Role
    parts: list[ConversationPart]
    created: float = msgspec.field(default_factory=time.time)
    reasoning: str = ""
    model: str | None = None
    stop_reason: str | None = None
    stats: dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


class Conversation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a conversation beside its messages.

    Parameters:
        id: unique among the conversations of its owner.
        title: for people; by default the beginning of the first question.
        model: the key of the model that answers.
        system_prompt: the instructions for the model.
        settings: the prediction config, in its form for JSON.
        tools: the names of the MCP servers whose tools the model may call.
        head: the id of the last message of the branch that is continued; ``None`` before the first message.
        created, updated: when it began and when it was last changed, in seconds since 1970.
    """

    id: str = msgspec.field(default_factory=new_id)
    title: str = ""
    model: str | None = None
    system_prompt: str = ""
    settings: dict[str, Any] = {}
    tools: list[str] = []
    head: str | None = None
    created: float = msgspec.field(default_factory=time.time)
    updated: float = msgspec.field(default_factory=time.time)


class MessageTree:
    """The messages of a conversation.

    Parameters:
        messages: in an order in which each comes after the one before it in its branch.

    Raises:
        ConfigError: a message has the id of another one, or a parent that does not exist.
    """

    def __init__(self, messages: Iterable[ConversationMessage] = ()) -> None:
        self._by_id: dict[str, ConversationMessage] = {}
        for message in messages:
            self.add(message)

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._by_id

    def all(self) -> list[ConversationMessage]:
        """Return every message, in the order in which they were added."""
        return list(self._by_id.values())

    def add(self, message: ConversationMessage) -> None:
        """Add a message. Raise :class:`ConfigError` where its id is taken or its parent does not exist."""
        if message.id in self._by_id:
            raise ConfigError(f"Two messages of a conversation have the id {message.id!r}")
        if message.parent is not None and message.parent not in self._by_id:
            raise ConfigError(f"The message {message.id!r} follows {message.parent!r}, which does not come before it")
        self._by_id[message.id] = message

    def path(self, head: str | None) -> list[ConversationMessage]:
        """Return the messages from the first one to ``head``."""
        path: list[ConversationMessage] = []
        while head is not None:
            message = self._by_id[head]
            path.append(message)
            head = message.parent
        return path[::-1]

    def question(self, head: str | None) -> ConversationMessage | None:
        """Return the last message of the user up to ``head``; ``None`` where there is none."""
        return next((message for message in reversed(self.path(head)) if message.role == "user"), None)

    def branches(self) -> list[list[ConversationMessage]]:
        """Return the path to the end of each branch, in the order of their last messages."""
        inner = {message.parent for message in self._by_id.values()}
        return [self.path(message.id) for message in self._by_id.values() if message.id not in inner]


def title_of(text: str) -> str:
    """Return a title for a conversation that begins with ``text``."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_TITLE_CHARS else f"{line[: MAX_TITLE_CHARS - 1].rstrip()}…"
