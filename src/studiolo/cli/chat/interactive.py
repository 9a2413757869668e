"""The chat in the terminal: which kind of terminal it is, and what the user allows."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ...config import PredictionConfig
from ...paths import Home
from ...sdk.sync_client import Client
from .context import ChatContext
from .history import PromptHistory
from .inputs import Attachment
from .journal import Journal
from .loop import COMMANDS, begin, run
from .model_choice import names_of_models
from .model_commands import names_of_presets
from .plain_output import call_line
from .plain_terminal import PlainTerminal
from .session import ChatSession
from .terminal import Terminal
from .tools import ChatTools, names_of_servers


def chat_in_terminal(
    session: ChatSession,
    journal: Journal | None,
    attachments: Sequence[Attachment],
    model: str | None,
    *,
    plain: bool,
    stats: bool,
    show_reasoning: bool,
    ttl: int | None,
) -> None:
    """Chat until the user ends it. Raise what the choice or the load of the model raises."""
    plain = plain or not can_redraw()
    history = PromptHistory(Home.default().chat_history if session.recorder.records else None)
    terminal = _terminal(session.client, history, plain, show_reasoning)
    with contextlib.closing(ChatTools(Permission(terminal).allows)) as tools:
        session.tools = tools
        chat = ChatContext(session, journal, terminal, tools, stats, plain, ttl, [*attachments])
        try:
            begin(chat, model)
        except EOFError:
            return
        run(chat)


def can_redraw() -> bool:
    """Return whether standard output is a terminal that can redraw its lines."""
    return sys.stdout.isatty() and os.environ.get("TERM", "").lower() not in ("", "dumb", "unknown")


def _terminal(client: Client, history: PromptHistory, plain: bool, show_reasoning: bool) -> Terminal:
    if plain:
        return PlainTerminal(history, show_reasoning=show_reasoning)
    from .completion import CommandCompleter  # late: a plain terminal needs neither prompt_toolkit nor Rich
    from .rich_terminal import RichTerminal

    arguments: dict[str, Callable[[], Iterable[str]]] = {
        "set": lambda: PredictionConfig.__struct_fields__,
        "unset": lambda: PredictionConfig.__struct_fields__,
        "model": lambda: names_of_models(client),
        "preset": names_of_presets,
        "tools": lambda: [*names_of_servers(), "off"],
    }
    names = [name for command in COMMANDS for name in command.names]
    completer = CommandCompleter(names, arguments, ("image", "file", "load", "save"))
    return RichTerminal(history, completer, show_reasoning=show_reasoning)


class Permission:
    """What tools the user lets the model call.

    Parameters:
        terminal: where the user is asked.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._always: set[str] = set()

    def allows(self, name: str, arguments: dict[str, Any], cancelled: threading.Event) -> bool:
        """Ask the user about a call, unless its tool is always allowed in this chat."""
        line = call_line(name, arguments)
        if name in self._always:
            self._terminal.note(f"Calls {line}")
            return True
        answer = self._terminal.confirm(f"Call {line}? [y]es, [n]o, [a]lways: ", cancelled).lower()
        if answer in ("a", "always"):
            self._always.add(name)
        return answer in ("y", "yes", "a", "always")
