"""The command line registers the command that is called alone, and all of them for the help."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from studiolo.cli.main import command_line


def names(*words: str) -> list[str]:
    group: Any = typer.main.get_command(command_line(words))
    return list(group.commands)


@pytest.mark.parametrize("command", names())
def test_each_command_is_found_without_the_others(command: str) -> None:
    registered = names("--debug", command, "--help")
    assert command in registered
    assert len(registered) <= 4


@pytest.mark.parametrize("words", [(), ("--help",), ("lz",), ("--debug", "lz", "ls")])
def test_all_commands_are_there_where_none_is_named(words: tuple[str, ...]) -> None:
    assert names(*words) == names()
