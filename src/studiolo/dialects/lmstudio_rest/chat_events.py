"""The events of a streamed chat of LM Studio's REST API, in the order of its documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...domain.progress import Queued
from ...host.prompt_progress import PromptReport
from ...mcp.connections import McpTool
from ..http.answers import sse
from ..http.gathered import AnswerText, CallBegun, CallEnded, Piece, Thought
from ..http.generation import fits
from ..http.tool_servers import Answered, Step
from .chat_answer import Connected, Happening, Loaded, Loading, provider, tool_item


def event(kind: str, **fields: Any) -> bytes:
    """Return an event of a stream."""
    return sse({"type": kind, **fields}, kind)


class Shown:
    """The events that show a chat, as it happens.

    Parameters:
        instance_id: the instance's identifier, as far as it is known.
        was_loaded: whether the model is there.
        tool: returns the tool of the server's that the model knows by a name.
    """

    def __init__(self, instance_id: str, was_loaded: bool, tool: Callable[[str], McpTool | None]) -> None:
        self._instance_id = instance_id
        self._was_loaded = was_loaded
        self._find_tool = tool
        self._has_begun = False
        self._prompt = _Prompt()
        self._item: str | None = None

    def add(self, happening: Happening) -> Iterator[bytes]:
        """Yield the events for what happens next."""
        name = self._instance_id
        match happening:
            case Connected() if not self._was_loaded:
                yield from self._begin()
                yield event("model_load.start", model_instance_id=name)
            case Loading(progress):
                yield event("model_load.progress", model_instance_id=name, progress=progress)
            case Loaded(instance_id, seconds):
                self._instance_id = instance_id
                if seconds is not None:
                    yield event("model_load.end", model_instance_id=instance_id, load_time_seconds=seconds)
            case Answered():
                yield from _tool_events(happening)
                self._prompt = _Prompt()
            case Step(said) if fits(said) and not isinstance(said, Queued):
                yield from self._begin()
                if isinstance(said, PromptReport):
                    yield self._prompt.progress(said)
                else:
                    yield self._prompt.end()
                    for piece in happening.pieces:
                        yield from self._add_piece(piece)
            case _:
                pass

    def end_item(self) -> bytes:
        """Return the event that ends the message or the reasoning, if one is open."""
        item, self._item = self._item, None
        return event(f"{item}.end") if item else b""

    def _begin(self) -> Iterator[bytes]:
        if not self._has_begun:
            self._has_begun = True
            yield event("chat.start", model_instance_id=self._instance_id)

    def _add_piece(self, piece: Piece) -> Iterator[bytes]:
        match piece:
            case AnswerText() | Thought() if piece.text:
                kind = "message" if isinstance(piece, AnswerText) else "reasoning"
                if kind != self._item:
                    yield self.end_item() + event(f"{kind}.start")
                    self._item = kind
                yield event(f"{kind}.delta", content=piece.text)
            case CallBegun(_, _, name):
                yield self.end_item() + event("tool_call.start", **self._tool(name))
            case CallEnded(_, call) if call.call is not None:
                yield event("tool_call.arguments", arguments=call.call.arguments or {}, **self._tool(call.name))
            case CallEnded(_, call):
                yield event(
                    "tool_call.failure",
                    reason="The arguments are not a JSON object that the tool takes.",
                    metadata={"type": "invalid_arguments", "tool_name": call.name},
                )
            case _:
                pass

    def _tool(self, name: str) -> dict[str, Any]:
        tool = self._find_tool(name)
        return {"tool": name} if tool is None else {"tool": tool.name, "provider_info": provider(tool)}


def _tool_events(answered: Answered) -> Iterator[bytes]:
    item = tool_item(answered)
    yield event(
        "tool_call.success",
        tool=item.tool,
        arguments=item.arguments,
        output=item.output,
        provider_info=item.provider_info,
    )


class _Prompt:
    """The events of the processing of a prompt: a start, progress, one end."""

    def __init__(self) -> None:
        self._begun = self._ended = False

    def progress(self, report: PromptReport) -> bytes:
        """Return the events for a report."""
        return self._begin() + event("prompt_processing.progress", progress=report.ratio)

    def end(self) -> bytes:
        """Return the event of the end, the first time."""
        if self._ended:
            return b""
        begin = self._begin()
        self._ended = True
        return begin + event("prompt_processing.end")

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return event("prompt_processing.start")
