"""Tools whose input Anthropic defines and clients run: a shell, an editor of files, a memory.

Anthropic's own models know their input by heart; other models are shown a schema of it.
"""

from __future__ import annotations

import re
from typing import Any

from ...domain.chat import Tool

_TEXT: dict[str, Any] = {"type": "string"}
_LINE: dict[str, Any] = {"type": "integer"}
_LINES: dict[str, Any] = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}

_EDITS: dict[str, dict[str, Any]] = {
    "view": {"path": _TEXT, "view_range": _LINES},
    "create": {"path": _TEXT, "file_text": _TEXT},
    "str_replace": {"path": _TEXT, "old_str": _TEXT, "new_str": _TEXT},
    "insert": {"path": _TEXT, "insert_line": _LINE, "insert_text": _TEXT},
}
_OLD_EDITS: dict[str, dict[str, Any]] = {
    **_EDITS,
    "insert": {"path": _TEXT, "insert_line": _LINE, "new_str": _TEXT},
    "undo_edit": {"path": _TEXT},
}
_MEMORIES: dict[str, dict[str, Any]] = {
    **_EDITS,
    "delete": {"path": _TEXT},
    "rename": {"old_path": _TEXT, "new_path": _TEXT},
}
_OPTIONAL = ("view_range",)


def client_tool(kind: str, name: str | None) -> Tool | None:
    """Return the tool of a type that clients run, such as ``bash_20250124``; ``None`` for any other type."""
    match re.fullmatch(r"(bash|text_editor|memory)_(\d{8})", kind):
        case re.Match() as found:
            family, version = found[1], found[2]
        case None:
            return None
    if family == "bash":
        properties = {"command": _TEXT, "restart": {"type": "boolean"}}
        schema = {"type": "object", "properties": properties, "required": ["command"]}
        return Tool(name or "bash", "Run a command in a shell that keeps its state; restart starts a new one.", schema)
    if family == "memory":
        text = "Keep notes in files below /memories, from one conversation to the next."
        return Tool(name or "memory", text, _commands(_MEMORIES))
    edits = _OLD_EDITS if version < "20250429" else _EDITS
    text = "View, create and edit files. A line number of 0 inserts at the beginning."
    return Tool(name or "str_replace_based_edit_tool", text, _commands(edits))


def _commands(commands: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the schema of an input that is one of several commands."""
    return {
        "type": "object",
        "anyOf": [
            {
                "type": "object",
                "properties": {"command": {"const": command}, **fields},
                "required": ["command", *(field for field in fields if field not in _OPTIONAL)],
                "additionalProperties": False,
            }
            for command, fields in commands.items()
        ],
    }
