"""Tool calls as text: for models whose chat template does not support tools, and for required calls.

A call is a JSON object, ``{"name": ..., "arguments": {...}}``, between two markers. If a call is required, a grammar
constrains the model to the schema of that object, so that even the smallest model calls correctly. No I/O.
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
    """The names under which a model calls tools.

    Parameters:
        names: the tools' original names.
        naming: how they are rewritten; see :class:`~studiolo.config.PredictionConfig`. Rewritten names have at most
            64 characters. Duplicates are numbered.
    """

    def __init__(self, names: Iterable[str], naming: ToolNaming | None = None) -> None:
        self._for_model: dict[str, str] = {}
        self._originals: dict[str, str] = {}
        for name in names:
            plain = _rewritten(name, naming or "removeSpecial")
            rewritten, number = plain, 2
            while rewritten in self._originals:
                rewritten = f"{plain[:60]}_{number}"
                number += 1
            self._for_model[name] = rewritten
            self._originals[rewritten] = name

    def for_model(self, name: str) -> str:
        """Return the name under which the model calls the tool ``name``."""
        return self._for_model.get(name, name)

    def original(self, rewritten: str) -> str:
        """Return the original name of the tool that the model calls ``rewritten``."""
        return self._originals.get(rewritten, rewritten)

    def rename_tools(self, tools: Iterable[Tool]) -> list[Tool]:
        """Return ``tools`` under the names for the model, with description and parameters filled in."""
        return [
            Tool(
                self.for_model(tool.name),
                tool.description or "",
                tool.parameters or {"type": "object", "properties": {}},
            )
            for tool in tools
        ]

    def rename_messages(self, messages: Iterable[Message]) -> list[Message]:
        """Return ``messages`` with the names for the model in earlier tool calls."""
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
    """Return ``messages`` with tools as text: definitions in the system prompt, calls and results between markers."""
    listed = "\n".join(json.dumps(tool.definition["function"], ensure_ascii=False) for tool in tools)
    instructions = Text(_INSTRUCTIONS.format(begin=CALL_BEGIN, end=CALL_END, tools=listed))
    rest = list(messages)
    first = rest[0] if rest else None
    if first is not None and first.role == "system":
        return [Message("system", [*first.parts, instructions]), *without_tools(rest[1:])]
    return [Message("system", [instructions]), *without_tools(rest)]


def without_tools(messages: Iterable[Message]) -> list[Message]:
    """Return ``messages`` with earlier tool calls and results as text, for a template without support for tools."""
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
        place = "#/properties/arguments" if len(tools) == 1 else f"#/anyOf/{number}/properties/arguments"
        parameters = _hoisted(tool.parameters or {}, f"tool{number}.", definitions, place)
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


def _hoisted(schema: dict[str, Any], prefix: str, into: dict[str, Any], place: str) -> dict[str, Any]:
    """Return ``schema`` with its definitions moved to ``into``, their names prefixed.

    Parameters:
        place: where the rest of it is in the new document, for references to it.
    """
    kept = {key: value for key, value in schema.items() if key not in ("$defs", "definitions", "$schema", "title")}
    for key in ("$defs", "definitions"):
        for name, definition in schema.get(key, {}).items():
            into[prefix + name] = _renamed(definition, prefix, place)
    return _renamed(kept, prefix, place)


def _renamed(value: Any, prefix: str, place: str) -> Any:
    if isinstance(value, list):
        return [_renamed(item, prefix, place) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    renamed: dict[str, Any] = {}
    for key, item in cast("dict[str, Any]", value).items():
        if key == "$ref" and isinstance(item, str):
            renamed[key] = _reference(item, prefix, place)
        else:
            renamed[key] = _renamed(item, prefix, place)
    return renamed


def _reference(reference: str, prefix: str, place: str) -> str:
    if (definition := re.match(r"#/(\$defs|definitions)/", reference)) is not None:
        return f"#/$defs/{prefix}{reference[definition.end() :]}"
    return place + reference[1:] if reference == "#" or reference.startswith("#/") else reference
