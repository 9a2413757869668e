"""Tool calls as text: for models whose chat template knows no tools, and for calls that a model must make.

Such a call is a JSON object, ``{"name": ..., "arguments": {...}}``, between two markers. A model that must call a tool
is held to the schema of that object, so that even the smallest one calls correctly. Nothing here does I/O.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, cast

from msgspec.structs import replace

from ..config import ToolNaming
from ..domain.chat import Message, Part, Text, Tool, ToolCall, ToolResult

CALL_BEGIN = "[TOOL_REQUEST]"
CALL_END = "[END_TOOL_REQUEST]"
RESULT_BEGIN = "[TOOL_RESULT]"
RESULT_END = "[END_TOOL_RESULT]"

_INSTRUCTIONS = """You can call tools. To call one, write a line of exactly this form, and nothing after it:
{begin}{{"name": "NAME", "arguments": {{"ARGUMENT": "VALUE"}}}}{end}
The result of the call comes in the next message. Call a tool only where it helps; otherwise answer in plain text.
Each tool, with a JSON schema of its arguments:
{tools}"""


class ToolNames:
    """Names that a model can write, for tools of any name.

    Parameters:
        names: the tools' own.
        naming: how they are rewritten; see :class:`~studiolo.config.PredictionConfig`. What is rewritten has 64
            characters at most. Names that would be written alike are numbered.
    """

    def __init__(self, names: Iterable[str], naming: ToolNaming | None = None) -> None:
        self._for_model: dict[str, str] = {}
        self._originals: dict[str, str] = {}
        for name in names:
            plain = _rewritten(name, naming or "removeSpecial")
            written, number = plain, 2
            while written in self._originals:
                written = f"{plain[:60]}_{number}"
                number += 1
            self._for_model[name] = written
            self._originals[written] = name

    def for_model(self, name: str) -> str:
        """What the model calls the tool ``name``."""
        return self._for_model.get(name, name)

    def original(self, written: str) -> str:
        """The tool that the model calls ``written``."""
        return self._originals.get(written, written)

    def rename_tools(self, tools: Iterable[Tool]) -> list[Tool]:
        """Return ``tools`` under the names that the model writes, with description and parameters filled in."""
        return [
            Tool(
                self.for_model(tool.name),
                tool.description or "",
                tool.parameters or {"type": "object", "properties": {}},
            )
            for tool in tools
        ]

    def rename_messages(self, messages: Iterable[Message]) -> list[Message]:
        """Return ``messages`` with the names that the model writes, in the calls of earlier rounds."""
        return [
            replace(message, parts=[self._rename_part(part) for part in message.parts])
            if message.role == "assistant"
            else message
            for message in messages
        ]

    def _rename_part(self, part: Part) -> Part:
        return replace(part, name=self.for_model(part.name)) if isinstance(part, ToolCall) else part


def _rewritten(name: str, naming: ToolNaming) -> str:
    if naming == "passThrough":
        return name
    if naming == "removeSpecial":
        return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:64] or "tool"
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name) or ["tool"]
    if naming == "snakeCase":
        return "_".join(word.lower() for word in words)[:64]
    return (words[0].lower() + "".join(word.capitalize() for word in words[1:]))[:64]


def with_instructions(messages: Iterable[Message], tools: Sequence[Tool]) -> list[Message]:
    """Return ``messages`` with tools as plain text: definitions in the system prompt, calls and results in markers."""
    listed = "\n".join(json.dumps(tool.definition["function"], ensure_ascii=False) for tool in tools)
    instructions = Text(_INSTRUCTIONS.format(begin=CALL_BEGIN, end=CALL_END, tools=listed))
    rest = list(messages)
    first = rest[0] if rest else None
    if first is not None and first.role == "system":
        return [Message("system", [*first.parts, instructions]), *without_tools(rest[1:])]
    return [Message("system", [instructions]), *without_tools(rest)]


def without_tools(messages: Iterable[Message]) -> list[Message]:
    """Return ``messages`` with calls and results of earlier rounds as text, for a template that has none."""
    return [_as_text(message) for message in messages]


def _as_text(message: Message) -> Message:
    if message.role not in ("assistant", "tool"):
        return message
    parts = [_part_as_text(part) for part in message.parts]
    role = "user" if message.role == "tool" else "assistant"
    return Message(role, [part for part in parts if not isinstance(part, Text) or part.text])


def _part_as_text(part: Part) -> Part:
    match part:
        case ToolResult():
            return Text(f"{RESULT_BEGIN}{part.content}{RESULT_END}")
        case ToolCall():
            call = json.dumps({"name": part.name, "arguments": part.arguments or {}}, ensure_ascii=False)
            return Text(f"{CALL_BEGIN}{call}{CALL_END}")
        case _:
            return part


def call_schema(tools: Sequence[Tool]) -> dict[str, Any]:
    """Return the JSON schema of a call of one of ``tools``."""
    definitions: dict[str, Any] = {}
    calls: list[dict[str, Any]] = []
    for number, tool in enumerate(tools):
        parameters = _hoisted(tool.parameters or {}, f"tool{number}.", definitions)
        parameters.setdefault("type", "object")
        parameters.setdefault("additionalProperties", False)
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"const": tool.name}, "arguments": parameters},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    schema: dict[str, Any] = {"anyOf": calls} if len(calls) > 1 else calls[0]
    if definitions:
        schema["$defs"] = definitions
    return schema


def _hoisted(schema: dict[str, Any], prefix: str, into: dict[str, Any]) -> dict[str, Any]:
    """``schema`` with its definitions moved to ``into``, under names of its own."""
    kept = {key: value for key, value in schema.items() if key not in ("$defs", "definitions", "$schema", "title")}
    for key in ("$defs", "definitions"):
        for name, definition in schema.get(key, {}).items():
            into[prefix + name] = _renamed(definition, prefix)
    return _renamed(kept, prefix)


def _renamed(value: Any, prefix: str) -> Any:
    if isinstance(value, list):
        return [_renamed(item, prefix) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    renamed: dict[str, Any] = {}
    for key, item in cast("dict[str, Any]", value).items():
        if key == "$ref" and isinstance(item, str):
            renamed[key] = re.sub(r"^#/(\$defs|definitions)/", lambda _: f"#/$defs/{prefix}", item)
        else:
            renamed[key] = _renamed(item, prefix)
    return renamed
