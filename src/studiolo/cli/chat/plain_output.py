"""Answers as text that is appended as it comes: for pipes, dumb terminals and screen readers."""

from __future__ import annotations

import json
import re
import sys
from typing import Any, Literal, TextIO

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

MAX_SHOWN_CHARS = 300
"""Characters of a tool's arguments and results that are shown."""


def without_controls(text: str) -> str:
    """Return ``text`` without the characters that could steer a terminal, which are escaped. Line ends stay."""
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text.replace("\r\n", "\n"))


def shortened(text: str) -> str:
    """Return a text in one line, cut where it is long."""
    line = without_controls(" ".join(text.split()))
    return line if len(line) <= MAX_SHOWN_CHARS else f"{line[:MAX_SHOWN_CHARS]}…"


def call_line(name: str, arguments: dict[str, Any]) -> str:
    """Return a call of a tool in one line."""
    return shortened(f"{name}({', '.join(f'{key}={_value(value)}' for key, value in arguments.items())})")


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class PlainListener:
    """Prints an answer as it comes.

    Parameters:
        reasoning: whether reasoning is printed, announced by a line, or neither.
        beside: where reasoning and calls of tools go. Default: beside the answer.
        is_exact: print the answer as it is, for programs, not for a terminal.
    """

    def __init__(
        self, *, reasoning: Literal["show", "fold", "hide"], beside: TextIO | None = None, is_exact: bool = False
    ) -> None:
        self._reasoning = reasoning
        self._beside = beside
        self._is_exact = is_exact
        self._is_thinking = False
        self._column_is_0 = True
        self._is_first = True

    def waiting(self, processed: float) -> None:
        pass

    def fragment(self, text: str, *, is_reasoning: bool) -> None:
        if is_reasoning:
            if not self._is_thinking and self._reasoning != "hide":
                self._print("Thinking:\n" if self._reasoning == "show" else "Thinking...\n", self._beside)
            self._is_thinking = True
            if self._reasoning == "show":
                self._print(without_controls(text), self._beside)
            return
        if self._is_thinking:
            self._is_thinking = False
            if self._reasoning == "show":
                self._end_line(self._beside)
                self._print("\n", self._beside)
        if self._is_exact:
            self._print(text, None)
            return
        text = text.lstrip("\n") if self._is_first else text
        if text:
            self._is_first = False
            self._print(without_controls(text), None)

    def round_ended(self) -> None:
        self._end_line(self._beside if self._is_thinking else None)
        self._is_thinking, self._is_first = False, True

    def tool_returned(self, name: str, content: str) -> None:
        self._print(f"{shortened(name)} returned: {shortened(content)}\n", self._beside)

    def _end_line(self, file: TextIO | None) -> None:
        if not self._column_is_0:
            self._print("\n", file)

    def _print(self, text: str, file: TextIO | None) -> None:
        print(text, end="", file=file or sys.stdout, flush=True)
        self._column_is_0 = text.endswith("\n") if text else self._column_is_0
