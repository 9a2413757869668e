"""Chats in the requests of HTTP dialects: messages, tools and the choice of a tool."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, cast

from ...domain.chat import Message, NamedTool, Text, Tool, ToolChoice
from ...errors import ConfigError, InvalidRequestError
from ...message_shapes import read_message
from .attachments import as_given
from .fields import wrong

SUMMARY_ORDER = (
    "Summarise this conversation for the one who continues it without having read it: what was asked for, what was "
    "done and found, which names, values and decisions matter, and what is left to do. Write the summary alone."
)
"""Asks a model for the summary of a conversation."""


def summarized(summary: str) -> Message:
    """Return the message that stands for a conversation of which there is a summary."""
    return Message("user", [Text(f"The conversation so far, in short:\n{summary}")])


def read_chat(messages: Sequence[Any], roles: Collection[str], where: str = "messages") -> list[Message]:
    """Return the messages of a chat. They may have OpenAI's or Anthropic's shape.

    Parameters:
        roles: the roles that the dialect has.
        where: their path in the request.

    Raises:
        InvalidRequestError: there is none, or one is malformed; ``data["param"]`` is the path.
    """
    if not messages:
        raise wrong(where, "expected at least one message")
    return [found for index, entry in enumerate(messages) for found in read_entry(entry, roles, f"{where}.{index}")]


def read_entry(entry: Any, roles: Collection[str], place: str) -> list[Message]:
    """Return what one message of a request is in the chat; see :func:`read_chat`.

    Parameters:
        place: its path in the request.
    """
    if not isinstance(entry, dict):
        raise wrong(place, "expected an object")
    message = cast("dict[str, Any]", entry)
    role = message.get("role")
    if role is None:
        raise wrong(f"{place}.role", "missing")
    if role not in roles:
        raise wrong(f"{place}.role", f"unknown role {role!r}", f"The roles are {', '.join(sorted(roles))}.")
    if isinstance(content := message.get("content"), list):
        message = {**message, "content": [as_given(part) for part in cast("list[Any]", content)]}
    try:
        return read_message(message, place)
    except ConfigError as error:
        raise located(error, place) from None


def located(error: ConfigError, place: str) -> InvalidRequestError:
    """Return the error of a message with its path."""
    match = re.search(rf"{re.escape(place)}(?:\.[a-z_]+|\[\d+\])*", str(error))
    param = re.sub(r"\[(\d+)\]", r".\1", match[0]) if match else place
    text = re.sub(r"^Unable to parse [\w ]+: ", "", error.title)
    text = text.removeprefix(match[0] if match else "").removeprefix(" is not a valid chat entry:").strip()
    text = text.replace(f" at {match[0]}", "") if match else text
    return wrong(param, text or "malformed", error.suggestion)


def check_tool_names(tools: Iterable[Tool], where: str = "tools") -> None:
    """Raise :class:`InvalidRequestError` for two tools of one name."""
    seen: set[str] = set()
    for index, tool in enumerate(tools):
        if tool.name in seen:
            raise wrong(f"{where}.{index}", f"two tools have the name {tool.name!r}")
        seen.add(tool.name)


def chosen(tools: Sequence[Tool], choice: ToolChoice | None, where: str = "tool_choice") -> ToolChoice | None:
    """Return ``choice``. Raise :class:`InvalidRequestError` if it asks for a tool that is not among ``tools``."""
    if isinstance(choice, NamedTool):
        if all(tool.name != choice.name for tool in tools):
            raise wrong(where, f"there is no tool {choice.name!r}", "Name one of the request's tools.")
    elif choice == "required" and not tools:
        raise wrong(where, "a call is required, and there are no tools", "Give tools.")
    return choice


def named(tools: Sequence[Tool], names: Sequence[str], where: str = "tool_choice") -> list[Tool]:
    """Return the tools of these names. Raise :class:`InvalidRequestError` for one that is not there."""
    known = {tool.name: tool for tool in tools}
    for name in names:
        if name not in known:
            raise wrong(where, f"there is no tool {name!r}", "Name the request's tools.")
    return [known[name] for name in dict.fromkeys(names)]
