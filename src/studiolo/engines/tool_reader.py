"""Parse tool calls out of a model's text as it streams, in the form of :mod:`.tool_format`. No I/O."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from typing import Any, cast

from ..domain.chat import ToolCall
from ..domain.generation import (
    Fragment,
    TokenLogProbs,
    ToolCallArguments,
    ToolCallEvent,
    ToolCallFailed,
    ToolCallFinished,
    ToolCallNamed,
    ToolCallStarted,
)
from ..errors import PredictionError
from .text_overlap import overlap
from .tool_format import CALL_BEGIN, CALL_END, ToolNames

_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)')
_MAX_HEAD_CHARS = 4096
"""Characters at the beginning of a call that are searched for its name. A call whose name comes later is parsed at its
end."""


def new_call_id() -> str:
    """Return a new identifier of a tool call: nine digits, the only form that every chat template accepts."""
    return f"{secrets.randbelow(10**9):09d}"


@dataclass
class _Call:
    """An incomplete tool call."""

    raw: str = ""
    read: int = 0
    """Characters of ``raw`` that have been scanned."""
    closers: str = ""
    """The closing brackets of the open objects and lists, the innermost last."""
    in_string: bool = False
    escaped: bool = False
    arguments_from: int | None = None
    arguments_to: int | None = None
    emitted: int = 0
    """The position in ``raw`` up to which arguments have been emitted."""
    closed: bool = False
    not_json: bool = False

    def scan(self) -> int:
        """Scan up to the end of the object or of the text so far, and return that position."""
        raw = self.raw
        while self.read < len(raw) and not (self.closed or self.not_json):
            char = raw[self.read]
            if self.in_string:
                if self.escaped:
                    self.escaped = False
                elif char == "\\":
                    self.escaped = True
                elif char == '"':
                    self.in_string = False
            elif char == '"' and self.closers:
                self.in_string = True
            elif char == "[" and CALL_END.startswith(raw[self.read : self.read + len(CALL_END)]):
                if len(raw) - self.read < len(CALL_END):
                    break  # it may be the end marker
                self.not_json = True
                break
            elif char in "{[":
                self.closers += "}" if char == "{" else "]"
            elif char in "}]":
                self.not_json = not self.closers.endswith(char)
                self.closers = self.closers[:-1]
                if len(self.closers) == 1 and self.arguments_from is not None and self.arguments_to is None:
                    self.arguments_to = self.read + 1
                self.closed = not self.closers
            elif not self.closers and not char.isspace():
                self.not_json = True
            self.read += 1
        return self.read


class ToolCallReader:
    """Converts the fragments of a model's text into fragments and tool-call events.

    Parameters:
        names: the tools' names.
        forced: whether the whole text is one call, in the form of :func:`~studiolo.engines.tool_format.call_schema`.
    """

    def __init__(self, names: ToolNames, *, forced: bool = False) -> None:
        self._names = names
        self._forced = forced
        self._held = ""  # text that may be the beginning of a marker
        self._held_tokens = 0
        self._held_logprobs: list[TokenLogProbs] = []
        self._call: _Call | None = None
        self._begun = False
        self._after_call = False
        self._id = ""

    def feed(self, fragment: Fragment) -> list[Fragment | ToolCallEvent]:
        """Return the fragments and events that the next fragment completes."""
        events: list[Fragment | ToolCallEvent] = []
        if fragment.reasoning != "none" and self._call is None:  # calls in reasoning are not calls
            self._flush(events)
            return [*events, fragment]
        if self._forced and not self._begun:
            self._begin(events)
        text = fragment.text
        self._held_tokens += fragment.tokens
        self._held_logprobs += fragment.logprobs or ()
        while text or self._held:
            if self._call is not None:
                rest = self._read_call(self._held + text, events)
                self._held = ""
                if rest is None:
                    break
                text = rest
            else:
                text = self._held + text
                self._held = ""
                if not self._read_text(text, fragment, events):
                    break
                text = ""
        return events

    def finish(self) -> list[Fragment | ToolCallEvent]:
        """Return the remaining fragments and events at the end of the text."""
        events: list[Fragment | ToolCallEvent] = []
        if self._call is not None:
            self._fail(events, "The text ended inside the call.")
        else:
            self._flush(events)
        return events

    def _flush(self, events: list[Fragment | ToolCallEvent]) -> None:
        if self._held:
            events.append(Fragment(self._held, **self._take_tokens()))
        self._held = ""

    def _take_tokens(self) -> dict[str, Any]:
        """Return the token count and log-probabilities for the next fragment, and reset both."""
        taken = {"tokens": self._held_tokens, "logprobs": self._held_logprobs or None}
        self._held_tokens, self._held_logprobs = 0, []
        return taken

    def _begin(self, events: list[Fragment | ToolCallEvent]) -> None:
        self._begun = True
        self._call = _Call()
        self._id = new_call_id()
        events.append(ToolCallStarted(self._id))

    def _read_text(self, text: str, fragment: Fragment, events: list[Fragment | ToolCallEvent]) -> bool:
        """Parse text outside calls. Return whether a call has begun; its text is then in ``_held``."""
        if self._after_call:
            text, whole = _without_end_marker(text)
            if not whole:
                self._held = text
                return False
            self._after_call = False
        begin = text.find(CALL_BEGIN)
        keep = begin if begin >= 0 else len(text) - overlap(text, CALL_BEGIN)
        if keep > 0:
            events.append(
                Fragment(
                    text[:keep],
                    **self._take_tokens(),
                    drafted=fragment.drafted,
                    reasoning=fragment.reasoning,
                    structural=fragment.structural,
                )
            )
        if begin < 0:
            self._held = text[keep:]
            return False
        self._held = text[begin + len(CALL_BEGIN) :]
        self._take_tokens()
        self._begin(events)
        return True

    def _read_call(self, text: str, events: list[Fragment | ToolCallEvent]) -> str | None:
        """Parse text inside a call. Return the text after its end; ``None`` if the call continues."""
        call = self._call
        assert call is not None
        call.raw += text
        if call.arguments_from is None and (head := _head(call.raw)):
            call.arguments_from = call.emitted = head.end()
            events.append(ToolCallNamed(self._names.original(json.loads(head[1]))))
            call.read, call.closers, call.in_string, call.escaped = head.end(), "}", False, False
            call.closed = call.not_json = False
        end = call.scan()
        if call.not_json:
            marker = call.raw.find(CALL_END)
            if marker < 0:
                return None
            rest, call.raw = call.raw[marker:], call.raw[:marker]
            self._fail(events, "The text between the markers is not a JSON object.")
            return rest
        if call.arguments_from is not None:
            until = min(call.arguments_to or end, end)
            if until > call.emitted:
                events.append(ToolCallArguments(call.raw[call.emitted : until]))
                call.emitted = until
        if not call.closed:
            return None
        rest, call.raw = call.raw[end:], call.raw[:end]
        self._end(events, call)
        return rest

    def _end(self, events: list[Fragment | ToolCallEvent], call: _Call) -> None:
        try:
            name, arguments = _parsed(call.raw)
        except ValueError as error:
            self._fail(events, str(error))
            return
        if call.arguments_from is None:
            events.append(ToolCallNamed(self._names.original(name)))
            events.append(ToolCallArguments(json.dumps(arguments, ensure_ascii=False)))
        events.append(ToolCallFinished(ToolCall(self._names.original(name), arguments, self._id), call.raw))
        self._call, self._after_call = None, True

    def _fail(self, events: list[Fragment | ToolCallEvent], why: str) -> None:
        assert self._call is not None
        events.append(failed_call(why, self._call.raw))
        self._call, self._after_call = None, True


def _head(raw: str) -> re.Match[str] | None:
    """Return the match of a call's beginning, up to its arguments; ``None`` if it is incomplete or has another form."""
    if len(raw) > _MAX_HEAD_CHARS or (head := _HEAD.match(raw)) is None:
        return None
    try:
        json.loads(head[1])
    except ValueError:
        return None
    return head


