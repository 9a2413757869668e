"""What the tab key completes: commands, settings, models, servers, files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from ...errors import StudioloError

Names = Callable[[], Iterable[str]]


class CommandCompleter(Completer):
    """Completes commands and what follows them.

    Parameters:
        commands: their names, without the slash.
        arguments: by a command's name: returns the words that may follow it.
        paths: the commands that a path follows.
    """

    def __init__(self, commands: Sequence[str], arguments: dict[str, Names], paths: Sequence[str]) -> None:
        self._commands = commands
        self._arguments = arguments
        self._paths = paths
        self._files = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        name, space, rest = text[1:].partition(" ")
        if not space:
            yield from (Completion(each, -len(name)) for each in sorted(self._commands) if each.startswith(name))
        elif name in self._paths:
            yield from self._files.get_completions(Document(rest), complete_event)
        elif name in self._arguments and " " not in rest:
            with suppress(StudioloError):
                yield from (Completion(each, -len(rest)) for each in self._arguments[name]() if each.startswith(rest))
