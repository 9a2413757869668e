"""The line on which questions are written, by prompt_toolkit: several lines, history, completion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings

from .fences import is_open
from .history import PromptHistory


class LineEditor:
    """Reads questions. Enter ends one, Alt-Enter adds a line, and so does Enter within a fence.

    Parameters:
        history: earlier prompts, for the arrow keys and Ctrl-R.
        completer: what the tab key completes.
    """

    def __init__(self, history: PromptHistory, completer: Completer) -> None:
        self._session: PromptSession[str] = PromptSession(
            history=_History(history),
            completer=completer,
            complete_while_typing=False,
            key_bindings=_bindings(),
            multiline=True,
            prompt_continuation="... ",
            enable_open_in_editor=True,
            enable_suspend=True,
        )

    def read(self) -> str:
        """Return a question. Raise EOFError at Ctrl-D, KeyboardInterrupt at Ctrl-C."""
        return self._session.prompt(">>> ")


def _bindings() -> KeyBindings:
    bindings = KeyBindings()

    def end_or_continue(event: Any) -> None:
        buffer = event.current_buffer
        if is_open(buffer.text):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    def add_line(event: Any) -> None:
        event.current_buffer.insert_text("\n")

    in_question = has_focus(DEFAULT_BUFFER)  # not in a search by Ctrl-R, which Enter accepts
    bindings.add("enter", filter=in_question)(end_or_continue)
    bindings.add("escape", "enter", filter=in_question)(add_line)
    return bindings


class _History(History):
    def __init__(self, kept: PromptHistory) -> None:
        super().__init__()
        self._kept = kept

    def load_history_strings(self) -> Iterable[str]:
        return reversed(self._kept.prompts)

    def store_string(self, string: str) -> None:
        self._kept.add(string)
