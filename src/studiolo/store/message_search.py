"""Search for words in the text of stored messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from ..struct_types import examined
from .conversation import Conversation, ConversationMessage
from .tables import conversations, messages

MAX_WORDS = 10
MAX_WORD_CHARS = 100
MAX_SEARCHED = 500
"""Conversations that are searched, the last changed first."""

SEARCH_LIMIT_SEC = 3.0
"""How long a search goes through further conversations."""

BATCH = 10
"""Conversations that are searched at once: other calls of the store run between."""

_BEFORE, _AFTER = 40, 100
"""Characters around the first word in an excerpt."""


class Match(NamedTuple):
    """A conversation with a message that has all words.

    Parameters:
        conversation: the conversation.
        message: the newest such message of it, on any branch.
        excerpt: the text of the message around the first of the words, in one line.
    """

    conversation: Conversation
    message: ConversationMessage
    excerpt: str


class Found(NamedTuple):
    """The result of a search.

    Parameters:
        matches: conversations with a message that has all words.
        is_complete: whether all conversations were searched, or as many found as were asked for.
    """

    matches: list[Match]
    is_complete: bool


def words_of(text: str) -> list[str]:
    """Return the words to search for in what a user has entered, at most :data:`MAX_WORDS`."""
    return [word[:MAX_WORD_CHARS] for word in text.encode("utf-8", "ignore").decode().lower().split()[:MAX_WORDS]]


def matches(
    connection: sa.Connection, is_own: sa.ColumnElement[bool], batch: Sequence[Conversation], words: Sequence[str]
) -> list[Match]:
    """Return those of some conversations that have a message with all words.

    Parameters:
        is_own: the condition for the rows of their owner.
        words: from :func:`words_of`.
    """
    found: list[Match] = []
    body = messages.c.body
    is_postgres = connection.dialect.name == "postgresql"
    content = sa.func.convert_from(body, "UTF8") if is_postgres else sa.cast(body, sa.Text)
    # SQLite's LIKE has no case for ASCII, which costs less than to have the text in small letters.
    has_words = [getattr(content, "ilike" if is_postgres else "like")(_pattern(word), escape="!") for word in words]
    for conversation in batch:
        number = sa.select(conversations.c.number).where(is_own & (conversations.c.id == conversation.id))
        statement = sa.select(body).where(messages.c.conversation == number.scalar_subquery(), *has_words)
        for row in connection.execute(statement.order_by(messages.c.number.desc())):
            message = msgspec.json.decode(row.body, type=examined(ConversationMessage))
            text = message.text
            if message.role in ("user", "assistant") and all(word in text.lower() for word in words):
                found.append(Match(conversation, message, excerpt(text, words[0])))
                break
    return found


def _pattern(word: str) -> str:
    """Return the pattern of LIKE for a word in the JSON of a message.

    A letter beyond ASCII that has two cases stands for any: SQLite knows the cases of ASCII alone.
    """
    escaped = json.dumps(word, ensure_ascii=False)[1:-1]
    return f"%{''.join(_pattern_of(letter) for letter in escaped)}%"


def _pattern_of(letter: str) -> str:
    if letter in "%_!":
        return f"!{letter}"
    return "_" if letter > "~" and letter.lower() != letter.upper() else letter


def excerpt(text: str, word: str) -> str:
    """Return what is around the first place of a word in a text, in one line; the word is in small letters."""
    at = max(text.lower().find(word), 0)
    start, end = max(at - _BEFORE, 0), at + len(word) + _AFTER
    shown = " ".join(text[start:end].split())
    return f"{'…' if start else ''}{shown}{'…' if end < len(text) else ''}"
