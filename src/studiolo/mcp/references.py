"""References to environment variables in the settings of MCP servers: ``${NAME}`` and its other forms."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import ConfigError

_ESCAPE_OR_BRACE = re.compile(r"\$\$|\\\$|[{}]")
_ESCAPE_OR_REFERENCE = re.compile(r"\$\$|\\\$|\$\{")
_INSIDE = re.compile(r"(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)

MAX_DEPTH = 8
"""How deep references may lie in the defaults of others."""

SHORT_VALUE = 8
"""Values of fewer characters are found in a message only as whole words."""


@dataclass(frozen=True)
class Reference:
    """A reference in a text.

    Parameters:
        written: all of it.
        name: the variable's.
        default: what is written after ``:-``, where there may be references again.
    """

    written: str
    name: str
    default: str | None


def expanded(text: str, where: str, depth: int = 0) -> str:
    """Return a text with its references replaced by the variables' values, and ``$$`` and ``\\$`` by ``$``.

    Parameters:
        where: the place of the text, for errors.

    Raises:
        ConfigError: a variable is not set and the reference has no default, or it is not a reference.
    """
    if depth > MAX_DEPTH:
        raise ConfigError(f"{where} has references that lie more than {MAX_DEPTH} deep in the defaults of others")
    pieces: list[str] = []
    for part in _parts(text, where):
        if isinstance(part, str):
            pieces.append(part)
            continue
        value = os.environ.get(part.name)
        if not value and part.default is not None:
            value = expanded(part.default, where, depth + 1)
        if value is None:
            raise ConfigError(
                f"{where} refers to the environment variable {part.name}, which is not set",
                suggestion=f"Set it, or write ${{{part.name}:-default}}.",
            )
        pieces.append(value)
    return "".join(pieces)


def values(text: str) -> Iterator[tuple[str, str]]:
    """Yield the values that references of the text have, and each reference; the text is one that can be expanded."""
    for part in _parts(text, ""):
        if isinstance(part, str):
            continue
        if value := os.environ.get(part.name):
            yield value, part.written
        if part.default is not None:
            yield from values(part.default)


def without_values(message: str, names: dict[str, str]) -> str:
    """Return a message with names in place of values, which may be secrets.

    Parameters:
        names: what to write for each value.
    """
    if not names:
        return message
    longest_first = sorted(names, key=len, reverse=True)
    alternatives = (
        re.escape(value) if len(value) >= SHORT_VALUE else rf"(?<!\w){re.escape(value)}(?!\w)"
        for value in longest_first
    )
    return re.sub("|".join(alternatives), lambda found: names[found[0]], message)


def _parts(text: str, where: str) -> Iterator[str | Reference]:
    position = 0
    while (found := _ESCAPE_OR_REFERENCE.search(text, position)) is not None:
        yield text[position : found.start()]
        if found[0] != "${":
            yield "$"
            position = found.end()
            continue
        position = _end(text, found.end())
        written = text[found.start() : position]
        inside = _INSIDE.fullmatch(written[2:-1]) if written.endswith("}") else None
        if inside is None:
            raise ConfigError(
                f"{where} contains {written}, which is not a reference to a variable",
                suggestion="Write ${NAME}, ${env:NAME} or ${NAME:-default}, and $$ for a literal $.",
            )
        yield Reference(written, inside[1], inside[2])
    yield text[position:]


def _end(text: str, position: int) -> int:
    """Return the position after the brace that closes the one before ``position``, or the end of the text."""
    depth = 1
    for found in _ESCAPE_OR_BRACE.finditer(text, position):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth == 0:
            return found.end()
    return len(text)
