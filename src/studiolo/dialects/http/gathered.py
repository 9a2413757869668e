"""What a prediction has generated, gathered from its events, and what each event adds for the client."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from ...domain.chat import ToolCall
from ...domain.generation import (
    Fragment,
    PredictionResult,
    TokenLogProbs,
    ToolCallArguments,
    ToolCallEvent,
    ToolCallFailed,
    ToolCallFinished,
    ToolCallNamed,
    ToolCallStarted,
)
from ...domain.progress import Queued
from ...host.prompt_progress import PromptReport

Event = Fragment | ToolCallEvent | PromptReport | Queued | PredictionResult

_CUT = ("max_tokens", "context_full", "time_limit", "cancelled")
"""Ends within what a model was writing."""


@dataclass
class CallText:
    """A call of a tool as far as it is written.

    Parameters:
        id: the call's.
        name: the tool's.
        arguments: as JSON text; cut off where the answer was.
        call: the complete call; ``None`` for one that was cut off or is malformed.
    """

    id: str
    name: str = ""
    arguments: str = ""
    call: ToolCall | None = None


@dataclass
class Gathered:
    """What a prediction has generated.

    Parameters:
        texts: the pieces of the answer, ``thoughts``: those of its reasoning.
        calls: the calls of tools, in order; the last one may be cut off.
        logprobs: of the tokens of the answer, where they were asked for.
        reasoning_tokens: tokens of reasoning, its tags included.
        result: the end; ``None`` before it.
        call_prefix: what the ids of calls begin with.
    """

    texts: list[str] = field(default_factory=list[str])
    thoughts: list[str] = field(default_factory=list[str])
    calls: list[CallText] = field(default_factory=list[CallText])
    logprobs: list[TokenLogProbs] = field(default_factory=list[TokenLogProbs])
    reasoning_tokens: int = 0
    result: PredictionResult | None = None
    call_prefix: str = "call_"
    _nameless: str = ""

    @property
    def text(self) -> str:
        """The answer."""
        return "".join(self.texts)

    @property
    def reasoning(self) -> str:
        """The reasoning, without its tags."""
        return "".join(self.thoughts)

    @property
    def end(self) -> PredictionResult:
        """The result of a prediction that has ended."""
        assert self.result is not None
        return self.result

    @property
    def called(self) -> bool:
        """Whether the answer ended with complete calls."""
        return bool(self.calls) and self.end.stop_reason in ("tool_calls", "end_of_text") and bool(self.calls[-1].call)

    def add(self, event: Event) -> list[Piece]:
        """Take the next event. Return what it adds for the client."""
        if not self._nameless or isinstance(event, ToolCallFailed):
            return self._add(event)
        text, self._nameless = self._nameless, ""
        if isinstance(event, PredictionResult) and event.stop_reason in _CUT:
            return self._add(event)  # the beginning of a call is not an answer
        self.texts.append(text)
        return [AnswerText(text, ()), *self._add(event)]

    def _add(self, event: Event) -> list[Piece]:
        match event:
            case Fragment():
                return self._add_fragment(event)
            case ToolCallNamed():
                call = CallText(f"{self.call_prefix}{secrets.token_hex(12)}", event.name)
                self.calls.append(call)
                return [CallBegun(len(self.calls) - 1, call.id, call.name)]
            case ToolCallArguments():
                self.calls[-1].arguments += event.text
                return [CallArguments(len(self.calls) - 1, event.text)] if event.text else []
            case ToolCallFinished():
                return self._finish(event.call)
            case ToolCallFailed():
                if self.calls and self.calls[-1].call is None:
                    return [CallEnded(len(self.calls) - 1, self.calls[-1])]
                self._nameless += event.raw or ""
            case PredictionResult():
                self.result = event
            case PromptReport() | Queued() | ToolCallStarted():
                pass
        return []

    def _add_fragment(self, fragment: Fragment) -> list[Piece]:
        if fragment.reasoning == "none":
            self.texts.append(fragment.text)
            self.logprobs += fragment.logprobs or ()
            return [AnswerText(fragment.text, fragment.logprobs or ())]
        self.reasoning_tokens += fragment.tokens
        if fragment.reasoning != "reasoning":
            return []
        self.thoughts.append(fragment.text)
        return [Thought(fragment.text)]

    def _finish(self, call: ToolCall) -> list[Piece]:
        index, text = len(self.calls) - 1, self.calls[-1]
        text.call = call
        pieces: list[Piece] = []
        if not text.arguments.strip():
            text.arguments = msgspec.json.encode(call.arguments or {}).decode()
            pieces.append(CallArguments(index, text.arguments))
        return [*pieces, CallEnded(index, text)]


class AnswerText(NamedTuple):
    """The next piece of the answer, and the log-probabilities of its tokens."""

    text: str
    logprobs: Sequence[TokenLogProbs]


class Thought(NamedTuple):
    """The next piece of the reasoning."""

    text: str


class CallBegun(NamedTuple):
    """A call of a tool begins: its number in the answer, its id and the tool's name."""

    number: int
    id: str
    name: str


class CallArguments(NamedTuple):
    """The next piece of the arguments of a call, as JSON text."""

    number: int
    text: str


class CallEnded(NamedTuple):
    """A call is complete, or cannot become so."""

    number: int
    call: CallText


Piece = AnswerText | Thought | CallBegun | CallArguments | CallEnded
