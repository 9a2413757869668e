"""The blocks of an answer, as the events of a stream and as the content of a whole answer."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from ...mcp.connections import McpTool
from ..http.gathered import AnswerText, CallArguments, CallBegun, CallEnded, Piece, Thought
from ..http.tool_servers import Answered


class BlockWriter:
    """Puts what is generated into blocks, one after the other.

    White space between blocks is dropped: clients must not send back a block that has nothing else.

    Parameters:
        shows_thinking: whether blocks of thinking have their text.
    """

    def __init__(self, *, shows_thinking: bool = True) -> None:
        self.served: Mapping[str, McpTool] = {}
        """The tools that the server calls, by the model's names."""
        self.content: list[dict[str, Any]] = []
        """The blocks so far. The last one has no text before its end."""
        self._shows_thinking = shows_thinking
        self._open: str | None = None
        self._said: list[str] = []
        self._space = ""
        self._has_more = False
        """Whether there is more than a text that begins the answer."""
        self._thought = hashlib.sha256()

    def add(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """Yield the events that the next piece of the answer brings."""
        match piece:
            case AnswerText(text):
                yield from self._add_text("text", text)
            case Thought(text):
                yield from self._add_text("thinking", text)
            case CallBegun(_, call_id, name):
                self._space = ""
                yield from self._begin(self._use(call_id, name))
            case CallArguments(_, text):
                yield self._delta({"type": "input_json_delta", "partial_json": text})
            case CallEnded(_, call):
                if call.call is not None:
                    self.content[-1]["input"] = call.call.arguments or {}
                yield from self._end()

    def answered(self, answered: Answered) -> Iterator[dict[str, Any]]:
        """Yield the events of the result of a call that the server has made."""
        yield from self._begin(
            {
                "type": "mcp_tool_result",
                "tool_use_id": served_id(answered.call.id),
                "is_error": answered.error is not None,
                "content": [{"type": "text", "text": answered.error or answered.text}],
            }
        )
        yield from self._end()

    def _use(self, call_id: str, name: str) -> dict[str, Any]:
        if (tool := self.served.get(name)) is None:
            return {"type": "tool_use", "id": call_id, "name": name, "input": {}}
        call_id = served_id(call_id)
        return {"type": "mcp_tool_use", "id": call_id, "name": tool.name, "server_name": tool.server, "input": {}}

    def close(self) -> Iterator[dict[str, Any]]:
        """Yield the events that end the answer."""
        if self._space and not self._has_more:
            yield from self._begin({"type": "text", "text": ""})
            yield from self._say("text", self._space)
        yield from self._end()

    def _add_text(self, kind: str, text: str) -> Iterator[dict[str, Any]]:
        if self._open != kind:
            self._has_more = self._has_more or kind == "thinking"
            text = self._space + text
            if not text.strip():
                self._space = text if kind == "text" else ""
                return
            if self._has_more:
                text = text.lstrip()
            self._space = ""
            yield from self._begin({"type": "text", "text": ""} if kind == "text" else _no_thought())
        yield from self._say(kind, text)

    def _say(self, kind: str, text: str) -> Iterator[dict[str, Any]]:
        if not text:
            return
        if kind == "thinking":
            self._thought.update(text.encode())
            if not self._shows_thinking:
                return
        self._said.append(text)
        yield self._delta({"type": f"{kind}_delta", kind: text})

    def _begin(self, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield from self._end()
        self._open = block["type"]
        self._has_more = True
        self.content.append(block)
        yield {"type": "content_block_start", "index": len(self.content) - 1, "content_block": dict(block)}

    def _end(self) -> Iterator[dict[str, Any]]:
        if self._open is None:
            return
        if self._open == "thinking":
            signature = base64.b64encode(self._thought.digest()).decode()
            self._thought = hashlib.sha256()
            self.content[-1]["signature"] = signature
            yield self._delta({"type": "signature_delta", "signature": signature})
        if self._open in ("text", "thinking"):
            self.content[-1][self._open] = "".join(self._said)
            self._said.clear()
        self._open = None
        yield {"type": "content_block_stop", "index": len(self.content) - 1}

    def _delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": len(self.content) - 1, "delta": delta}


class SummaryWriter:
    """Writes an answer that is the summary of a conversation, as one block. Has what :class:`BlockWriter` has."""

    def __init__(self) -> None:
        self.served: Mapping[str, McpTool] = {}
        self.content: list[dict[str, Any]] = []
        self._said: list[str] = []

    def add(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """Take the next piece of the answer. The block comes whole, at its end."""
        if isinstance(piece, AnswerText):
            self._said.append(piece.text)
        return iter(())

    def answered(self, answered: Answered) -> Iterator[dict[str, Any]]:
        """Yield nothing: no tool is called for a summary."""
        return iter(())

    def close(self) -> Iterator[dict[str, Any]]:
        """Yield the events of the block; its content is null where the model has said nothing."""
        text = "".join(self._said).strip() or None
        self.content.append({"type": "compaction", "content": text})
        yield {"type": "content_block_start", "index": 0, "content_block": {"type": "compaction", "content": None}}
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "compaction_delta", "content": text}}
        yield {"type": "content_block_stop", "index": 0}


def served_id(call_id: str) -> str:
    """Return the id of a call that the server makes."""
    return f"mcp{call_id}"


def _no_thought() -> dict[str, Any]:
    return {"type": "thinking", "thinking": "", "signature": ""}
