"""Conversations as texts for files."""

from __future__ import annotations

from typing import Literal

from ..store.conversation import Conversation, MessageTree
from ..store.conversation_export import as_json, as_markdown

Format = Literal["markdown", "json"]


def exported(conversation: Conversation, tree: MessageTree, form: Format) -> str:
    """Return a conversation as text."""
    if form == "json":
        return as_json(conversation, tree) + "\n"
    return as_markdown(conversation, tree.path(conversation.head))
