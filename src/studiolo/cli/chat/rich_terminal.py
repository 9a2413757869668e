"""A terminal that shows formatted answers and edits lines."""

from __future__ import annotations

import threading

from prompt_toolkit import prompt
from prompt_toolkit.completion import Completer
from rich.text import Text

from ...platform.terminal_lines import read_line
from .fences import without_fences
from .history import PromptHistory
from .line_editor import LineEditor
from .listener import Listener
from .markdown_output import MarkdownListener, formatted, new_console
from .plain_output import without_controls


class RichTerminal:
    """See :class:`Terminal`.

    Parameters:
        history: the prompts that the arrow keys find.
        completer: what the tab key completes.
        show_reasoning: print reasoning; otherwise it is folded.
    """

    def __init__(self, history: PromptHistory, completer: Completer, *, show_reasoning: bool) -> None:
        self._editor = LineEditor(history, completer)
        self._console = new_console()
        self._show_reasoning = show_reasoning

    def read(self) -> str:
        return without_fences(self._editor.read())

    def ask(self, question: str) -> str:
        return prompt(without_controls(question))

    def confirm(self, question: str, cancelled: threading.Event) -> str:
        text = Text(without_controls(question), style="bold")
        return read_line(lambda: self._console.print(text, end=""), cancelled)

    def show(self, text: str) -> None:
        self._print(text, "")

    def note(self, text: str) -> None:
        self._print(text, "dim")

    def error(self, text: str) -> None:
        self._print(text, "red")

    def markdown(self, text: str) -> None:
        self._console.print(formatted(without_controls(text)))

    def thoughts(self, text: str) -> None:
        self._print(text, "dim")

    def listener(self) -> Listener:
        return MarkdownListener(self._console, show_reasoning=self._show_reasoning)

    def _print(self, text: str, style: str) -> None:
        self._console.print(Text(without_controls(text), style=style))
