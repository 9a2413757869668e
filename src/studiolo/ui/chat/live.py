"""A conversation that a page shows, or that is being answered: one object for all pages that show it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec.structs import replace

from ...config import PredictionConfig, prediction_config
from ...domain.chat import Text
from ...errors import ConfigError, StoredItemNotFoundError, StudioloError
from ...store.conversation import (
    Conversation,
    ConversationMessage,
    ConversationPart,
    MessageTree,
    new_id,
    title_of,
)
from ...store.conversations import Conversations
from ..backend import backend
from .answers import Answer

_log = logging.getLogger("studiolo.pages")
_open: dict[tuple[str, str], LiveConversation] = {}


class LiveConversation:
    """A conversation with what changes it. Its watchers are called after each change.

    Parameters:
        owner: whose it is; see :func:`studiolo.ui.backend.owner_of_page`.
        conversation, tree: the conversation and its messages.

    Attributes:
        revision: another number after each change of the messages or of the branch.
        answer: the one that comes.
        error: why the last answer failed, or could not be stored.
    """

    def __init__(self, owner: str, conversation: Conversation, tree: MessageTree | None = None) -> None:
        self.owner = owner
        self.conversation = conversation
        self.tree = tree or MessageTree()
        self.revision = 0
        self.answer: Answer | None = None
        self.error: Exception | None = None
        self._watchers: list[Callable[[], None]] = []
        self._last_write: asyncio.Task[None] | None = None
        self._store: Conversations = backend().conversations(owner)

    @property
    def branch(self) -> list[ConversationMessage]:
        """The messages of the branch that is continued."""
        return self.tree.path(self.conversation.head)

    @property
    def config(self) -> PredictionConfig:
        """The prediction settings. Raises :class:`ConfigError` if those that are stored are none."""
        return prediction_config(self.conversation.settings)

    def watch(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called after each change."""
        self._watchers.append(changed)
        _open[self.owner, self.conversation.id] = self

    def unwatch(self, changed: Callable[[], None]) -> None:
        """Undo :meth:`watch`."""
        if changed in self._watchers:
            self._watchers.remove(changed)
        self._forget()

    def changed(self) -> None:
        """Call the watchers."""
        for watcher in [*self._watchers]:
            watcher()

    def change(self, **fields: Any) -> None:
        """Change fields of the conversation, and write it if it has messages."""
        self.conversation = replace(self.conversation, **fields)
        self.revision += "head" in fields
        if len(self.tree):
            conversation = self.conversation
            self._write(lambda: self._store.save(conversation))
        self.changed()

    def ask(self, parts: Sequence[ConversationPart], parent: str | None = None, *, at_head: bool = True) -> None:
        """Add a question and begin its answer. One before it that has no answer is replaced.

        Parameters:
            parts: its content.
            parent: the message that it follows, where it is not ``at_head``.
        """
        self._check_idle()
        if at_head:
            branch = self.branch
            is_answered = not branch or branch[-1].role != "user"
            parent = self.conversation.head if is_answered else branch[-1].parent
        question = ConversationMessage(parent=parent, role="user", parts=[*parts])
        if not self.conversation.title:
            texts = [part.text for part in parts if isinstance(part, Text)]
            self.conversation = replace(self.conversation, title=title_of(" ".join(texts)))
        self.add(question)
        self._answer()

    def retry(self, message: ConversationMessage) -> None:
        """Answer a question again, or the one that ``message`` answers, in a branch of its own."""
        self._check_idle()
        question = self.tree.question(message.id)
        if question is None:
            raise ConfigError("There is no question before this message")
        self.change(head=question.id)
        self._answer()

    def edit(self, message: ConversationMessage, text: str) -> None:
        """Put a changed message beside ``message``, in a branch of its own; a question is answered."""
        self._check_idle()
        others = [part for part in message.parts if not isinstance(part, Text)]
        parts: list[ConversationPart] = [*others, Text(text)] if message.role == "user" else [Text(text), *others]
        if message.role == "user":
            self.ask(parts, message.parent, at_head=False)
        else:
            self.add(ConversationMessage(parent=message.parent, role=message.role, parts=parts, model=message.model))

    def followers(self) -> dict[str | None, list[ConversationMessage]]:
        """Return the messages that follow each message, in the order in which they were written."""
        found: dict[str | None, list[ConversationMessage]] = {}
        for each in self.tree.all():
            found.setdefault(each.parent, []).append(each)
        return found

    def choose(self, message: ConversationMessage) -> None:
        """Continue the branch of ``message``: where it has several, the last one that was written."""
        self._check_idle()
        followers, head = self.followers(), message.id
        while head in followers:
            head = followers[head][-1].id
        self.change(head=head)

    def stop(self) -> None:
        """Stop the answer; what there is of it is kept."""
        if self.answer is not None:
            self.answer.stop()

    def add(self, message: ConversationMessage) -> None:
        """Add a message, which becomes the head, and write it."""
        self.tree.add(message)
        self.revision += 1
        self.conversation = replace(self.conversation, head=message.id, updated=message.created)
        conversation, branch = self.conversation, self.branch

        async def write() -> None:
            try:
                await self._store.add(conversation.id, message)
            except StoredItemNotFoundError:  # new, or deleted meanwhile
                await self._store.save(conversation)
                for each in branch:
                    await self._store.add(conversation.id, each)

        self._write(write)
        self.changed()

    def keep(self, message: ConversationMessage) -> None:
        """Add a message of the answer that comes."""
        model = message.model or (self.conversation.model if message.role == "assistant" else None)
        self.add(replace(message, parent=self.conversation.head, model=model))

    async def refresh(self) -> None:
        """Take what another program has written meanwhile, such as ``studiolo chat``."""
        await self.written()
        if self.answer is not None or not len(self.tree):
            return
        try:
            conversation = await self._store.get(self.conversation.id)
            tree = await self._store.messages(conversation.id)
        except StudioloError:  # it was deleted: the next message stores it again
            return
        ours, theirs = ({each.id for each in tree.all()} for tree in (self.tree, tree))
        if theirs > ours and self.answer is None:  # what could not be written is only here
            self.conversation, self.tree = conversation, tree
            self.revision += 1
            self.changed()

    async def written(self) -> None:
        """Wait until everything is on disk."""
        while self._last_write is not None and not self._last_write.done():
            await asyncio.wait([self._last_write])

    def _answer(self) -> None:
        self.error = None
        self.answer = Answer(self, self._answered)
        _open[self.owner, self.conversation.id] = self
        self.changed()

    def _answered(self, error: Exception | None) -> None:
        self.answer = None
        self.error = error
        self.changed()
        self._forget()

    def _check_idle(self) -> None:
        if self.answer is not None:
            raise ConfigError("An answer of this conversation is not complete", suggestion="Stop it, or wait for it.")

    def _forget(self) -> None:
        if not self._watchers and self.answer is None:
            _open.pop((self.owner, self.conversation.id), None)

    def _write(self, work: Callable[[], Awaitable[None]]) -> None:
        """Write to the store after what is written before."""
        previous = self._last_write

        async def run() -> None:
            if previous is not None:
                await asyncio.wait([previous])
            try:
                await work()
            except StudioloError as error:
                _log.error("a conversation cannot be written: %s", error)
                self.error = error
                self.changed()

        self._last_write = asyncio.create_task(run(), name="write a conversation")


async def open_conversation(owner: str, conversation_id: str) -> LiveConversation:
    """Return a stored conversation, or the one that is open. Raise :class:`StoredItemNotFoundError`."""
    if (found := _open.get((owner, conversation_id))) is not None:
        return found
    store = backend().conversations(owner)
    conversation = await store.get(conversation_id)
    tree = await store.messages(conversation.id)
    return _open.get((owner, conversation.id)) or LiveConversation(owner, conversation, tree)


def new_conversation(owner: str, **fields: Any) -> LiveConversation:
    """Return an empty conversation, which is stored with its first message."""
    return LiveConversation(owner, Conversation(**fields))


async def copy_branch(live: LiveConversation) -> Conversation:
    """Store the branch that is continued as a conversation of its own, and return it."""
    store = backend().conversations(live.owner)
    copy = replace(live.conversation, id=new_id(), title=title_of(f"{live.conversation.title} (branch)"))
    await store.save(replace(copy, head=None))
    for message in live.branch:
        await store.add(copy.id, message)
    return copy


async def stop_all() -> None:
    """Stop every answer, and wait until what there is of it is stored."""
    for live in [*_open.values()]:
        answer = live.answer
        live.stop()
        if answer is not None:
            await answer.ended()
        await live.written()
