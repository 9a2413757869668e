"""The user's TOML files: read, and refused with the line and the name of the field that is wrong."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec

from .errors import ConfigError
from .text_file import read_text_file


def read_toml(path: Path) -> dict[str, Any]:
    """Return the document at ``path``; one that does not exist is empty.

    Raises:
        ConfigError: it cannot be read, is not UTF-8, or is not TOML.
    """
    try:
        return tomllib.loads(read_text_file(path))
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as error:  # its message includes line and column
        suggestion = None
        if "Invalid hex value" in str(error) or "Unescaped '\\'" in str(error):
            suggestion = "Write a path with backslashes in single quotes: 'C:\\Users\\me\\models'."
        raise ConfigError(f"{path} is not TOML", cause=without_content(str(error)), suggestion=suggestion) from None


def without_content(message: str) -> str:
    """Return the message of a parser with its line and column, and without what it quotes of the file."""
    fault, at, position = message.partition(" (at ")
    return re.sub(r"\s*(\(.*\)|'.*'|\".*\")", "", fault) + at + position


def wrong_field(path: Path, field: str, cause: str, *, suggestion: str | None = None, within: str = "") -> ConfigError:
    """Return the error for a field of a file that is wrong; it includes the line.

    Parameters:
        field: its table and name, such as ``server.port``.
        cause: what is wrong with it.
        suggestion: what to do; defaults to correcting or removing it.
        within: the name of a field in it that is the cause, for the line.
    """
    line = line_of(path, f"{field}.{within}" if within else field)
    return ConfigError(
        f"{path}{f':{line}' if line else ''}: {field} is wrong",
        cause=cause,
        suggestion=suggestion or "Correct it or remove it.",
        data={"file": str(path), "field": field, "line": line},
    )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the question whether the nearest one of ``known`` was meant; ``None`` where none is near."""
    names = list(known)
    folded = {each.casefold(): each for each in names}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return f"Did you mean {folded[near[0]]!r}?" if near else None


def unknown_field(path: Path, field: str, known: Iterable[str], what: str = "setting") -> ConfigError:
    """Return the error for a table or a field of a file that does not exist: it includes the nearest name.

    Parameters:
        field: its table and name, such as ``server.prot``.
        known: the names that there are.
        what: what it is called in the error.
    """
    names = list(known)
    suggestion = nearest(field.rpartition(".")[2], names) or f"Remove it: there are {', '.join(names)}."
    return wrong_field(path, field, f"there is no such {what}", suggestion=suggestion)


def located(error: msgspec.ValidationError) -> tuple[str, str]:
    """Return where below the converted table ``error`` is, such as ``.sources[0].size``, and what it says.

    msgspec says "Expected `int`, got `str` - at `$.size`", and nothing of where for a missing or an unknown field.
    """
    message, _, place = str(error).partition(" - at `$")
    named = re.search(r"(?:missing required|unknown) field `(\w+)`", message)
    return place.rstrip("`") + (f".{named[1]}" if named else ""), message


def invalid_field(path: Path, field: str, error: msgspec.ValidationError, known: Iterable[str]) -> ConfigError:
    """Return the error for what msgspec refused in the table ``field``.

    Parameters:
        known: the fields of the table.
    """
    place, message = located(error)
    if "unknown field" in message:
        return unknown_field(path, field + place, known)
    return wrong_field(path, field + place, message.replace("`", "'"))


def line_of(path: Path, field: str) -> int | None:
    """Return the number of the line of ``field`` in a TOML file: of the field itself, else of what contains it.

    Parameters:
        field: its table and name, such as ``models.small.load.seed`` or ``models.small.sources[0].url``.
    """
    try:
        lines = read_text_file(path).splitlines()
    except (OSError, ConfigError):
        return None
    found, best = None, -1
    for number, name in _fields(lines):
        within = field == name or field.startswith((f"{name}.", f"{name}["))
        if within and len(name) > best:
            found, best = number, len(name)
    if found is None:  # a table that only its sub-tables name
        found = next((number for number, name in _fields(lines) if name.startswith(f"{field}.")), None)
    return found


_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_ASSIGNMENT = re.compile(rf"\s*({_DOTTED})\s*=")


def _fields(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the line number and the name of each table and each field that begins a line."""
    table, counts, quote = "", dict[str, int](), ""
    for number, line in enumerate(lines, 1):
        if quote:  # within a text of several lines
            quote = "" if line.count(quote) % 2 else quote
            continue
        if (header := _HEADER.match(line)) is not None:
            table = _plain(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = f"{table}[{counts[table]}]"
            yield number, table
        elif (assignment := _ASSIGNMENT.match(line)) is not None:
            yield number, f"{table}.{_plain(assignment[1])}" if table else _plain(assignment[1])
            quote = next((each for each in ('"""', "'''") if line.count(each) % 2), "")


def _plain(dotted: str) -> str:
    """Return a dotted key without its quotes."""
    parts: list[str] = []
    try:
        document: Any = tomllib.loads(f"{dotted} = 0")
    except tomllib.TOMLDecodeError:
        return dotted
    while isinstance(document, dict):
        ((key, document),) = cast("dict[str, Any]", document).items()
        parts.append(key)
    return ".".join(parts)
