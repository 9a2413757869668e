"""A terminal that text is appended to: for screen readers, dumb terminals, and output into a file."""

from __future__ import annotations

import sys
import threading
from typing import TextIO

from ...platform.terminal_lines import read_line, remember
from .fences import is_open, without_fences
from .history import PromptHistory
from .listener import Listener
from .plain_output import PlainListener, without_controls


class PlainTerminal:
    """See :class:`Terminal`.

    Parameters:
        history: the prompts that the arrow keys find.
        show_reasoning: print reasoning, too.
    """

    def __init__(self, history: PromptHistory, *, show_reasoning: bool) -> None:
        self._history = history
        self._show_reasoning = show_reasoning
        if sys.stdin.isatty():
            remember(history.prompts)

    def read(self) -> str:
        text = input(">>> ")
        while is_open(text):
            text += "\n" + input("... ")
        self._history.add(text)
        return without_fences(text)

    def ask(self, question: str) -> str:
        return input(without_controls(question))

    def confirm(self, question: str, cancelled: threading.Event) -> str:
        return read_line(lambda: print(without_controls(question), end="", flush=True), cancelled)

    def show(self, text: str) -> None:
        self._print(text)

    def note(self, text: str) -> None:
        self._print(text)

    def error(self, text: str) -> None:
        self._print(text, sys.stderr)

    def markdown(self, text: str) -> None:
        self._print(text)

    def thoughts(self, text: str) -> None:
        self._print(text)

    def listener(self) -> Listener:
        return PlainListener(reasoning="show" if self._show_reasoning else "fold")

    @staticmethod
    def _print(text: str, file: TextIO | None = None) -> None:
        print(without_controls(text), file=file or sys.stdout, flush=True)
