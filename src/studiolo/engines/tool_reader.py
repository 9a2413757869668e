"""Reading tool calls out of a model's text while it comes. The form of a call is :mod:`.tool_format`'s. No I/O."""

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
from .tool_format import CALL_BEGIN, CALL_END, ToolNames

_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)')
_HEAD_LIMIT = 4096
"""Characters of a call that are searched for its name; a call without one may still be complete at its end."""


def new_call_id() -> str:
    """An identifier for a tool call: nine digits, the only form that every chat template accepts."""
    return f"{secrets.randbelow(10**9):09d}"


@dataclass
class _Call:
    """A call that is being written."""

    raw: str = ""
    read: int = 0
    """How much of ``raw`` has been scanned."""
    closers: str = ""
    """What closes the objects and lists that are open, the innermost last."""
    in_string: bool = False
    escaped: bool = False
    arguments_from: int | None = None
    arguments_to: int | None = None
    told: int = 0
    closed: bool = False
    not_json: bool = False

    def scan(self) -> int:
        """Read on to the end of the object or of what there is; returns where that is."""
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
    """Fragments of a model's text in; fragments and the events of the calls in it out.

    Parameters:
        names: the tools' names.
        forced: the text is one call from the start, as :func:`call_schema` has it.
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
        """What a fragment brings."""
        events: list[Fragment | ToolCallEvent] = []
        if fragment.reasoning != "none" and self._call is None:  # a model may think of calls without making any
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
        """What is left when the text has ended."""
        events: list[Fragment | ToolCallEvent] = []
        if self._call is not None:
            self._fail(events, "The text ended before the call did.")
        else:
            self._flush(events)
        return events

    def _flush(self, events: list[Fragment | ToolCallEvent]) -> None:
        if self._held:
            events.append(Fragment(self._held, **self._accounted()))
        self._held = ""

    def _accounted(self) -> dict[str, Any]:
        """Return the next fragment's tokens and log-probabilities, and reset them."""
        accounted = {"tokens": self._held_tokens, "logprobs": self._held_logprobs or None}
        self._held_tokens, self._held_logprobs = 0, []
        return accounted

    def _begin(self, events: list[Fragment | ToolCallEvent]) -> None:
        self._begun = True
        self._call = _Call()
        self._id = new_call_id()
        events.append(ToolCallStarted(self._id))

    def _read_text(self, text: str, fragment: Fragment, events: list[Fragment | ToolCallEvent]) -> bool:
        """Read text outside calls; returns whether a call has begun, whose text is then in ``_held``."""
        if self._after_call:
            text, whole = _without_end_marker(text)
            if not whole:
                self._held = text
                return False
            self._after_call = False
        begin = text.find(CALL_BEGIN)
        keep = begin if begin >= 0 else len(text) - _overlap(text, CALL_BEGIN)
        if keep > 0:
            events.append(
                Fragment(
                    text[:keep],
                    **self._accounted(),
                    drafted=fragment.drafted,
                    reasoning=fragment.reasoning,
                    structural=fragment.structural,
                )
            )
        if begin < 0:
            self._held = text[keep:]
            return False
        self._held = text[begin + len(CALL_BEGIN) :]
        self._accounted()
        self._begin(events)
        return True

    def _read_call(self, text: str, events: list[Fragment | ToolCallEvent]) -> str | None:
        """Read text inside a call; return what follows its end, or ``None`` before its end."""
        call = self._call
        assert call is not None
        call.raw += text
        if call.arguments_from is None and (head := _head(call.raw)):
            call.arguments_from = call.told = head.end()
            events.append(ToolCallNamed(self._names.original(json.loads(head[1]))))
            call.read, call.closers, call.in_string, call.escaped = head.end(), "}", False, False
            call.closed = call.not_json = False
        end = call.scan()
        if call.not_json:
            marker = call.raw.find(CALL_END)
            if marker < 0:
                return None
            rest, call.raw = call.raw[marker:], call.raw[:marker]
            self._fail(events, "What stands between the markers is not a JSON object.")
            return rest
        if call.arguments_from is not None:
            until = min(call.arguments_to or end, end)
            if until > call.told:
                events.append(ToolCallArguments(call.raw[call.told : until]))
                call.told = until
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
    """A call's beginning, up to its arguments; ``None`` while it is not there, or where the call has another form."""
    if len(raw) > _HEAD_LIMIT or (head := _HEAD.match(raw)) is None:
        return None
    try:
        json.loads(head[1])
    except ValueError:
        return None
    return head


def failed_call(why: str, raw: str) -> ToolCallFailed:
    """The event for text that was to be a tool call."""
    error = PredictionError("The model wrote a tool call that cannot be read", cause=why)
    return ToolCallFailed(error, raw)


def _parsed(raw: str) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of a call. Raises :class:`ValueError`."""
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
    """The arguments of a call, from an object or from text. Raises :class:`ValueError`."""
    if isinstance(arguments, str):
        arguments = json.loads(arguments or "{}")
    if arguments is None:
        return {}
    if not isinstance(arguments, dict):
        raise ValueError("Its arguments are not a JSON object.")
    return cast("dict[str, Any]", arguments)


def _without_end_marker(text: str) -> tuple[str, bool]:
    """Text after a call without blanks and the end marker; whether that is certain yet."""
    stripped = text.lstrip()
    if stripped.startswith(CALL_END):
        return stripped[len(CALL_END) :], True
    return (text, False) if CALL_END.startswith(stripped) else (text, True)


def _overlap(text: str, marker: str) -> int:
    """How many characters at the end of ``text`` may begin ``marker``."""
    for length in range(min(len(marker) - 1, len(text)), 0, -1):
        if marker.startswith(text[-length:]):
            return length
    return 0
