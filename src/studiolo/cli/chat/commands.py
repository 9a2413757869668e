"""The commands of a chat: lines that begin with a slash."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from ...errors import ConfigError
from .context import ChatContext


@dataclass(frozen=True)
class Command:
    """A command.

    Parameters:
        names: its name and other ones, without the slash.
        argument: what it takes, for the help.
        help: what it does, in one line.
        run: does it, with the text after the name.
    """

    names: tuple[str, ...]
    argument: str
    help: str
    run: Callable[[ChatContext, str], None]


def is_command(line: str) -> bool:
    """Return whether a line is a command: a slash and a word, unlike the path of a file."""
    first = line.split(maxsplit=1)[0] if line.strip() else ""
    return line.startswith("/") and len(first) > 1 and "/" not in first[1:]


def found(commands: tuple[Command, ...], line: str) -> tuple[Command, str]:
    """Return the command of a line and its argument. Raise :class:`ConfigError` where there is no such command."""
    name, _, argument = line[1:].partition(" ")
    name, _, rest = name.partition("\n")
    known = {each: command for command in commands for each in command.names}
    if (command := known.get(name.lower())) is None:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"Did you mean /{near[0]}?" if near else "/help lists the commands."
        raise ConfigError(f"There is no command /{name}", suggestion=hint)
    return command, f"{rest}\n{argument}".strip() if rest else argument.strip()


def help_text(commands: tuple[Command, ...]) -> str:
    """Return the list of commands, for the terminal."""
    rows = [(f"/{command.names[0]} {command.argument}".rstrip(), command) for command in commands]
    width = max(len(left) for left, _ in rows)
    lines = [f"{left.ljust(width)}  {command.help}" for left, command in rows]
    return "\n".join([*lines, "", *KEYS])


KEYS = (
    'A question of several lines begins and ends with """; Alt-Enter adds a line.',
    "Ctrl-C stops an answer, or empties the line. Ctrl-D ends the chat.",
)
