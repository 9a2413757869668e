"""Find the spellings of control tokens in text of others, and mark a place inside each.

A mark is a character that occurs nowhere in the chat nor in its template. It goes through the template with the text,
whatever the template does to it; the prompt is cut there, so that its pieces are tokenized apart and the spelling
never becomes a token.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, cast

from ..prompt import Prompt

_MARKS = range(0x10600, 0x20000)
"""Characters nobody writes, the signs of Linear A first: letters to Python, so that templates keep them as they are."""

_PREFIX_CHARS = 3


class ControlTokens:
    """The spellings of a model's control tokens."""

    def __init__(self, spellings: Iterable[str]) -> None:
        self._spellings = frozenset(each for each in spellings if len(each) > 1)
        self._lengths: dict[str, list[int]] = {}
        for each in self._spellings:
            lengths = self._lengths.setdefault(each[:_PREFIX_CHARS], [])
            if len(each) not in lengths:
                lengths.append(len(each))
        prefixes = "|".join(map(re.escape, sorted(self._lengths, key=len, reverse=True)))
        self._search = re.compile(prefixes).search
        self._prefix_lengths = sorted({len(prefix) for prefix in self._lengths})

    def starts(self, text: str, keep: Collection[str] = ()) -> Iterator[int]:
        """Yield the positions at which spellings begin, those of ``keep`` left out."""
        if not self._spellings:
            return
        match = self._search(text)
        while match is not None:
            start = match.start()
            if any(
                (spelled := text[start : start + length]) in self._spellings and spelled not in keep
                for prefix in self._prefix_lengths
                for length in self._lengths.get(text[start : start + prefix], ())
            ):
                yield start
            match = self._search(text, start + 1)

    def marked(self, text: str, mark: str, keep: Collection[str] = ()) -> str:
        """Return ``text`` with ``mark`` after the first character of each spelling."""
        pieces: list[str] = []
        done = 0
        for start in self.starts(text, keep):
            pieces += (text[done : start + 1], mark)
            done = start + 1
        return "".join([*pieces, text[done:]]) if pieces else text

    def marked_parts(self, parts: Sequence[str], mark: str, keep: Collection[str] = ()) -> list[str]:
        """Return ``parts`` marked, with spellings that begin in one and end in another."""
        if len(parts) < 2:
            return [self.marked(part, mark, keep) for part in parts]
        starts = iter([start + 1 for start in self.starts("".join(parts), keep)])
        place, out, offset = next(starts, None), list[str](), 0
        for part in parts:
            pieces: list[str] = []
            done = 0
            while place is not None and place <= offset + len(part):
                pieces += (part[done : place - offset], mark)
                done = place - offset
                place = next(starts, None)
            out.append("".join([*pieces, part[done:]]))
            offset += len(part)
        return out

    def marked_value(self, value: Any, mark: str) -> Any:
        """Return a JSON value with all its text marked, the keys of objects as well."""
        if isinstance(value, str):
            return self.marked(value, mark)
        if isinstance(value, dict):
            items = cast("dict[str, Any]", value).items()
            return {self.marked(key, mark): self.marked_value(each, mark) for key, each in items}
        if isinstance(value, list | tuple):
            return [self.marked_value(each, mark) for each in cast("list[Any]", value)]
        return value


NO_TOKENS = ControlTokens(())


def needs_marks(tokens: ControlTokens, value: Any) -> bool:
    """Return whether any text in a JSON value spells a control token."""
    return any(next(tokens.starts(text), None) is not None for text in texts(value))


def texts(value: Any) -> Iterator[str]:
    """Yield all text in a JSON value, the keys of objects as well."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in cast("dict[str, Any]", value).items():
            yield key
            yield from texts(each)
    elif isinstance(value, list | tuple):
        for each in cast("list[Any]", value):
            yield from texts(each)


def choose_mark(*values: Any) -> str:
    """Return a character that occurs in no text of ``values``."""
    used: set[str] = set()
    for value in values:
        for text in texts(value):
            used.update(text)
    return next(mark for mark in map(chr, _MARKS) if mark not in used and mark.isprintable())


def without_marks(text: str, mark: str | None) -> Prompt:
    """Return a rendered text without its marks, which become breaks."""
    if mark is None:
        return Prompt(text)
    pieces = text.split(mark)
    breaks: list[int] = []
    position = 0
    for piece in pieces[:-1]:
        position += len(piece)
        if position and (not breaks or breaks[-1] != position):
            breaks.append(position)
    joined = "".join(pieces)
    return Prompt(joined, tuple(each for each in breaks if each < len(joined)))


def as_text(text: str, spellings: Iterable[str], keep: Collection[str] = ()) -> Prompt:
    """Return ``text`` with breaks in the spellings of control tokens, those of ``keep`` left out."""
    mark = choose_mark(text)
    return without_marks(ControlTokens(spellings).marked(text, mark, keep), mark)
