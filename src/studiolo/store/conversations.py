"""The conversations in a store. They are kept until they are deleted; of too many, the longest unused are removed."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa

from ..errors import StoredItemNotFoundError, StoreError
from ..struct_types import examined
from .conversation import Conversation, ConversationMessage, MessageTree
from .message_search import BATCH, MAX_SEARCHED, SEARCH_LIMIT_SEC, Found, Match, matches, words_of
from .store import MAX_BODY_BYTES, Store
from .tables import conversations, messages

MIN_PREFIX = 3
"""Characters of an id at least that may stand for the whole."""


class Conversations:
    """The conversations of one owner.

    Parameters:
        store: where they are. At most ``store.max_records`` are kept.
        owner: the identifier of an API token; empty for the user of this machine.

    Every method raises :class:`StoreError` if the store cannot be used. What it writes is on disk when it returns.
    """

    def __init__(self, store: Store, owner: str = "") -> None:
        self._store = store
        self._owner = owner

    async def save(self, conversation: Conversation) -> None:
        """Write a conversation, in place of an earlier one of this id, whose messages stay."""
        body = _encoded(conversation, "conversation")
        values = {"updated": conversation.updated, "head": conversation.head, "body": body}

        def write(connection: sa.Connection) -> None:
            if connection.execute(sa.update(conversations).where(self._is(conversation.id)).values(**values)).rowcount:
                return
            connection.execute(
                sa.insert(conversations).values(id=conversation.id, owner=self._owner, **values),
            )
            order = conversations.c.updated.desc(), conversations.c.number.desc()
            kept = sa.select(conversations.c.number).where(self._is_own).order_by(*order)
            for number in connection.execute(kept.offset(self._store.max_records)).scalars().all():
                _delete(connection, number)

        await self._store.transaction(write)

    async def add(self, conversation_id: str, message: ConversationMessage) -> None:
        """Write a message, which becomes the head of the conversation. Raise :class:`StoredItemNotFoundError`."""
        body = _encoded(message, "message")

        def write(connection: sa.Connection) -> None:
            changed = sa.update(conversations).where(self._is(conversation_id))
            values = {"head": message.id, "updated": time.time()}
            if not connection.execute(changed.values(**values)).rowcount:
                raise _missing(conversation_id)
            number = sa.select(conversations.c.number).where(self._is(conversation_id)).scalar_subquery()
            connection.execute(sa.insert(messages).values(conversation=number, id=message.id, body=body))

        await self._store.transaction(write)

    async def get(self, conversation_id: str) -> Conversation:
        """Return a conversation by its id or the beginning of it. Raise :class:`StoredItemNotFoundError`."""
        where = self._is(conversation_id)
        if len(conversation_id) >= MIN_PREFIX:
            where |= self._is_own & conversations.c.id.startswith(conversation_id, autoescape=True)
        statement = sa.select(conversations).where(where).limit(2)
        found = await self._store.transaction(lambda connection: connection.execute(statement).all())
        exact = [row for row in found if row.id == conversation_id]
        if len(exact or found) > 1:
            raise StoredItemNotFoundError(
                f"Several conversations have an id that begins with {conversation_id!r}",
                suggestion="Use a longer part.",
            )
        if not found:
            raise _missing(conversation_id)
        return _conversation((exact or found)[0])

    async def messages(self, conversation_id: str) -> MessageTree:
        """Return the messages of a conversation."""
        number = sa.select(conversations.c.number).where(self._is(conversation_id)).scalar_subquery()
        statement = sa.select(messages.c.body).where(messages.c.conversation == number).order_by(messages.c.number)
        bodies = await self._store.transaction(lambda connection: connection.execute(statement).scalars().all())
        return MessageTree(msgspec.json.decode(body, type=examined(ConversationMessage)) for body in bodies)

    async def list(self, *, limit: int, offset: int = 0) -> list[Conversation]:
        """Return conversations, the last changed first."""
        order = conversations.c.updated.desc(), conversations.c.number.desc()
        statement = sa.select(conversations).where(self._is_own).order_by(*order).limit(limit).offset(offset)
        rows = await self._store.transaction(lambda connection: connection.execute(statement).all())
        return [_conversation(row) for row in rows]

    async def search(self, text: str, *, limit: int = 50, limit_sec: float = SEARCH_LIMIT_SEC) -> Found:
        """Return the conversations with a message that has all the words of ``text``, the last changed first.

        Case does not matter. Questions and answers are searched on all branches; reasoning, documents and results of
        tools are not. The last 500 conversations are searched, as far as the time reaches.

        Parameters:
            limit: conversations at most.
            limit_sec: how long the search goes through further conversations.
        """
        words, found, end = words_of(text), list[Match](), time.monotonic() + limit_sec
        is_complete = not words
        for offset in range(0, MAX_SEARCHED if words else 0, BATCH):
            batch = await self.list(limit=BATCH, offset=offset)
            found += await self._store.transaction(partial(matches, is_own=self._is_own, batch=batch, words=words))
            is_complete = len(batch) < BATCH or len(found) >= limit
            if is_complete or time.monotonic() > end:
                break
        return Found(found[:limit], is_complete)

    async def delete(self, conversation_id: str) -> bool:
        """Remove a conversation with its messages. Return whether there was one."""

        def write(connection: sa.Connection) -> bool:
            number = connection.execute(sa.select(conversations.c.number).where(self._is(conversation_id))).scalar()
            if number is not None:
                _delete(connection, number)
            return number is not None

        return await self._store.transaction(write)

    @property
    def _is_own(self) -> sa.ColumnElement[bool]:
        return conversations.c.owner == self._owner

    def _is(self, conversation_id: str) -> sa.ColumnElement[bool]:
        return self._is_own & (conversations.c.id == conversation_id)


def _delete(connection: sa.Connection, number: int) -> None:
    connection.execute(sa.delete(messages).where(messages.c.conversation == number))
    connection.execute(sa.delete(conversations).where(conversations.c.number == number))


def _conversation(row: Any) -> Conversation:
    body = msgspec.json.decode(row.body, type=examined(Conversation))
    return msgspec.structs.replace(body, head=row.head, updated=row.updated)


def _encoded(value: Conversation | ConversationMessage, what: str) -> bytes:
    body = msgspec.json.encode(value)
    if len(body) > MAX_BODY_BYTES:
        raise StoreError(f"A {what} of {len(body)} bytes is too large to be stored", cause="16 MiB are the limit")
    return body


def _missing(conversation_id: str) -> StoredItemNotFoundError:
    return StoredItemNotFoundError(
        f"There is no conversation {conversation_id!r}", suggestion="studiolo chats lists the conversations."
    )
