"""Messages in the form that Jinja templates read: OpenAI's API's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from ...domain.chat import Audio, File, Image, Message, Text, ToolCall, ToolResult
from ...errors import UnsupportedError

MarkParts = Callable[[Sequence[str], Collection[str]], list[str]]
"""Marks control tokens that are spelled in the parts of a message, but for those of the second argument."""


class MessageWriter:
    """Writes messages for a template.

    Parameters:
        media_marker: the text that marks the place of an image or audio.
        as_parts: whether a content is a list of parts.
        mark_parts, mark_value: mark control tokens in texts, and in any JSON value.
        reasoning_tags: what an assistant's messages keep as it is.
    """

    def __init__(
        self,
        media_marker: str = "",
        *,
        as_parts: bool = False,
        mark_parts: MarkParts = lambda parts, _: list(parts),
        mark_value: Callable[[Any], Any] = lambda value: value,
        reasoning_tags: Collection[str] = (),
    ) -> None:
        self._media_marker = media_marker
        self._as_parts = as_parts
        self._mark_parts = mark_parts
        self._mark_value = mark_value
        self._reasoning_tags = reasoning_tags

    def write(self, messages: Iterable[Message]) -> list[dict[str, Any]]:
        """Return ``messages`` in a template's form; one with several tool results becomes several."""
        plain: list[dict[str, Any]] = []
        for message in messages:
            calls: list[dict[str, Any]] = []
            for part in message.parts:
                match part:
                    case ToolCall():
                        function = {"name": part.name, "arguments": part.arguments or {}}
                        call = {"type": "function", "id": part.id or "", "function": function}
                        calls.append(self._mark_value(call))
                    case ToolResult():
                        plain.append(self._result(part))
                    case _:
                        pass
            if message.role == "tool":
                continue
            entry: dict[str, Any] = {"role": message.role, "content": self._content(self._texts(message))}
            if calls and message.role == "assistant":
                entry["tool_calls"] = calls
            plain.append(entry)
        return plain

    def _texts(self, message: Message) -> list[str]:
        """Return the texts of a message, with media markers for its images and audio."""
        keep = self._reasoning_tags if message.role == "assistant" else ()
        texts: list[str] = []
        neighbours: list[str] = []
        for part in message.parts:
            match part:
                case Text():
                    neighbours.append(part.text)
                case Image() | Audio() | File():
                    texts += [*self._mark_parts(neighbours, keep), self._media(part)]
                    neighbours = []
                case _:
                    pass
        return [*texts, *self._mark_parts(neighbours, keep)]

    def _result(self, part: ToolResult) -> dict[str, Any]:
        entry: dict[str, Any] = {"role": "tool", "content": self._content(self._mark_parts([part.content], ()))}
        if part.call_id is not None:
            entry["tool_call_id"] = self._mark_value(part.call_id)
        if part.name is not None:
            entry["name"] = self._mark_value(part.name)
        return entry

    def _media(self, part: Image | Audio | File) -> str:
        if not self._media_marker or (isinstance(part, File) and part.file_type not in ("image", "audio")):
            raise UnsupportedError(f"The model cannot read the file {part.name!r} in the chat", feature="files")
        return self._media_marker

    def _content(self, texts: list[str]) -> Any:
        return [{"type": "text", "text": text} for text in texts] if self._as_parts else "\n".join(texts)


def system_into_user(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Prepend system messages to the next user message, for templates without support for system messages."""
    out: list[dict[str, Any]] = []
    pending: list[Any] = []
    for message in messages:
        if message["role"] == "system":
            pending.append(message["content"])
        elif pending and message["role"] == "user":
            out.append({**message, "content": _joined([*pending, message["content"]])})
            pending = []
        else:
            out.append(message)
    if pending:
        out.append({"role": "user", "content": _joined(pending)})
    return out


def _joined(contents: list[Any]) -> Any:
    if all(isinstance(content, str) for content in contents):
        return "\n\n".join(contents)
    return [part for content in contents for part in content]
