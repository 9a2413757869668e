"""Conversations in files, as ``/save``, ``/load`` and ``studiolo chats export`` have them."""

from __future__ import annotations

from pathlib import Path

from ...chats.exports import Format, exported
from ...errors import ConfigError, LocalFileError, LocalFileNotFoundError
from ...store.conversation import Conversation, MessageTree
from ...store.conversation_export import from_json


def write_export(path: Path, conversation: Conversation, tree: MessageTree, form: Format | None = None) -> None:
    """Write a conversation to a file: as JSON if its name ends so, else as Markdown. Raise :class:`LocalFileError`."""
    form = form or ("json" if path.suffix.lower() == ".json" else "markdown")
    try:
        path.expanduser().write_text(exported(conversation, tree, form), encoding="utf-8")
    except OSError as error:
        raise LocalFileError(f"The file {str(path)!r} cannot be written", cause=error.strerror or str(error)) from None


def read_export(path: Path) -> tuple[Conversation, MessageTree]:
    """Return the conversation in a file, under an id of its own.

    Raises:
        LocalFileError: it cannot be read.
        ConfigError: it is not an exported conversation.
    """
    try:
        return from_json(path.expanduser().read_bytes())
    except OSError as error:
        kind = LocalFileNotFoundError if isinstance(error, FileNotFoundError) else LocalFileError
        raise kind(f"The file {str(path)!r} cannot be read", cause=error.strerror or str(error)) from None
    except ConfigError as error:
        raise ConfigError(f"{path} is not an exported conversation", cause=error.cause or error.title) from None