def failed_call(why: str, raw: str) -> ToolCallFailed:
    """Return the event for an invalid tool call."""
    error = PredictionError("The model wrote a tool call that cannot be read", cause=why)
    return ToolCallFailed(error, raw)


def _parsed(raw: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the arguments of a call. Raise :class:`ValueError` if it is invalid."""
    try:
        call: Any = json.loads(raw)
    except RecursionError:
        raise ValueError("It is nested too deeply.") from None
    if not isinstance(call, dict):
        raise ValueError("It is not a JSON object.")
    fields = cast("dict[str, Any]", call)
    name, arguments = fields.get("name"), fields.get("arguments", fields.get("parameters", {}))
    if not isinstance(name, str) or not name:
        raise ValueError('It has no "name".')
    return name, parsed_arguments(arguments)


def parsed_arguments(arguments: Any) -> dict[str, Any]:
    """Return the arguments of a call, given as an object or as JSON text. Raise :class:`ValueError` if invalid."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except RecursionError:
            raise ValueError("They are nested too deeply.") from None
    if arguments is None:
        return {}
    if not isinstance(arguments, dict):
        raise ValueError("Its arguments are not a JSON object.")
    return cast("dict[str, Any]", arguments)


def _without_end_marker(text: str) -> tuple[str, bool]:
    """Return the text after a call without white space and end marker, and whether more text cannot change it."""
    stripped = text.lstrip()
    if stripped.startswith(CALL_END):
        return stripped[len(CALL_END) :], True
    return (text, False) if CALL_END.startswith(stripped) else (text, True)
