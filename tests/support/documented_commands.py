"""Commands as the documentation shows them."""

from __future__ import annotations

import functools
import shlex
from typing import Any

import typer.main

from studiolo.cli.main import command_line

ABBREVIATED = {"...", "…", "COMMAND"}


@functools.cache
def command_group() -> Any:
    """Return the command line as click has it; made once, which takes a tenth of a second."""
    return typer.main.get_command(command_line())


def check(command: str) -> None:
    """Fail if a command, or one of its options, does not exist."""
    node = command_group()
    seen = node.params
    for word in shlex.split(command.replace("[", "").replace("]", "").rpartition("studiolo ")[2]):
        if word.startswith("-") and word != "-":
            known = {option for each in seen for option in (*each.opts, *each.secondary_opts)} | {"--help"}
            for option in word.split("|"):
                assert option.partition("=")[0] in known, f"{command}: no option {option}"
        elif hasattr(node, "commands") and word not in ABBREVIATED:
            for name in word.split("|"):
                assert name in node.commands, f"{command}: no command {name}"
            node = node.commands[word.split("|")[0]]
            seen = [*seen, *node.params]
