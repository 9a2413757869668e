"""The prompts of an engine's latest answers: what of the next prompt it has probably read already."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

MIN_TOKENS = 64
"""Shorter prompts are not noted: they are read at once."""

MAX_NOTED = 64
MAX_NOTED_LENGTH = 8 << 20
"""How many prompts are noted, and their characters or tokens together."""

Prefix = str | list[int]
"""A prompt as the engine is given it: text or tokens."""


@dataclass(eq=False)
class Noted:
    """A prompt with its answer.

    Parameters:
        prompt_length: how much of ``text`` is the prompt.
        tokens: how many both have.
        written: whether it is on disk as it is here.
    """

    text: Prefix
    prompt_length: int
    tokens: int
    written: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


class NotedPrompts:
    """The latest prompts, the last at the end of ``latest``."""

    def __init__(self) -> None:
        self.latest: list[Noted] = []

    def add(self, prompt: Prefix, answer: str, tokens: int) -> None:
        """Note a prompt of ``tokens`` tokens, its answer included."""
        if tokens < MIN_TOKENS:
            return
        new = Noted(prompt + answer if isinstance(prompt, str) else prompt, len(prompt), tokens)
        # A later turn of a conversation takes the place, and the file, of the earlier.
        for old in self.latest:
            if type(old.text) is type(new.text) and new.text[: old.prompt_length] == old.text[: old.prompt_length]:
                self.latest.remove(old)
                new.id = old.id
                new.written = old.written and old.text == new.text
                break
        self.latest.append(new)
        length = sum(len(noted.text) for noted in self.latest)
        while len(self.latest) > MAX_NOTED or length > MAX_NOTED_LENGTH:
            length -= len(self.latest.pop(0).text)

    def known(self, prompt: Prefix) -> int:
        """Return how much of the beginning of ``prompt`` one of them has, in characters or tokens."""
        return max((common_length(prompt, noted.text) for noted in self.latest), default=0)


def common_length(one: Prefix, other: Prefix) -> int:
    """Return the length of the beginning that two prompts have in common."""
    if type(one) is not type(other):
        return 0
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
