"""Conversations in Anthropic's form, as the domain's messages.

Blocks that only Anthropic's services write (searches, code that they ran) stay in the conversation as JSON text: what
an agent sends back is read whole, also where another model answered before.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import msgspec

from ...domain.chat import Image, Message, Part, Role, Text, ToolCall, ToolResult
from ...errors import ConfigError
from ...message_shapes import read_parts, with_reasoning_tags
from ..http.chats import located, summarized
from ..http.fields import wrong

ChatRole = Literal["user", "assistant", "system"]
ROLES: tuple[ChatRole, ...] = ("user", "assistant", "system")

_BILLING_HEADER = re.compile(r"\A\s*x-anthropic-billing-header:[^\n]*\n?")
"""A line that Claude Code puts before its system prompt, with a number that changes each turn."""

_SERVER_RESULT = re.compile(r"(server_tool_use|mcp_tool_use|mcp_tool_result|tool_reference|\w+_tool_result|fallback)")


@dataclass(frozen=True)
class Conversation:
    """A conversation to be answered.

    Parameters:
        messages: what was said so far.
        continues: whether the last message is the beginning of the answer.
        after_result: whether it ends with the result of a tool.
    """

    messages: list[Message]
    continues: bool
    after_result: bool


def read_conversation(system: Any, messages: Sequence[Any]) -> Conversation:
    """Return the conversation of a request.

    System messages after the beginning become part of the user's turn: few templates have a place for them.

    Raises:
        InvalidRequestError: something in it is malformed, or cannot be part of a chat; ``data["param"]`` is its path.
    """
    if not messages:
        raise wrong("messages", "expected at least one message")
    reader = _Reader()
    if (prompt := _system(system)) is not None:
        reader.add("system", [Text(prompt)])
    roles: list[ChatRole] = [_role(message, f"messages.{index}") for index, message in enumerate(messages)]
    last_of_user = max((index for index, role in enumerate(roles) if role == "user"), default=-1)
    for index, (role, message) in enumerate(zip(roles, messages, strict=True)):
        is_over = role == "system" and message.get("clear_at") == "next_user_message" and index < last_of_user
        if not is_over:
            reader.read(role, message, f"messages.{index}")
    found = [Message(role, list(_joined(role, parts))) for role, parts in reader.turns]
    continues = bool(found) and found[-1].role == "assistant"
    if continues and any(isinstance(part, ToolCall) for part in found[-1].parts):
        raise wrong(f"messages.{len(messages) - 1}.content", "a tool_use needs its tool_result in the next message")
    if continues and not found[-1].text:
        continues = False
        found.pop()
    if not found:
        raise wrong("messages", "expected at least one message with content")
    after_result = "tool" in [message.role for message in found[-2:]] and found[-1].role in ("tool", "user")
    return Conversation(found, continues, after_result)


class _Reader:
    """Reads messages one after the other; those of one role in a row become one."""

    def __init__(self) -> None:
        self.turns: list[tuple[Role, list[Part]]] = []
        self._names: dict[str, str] = {}
        """The tools by the ids of their calls."""
        self._served: list[str] = []
        """The ids of calls of tools of MCP servers that have their results in the same message."""

    def read(self, role: ChatRole, message: dict[str, Any], place: str) -> None:
        """Read the next message of a request."""
        if message.get("output_config"):
            raise wrong(f"{place}.output_config", "not supported: set output_config for the whole request")
        content = message.get("content")
        if content is None:
            raise wrong(f"{place}.content", "missing")
        if isinstance(content, str):
            parts: list[Part] = [Text(content)]
        elif isinstance(content, list):
            parts = []
            self._served = _served(cast("list[Any]", content)) if role == "assistant" else []
            for index, block in enumerate(cast("list[Any]", content)):
                parts += self._block(role, block, f"{place}.content.{index}")
        else:
            raise wrong(f"{place}.content", "expected a string or an array of blocks")
        if role == "assistant":
            for are_results, run in itertools.groupby(parts, lambda part: isinstance(part, ToolResult)):
                self.add("tool" if are_results else "assistant", list(run))
            return
        if results := [part for part in parts if isinstance(part, ToolResult)]:
            self.add("tool", results)
        if others := [part for part in parts if not isinstance(part, ToolResult)]:
            is_first = not self.turns or (len(self.turns) == 1 and self.turns[0][0] == "system")
            self.add("system" if role == "system" and is_first else "user", others)

    def begin_with(self, summary: Message) -> None:
        """Put a summary in the place of all turns so far, but for the system prompt."""
        self.turns = [*(turn for turn in self.turns[:1] if turn[0] == "system"), (summary.role, [*summary.parts])]

    def add(self, role: Role, parts: Sequence[Part]) -> None:
        """Add parts to the last turn if it has the role, else begin a new one."""
        if not self.turns or self.turns[-1][0] != role:
            self.turns.append((role, []))
        self.turns[-1][1].extend(parts)

    def _block(self, role: Role, value: Any, place: str) -> list[Part]:
        block = _object(value, place)
        kind = block.get("type")
        match role, kind:
            case (_, None):
                raise wrong(f"{place}.type", "missing")
            case (_, "text"):
                return [Text(_string(block, "text", place))]
            case ("user", "image"):
                return [_image(block, place)]
            case ("user", "document"):
                return list(self._document(block, place))
            case ("user", "search_result"):
                return [Text(_search_result(block, place))]
            case ("user", "tool_result"):
                return self._tool_result(block, place)
            case ("assistant", "thinking"):
                return [Text(with_reasoning_tags(_string(block, "thinking", place)))]
            case ("assistant", "redacted_thinking"):
                return []
            case ("assistant", "tool_use"):
                return [self._tool_use(block, place)]
            case ("assistant", "mcp_tool_use") if block.get("id") in self._served:
                return [self._tool_use(block, place)]
            case ("assistant", "mcp_tool_result") if block.get("tool_use_id") in self._served:
                result, *others = self._tool_result(block, place)
                if others:
                    raise wrong(f"{place}.content", "expected a string or an array of blocks of the type text")
                return [result]
            case (_, "compaction") if block.get("content") is None:  # of one that has failed
                return []
            case (_, "compaction"):
                self.begin_with(summarized(_string(block, "content", place)))
                return []
            case ("user" | "assistant", str()) if _SERVER_RESULT.fullmatch(kind):
                return [Text(msgspec.json.encode(_said(block)).decode())]
            case _:
                raise wrong(place, f"a message of the role {role!r} cannot hold a block of type {kind!r}")

    def _tool_use(self, block: dict[str, Any], place: str) -> ToolCall:
        name, call_id = _string(block, "name", place), _string(block, "id", place)
        arguments = block.get("input")
        if not isinstance(arguments, dict):
            raise wrong(f"{place}.input", "missing" if arguments is None else "expected an object")
        self._names[call_id] = name
        return ToolCall(name, cast("dict[str, Any]", arguments), call_id)

    def _tool_result(self, block: dict[str, Any], place: str) -> list[Part]:
        call_id = _string(block, "tool_use_id", place)
        if call_id not in self._names:
            raise wrong(place, f"there is no tool_use with the id {call_id!r} before this tool_result")
        content = block.get("content")
        parts: list[Part] = []
        if isinstance(content, str):
            parts = [Text(content)]
        elif isinstance(content, list):
            for index, each in enumerate(cast("list[Any]", content)):
                parts += self._block("user", each, f"{place}.content.{index}")
        elif content is not None:
            raise wrong(f"{place}.content", "expected a string or an array of blocks")
        text = "\n".join(part.text for part in parts if isinstance(part, Text))
        text = f"Error: {text}" if block.get("is_error") else text
        images = [part for part in parts if isinstance(part, Image)]
        return [ToolResult(text, call_id, self._names[call_id]), *images]

    def _document(self, block: dict[str, Any], place: str) -> Iterator[Part]:
        source = _object(block.get("source"), f"{place}.source")
        for key in ("title", "context"):
            if isinstance(said := block.get(key), str) and said:
                yield Text(said)
        match source.get("type"), source.get("content"):
            case "text", _:
                yield Text(_string(source, "data", f"{place}.source"))
            case "content", str(content):
                yield Text(content)
            case "content", list():
                for index, each in enumerate(cast("list[Any]", source["content"])):
                    yield from self._block("user", each, f"{place}.source.content.{index}")
            case _:
                raise wrong(
                    f"{place}.source",
                    "the document cannot be read: send its content",
                    "Sources of the types text, content, base64 and url can be read.",
                )


def _served(content: list[Any]) -> list[str]:
    """Return the ids of calls of tools of MCP servers in a message that has their results, too."""
    blocks = [cast("dict[str, Any]", block) for block in content if isinstance(block, dict)]
    uses = [block.get("id") for block in blocks if block.get("type") == "mcp_tool_use"]
    results = [block.get("tool_use_id") for block in blocks if block.get("type") == "mcp_tool_result"]
    return [each for each in uses if isinstance(each, str) and each in results]


def _system(system: Any) -> str | None:
    """Return the system prompt without the billing header; ``None`` if there is none."""
    if system is None:
        return None
    if isinstance(system, str):
        texts = [system]
    elif isinstance(system, list):
        texts = [_system_text(each, f"system.{index}") for index, each in enumerate(cast("list[Any]", system))]
    else:
        raise wrong("system", "expected a string or an array of blocks of the type text")
    while texts and (header := _BILLING_HEADER.match(texts[0])):
        texts[0] = texts[0][header.end() :]
        if texts[0].strip():
            break
        texts.pop(0)
    return "\n".join(texts) if any(texts) else None


def _system_text(value: Any, place: str) -> str:
    block = _object(value, place)
    if block.get("type") != "text":
        raise wrong(place, "expected a block of the type text")
    return _string(block, "text", place)


def _role(value: Any, place: str) -> ChatRole:
    role = _object(value, place).get("role")
    if role is None:
        raise wrong(f"{place}.role", "missing")
    if role not in ROLES:
        raise wrong(f"{place}.role", f"unknown role {role!r}", f"The roles are {', '.join(ROLES)}.")
    return role


def _joined(role: Role, parts: Sequence[Part]) -> Iterator[Part]:
    """Yield ``parts`` with texts that follow each other as one; an assistant's are pieces of one text."""
    between = "" if role == "assistant" else "\n"
    for are_texts, run in itertools.groupby(parts, lambda part: isinstance(part, Text)):
        if are_texts:
            yield Text(between.join(part.text for part in run if isinstance(part, Text)))
        else:
            yield from run


def _image(block: dict[str, Any], place: str) -> Image:
    source = _object(block.get("source"), f"{place}.source")
    given: dict[str, Any] = {"type": "image", "source": source}
    if source.get("type") == "url":
        given = {"type": "image_url", "image_url": {"url": source.get("url")}}
    try:
        return cast("Image", read_parts("user", given, place)[0])
    except ConfigError as error:
        raise located(error, place) from None


def _search_result(block: dict[str, Any], place: str) -> str:
    content = block.get("content")
    if not isinstance(content, list):
        raise wrong(f"{place}.content", "expected an array of blocks of the type text")
    said: list[str] = []
    for index, each in enumerate(cast("list[Any]", content)):
        inner = f"{place}.content.{index}"
        said.append(_string(_object(each, inner), "text", inner))
    return "\n".join([_string(block, "title", place), _string(block, "source", place), *said])


def _said(block: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key not in ("cache_control", "caller", "encrypted_content")}


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(place, "missing" if value is None else "expected an object")
    return cast("dict[str, Any]", value)


def _string(block: dict[str, Any], key: str, place: str) -> str:
    value = block.get(key)
    if not isinstance(value, str):
        raise wrong(f"{place}.{key}", "missing" if value is None else "expected a string")
    return value
