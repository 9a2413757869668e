"""The stored conversations, for a thread that waits: every call returns when its work is on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from ...errors import StoredItemNotFoundError, StoreError
from ...paths import Home
from ...settings import read_settings
from ...store.conversation import Conversation, ConversationMessage, MessageTree
from ...store.conversations import Conversations
from ...store.message_search import Found
from ...store.store import open_store

T = TypeVar("T")


@contextmanager
def stored_conversations() -> Generator[Journal]:
    """Open the store that the user's settings name. Raise :class:`StoreError`, :class:`ConfigError`."""
    home = Home.default()
    settings = read_settings(home.settings)
    home.create()
    store = open_store(home, settings.store)
    try:
        yield Journal(Conversations(store))
    finally:
        asyncio.run(store.close())


class Journal:
    """The conversations of the user of this machine. Methods raise as those of :class:`Conversations`."""

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations

    def get(self, conversation_id: str) -> tuple[Conversation, MessageTree]:
        """Return a conversation, by its id or the beginning of it, and its messages."""
        conversation = _wait(self._conversations.get(conversation_id))
        return conversation, _wait(self._conversations.messages(conversation.id))

    def newest(self) -> tuple[Conversation, MessageTree]:
        """Return the conversation that was changed last, and its messages. Raise :class:`StoredItemNotFoundError`."""
        if not (found := self.list(1)):
            raise StoredItemNotFoundError("There is no conversation yet", suggestion="Begin one with: studiolo chat")
        return self.get(found[0].id)

    def list(self, limit: int) -> list[Conversation]:
        """Return conversations, the last changed first."""
        return _wait(self._conversations.list(limit=limit))

    def search(self, text: str, limit: int) -> Found:
        """Return the conversations with a message that has all words of a text, the last changed first."""
        return _wait(self._conversations.search(text, limit=limit))

    def save(self, conversation: Conversation) -> None:
        """Write a conversation without its messages."""
        _wait(self._conversations.save(conversation))

    def add(self, conversation_id: str, message: ConversationMessage) -> None:
        """Write a message, which becomes the last one of its conversation."""
        _wait(self._conversations.add(conversation_id, message))

    def delete(self, conversation_id: str) -> bool:
        """Remove a conversation with its messages. Return whether there was one."""
        return _wait(self._conversations.delete(conversation_id))


class Recorder:
    """Writes one conversation as it happens. Where that fails, it says so once and writes nothing further.

    Parameters:
        journal: where; ``None`` to write nothing.
        say: called with what the user should know.
    """

    def __init__(self, journal: Journal | None, say: Callable[[str], None]) -> None:
        self._journal = journal
        self._say = say

    @property
    def records(self) -> bool:
        """Whether what happens is written."""
        return self._journal is not None

    def save(self, conversation: Conversation) -> None:
        """Write the conversation without its messages."""
        self._write(lambda journal: journal.save(conversation))

    def add(self, conversation: Conversation, branch: Sequence[ConversationMessage]) -> None:
        """Write the last message of a branch; all of it where the conversation is new, or was deleted meanwhile."""

        def write(journal: Journal) -> None:
            try:
                journal.add(conversation.id, branch[-1])
            except StoredItemNotFoundError:
                journal.save(conversation)
                for message in branch:
                    journal.add(conversation.id, message)

        self._write(write)

    def _write(self, write: Callable[[Journal], None]) -> None:
        if self._journal is None:
            return
        try:
            write(self._journal)
        except StoreError as error:
            self._journal = None
            self._say(f"This conversation is not stored any further. {error}")


def _wait(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)
