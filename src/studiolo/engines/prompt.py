"""Prompts: text for a model, in which text that only spells control tokens stays text."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

WORD_JOINER = "\u2060"
"""Stands at the breaks where an engine takes text alone; it is not visible."""


@dataclass(frozen=True)
class Prompt:
    """A prompt that was made from a chat.

    Parameters:
        text: the text.
        breaks: positions in ``text`` that no token reaches across, in order: each lies inside the spelling of a
            control token that came from a message, a tool or a document.
    """

    text: str
    breaks: tuple[int, ...] = ()

    def __add__(self, more: str | Prompt) -> Prompt:
        if isinstance(more, str):
            return Prompt(self.text + more, self.breaks)
        return Prompt(self.text + more.text, (*self.breaks, *(len(self.text) + each for each in more.breaks)))

    @classmethod
    def of(cls, text: str | Prompt) -> Prompt:
        """Return ``text`` as a prompt; nothing in it is broken where it is not one already."""
        return text if isinstance(text, Prompt) else cls(text)

    @property
    def pieces(self) -> list[str]:
        """The text between the breaks."""
        ends = (*self.breaks, len(self.text))
        return [self.text[start:end] for start, end in zip((0, *self.breaks), ends, strict=True)]

    def part(self, start: int, end: int) -> Prompt:
        """Return the text from ``start`` to ``end``, with the breaks in it."""
        breaks = self.breaks[bisect_right(self.breaks, start) : bisect_left(self.breaks, end)]
        return Prompt(self.text[start:end], tuple(each - start for each in breaks))

    @property
    def given(self) -> str | Prompt:
        """What an engine is given: the text alone where it has no breaks."""
        return self if self.breaks else self.text
