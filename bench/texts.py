"""Prompts: fresh ones that are in no cache, and work whose answers repeat the prompt."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

WORDS = [
    "house",
    "river",
    "seven",
    "green",
    "slowly",
    "it",
    "garden",
    "window",
    "letter",
    "bridge",
    "old",
    "quiet",
    "heavy",
    "gentle",
    "early",
    "water",
    "stone",
    "light",
    "road",
    "hand",
    "night",
    "paper",
    "winter",
    "music",
    "table",
    "tree",
    "morning",
    "street",
    "bird",
    "glass",
    "field",
    "story",
]
"""Words of one token each in most vocabularies."""

_ADJECTIVES = ["old", "quiet", "green", "narrow", "distant", "broken", "golden", "early", "heavy", "gentle"]
_NOUNS = ["bridge", "harbour", "teacher", "engine", "garden", "letter", "mountain", "window", "captain", "river"]
_VERBS = ["followed", "crossed", "repaired", "watched", "remembered", "carried", "painted", "entered", "left"]
_NAMES = ["alpha", "width", "total", "index", "buffer", "result", "counter", "offset", "limit", "score"]

SCHEMA = {
    "type": "array",
    "minItems": 100,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "kind": {"enum": ["person", "place", "thing"]},
            "year": {"type": "integer", "minimum": 1000, "maximum": 2100},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 3},
        },
        "required": ["name", "kind", "year", "tags"],
        "additionalProperties": False,
    },
}
"""Its answers have many tokens, of all kinds."""


_attempt = 0


def begin_attempt() -> None:
    """Have all prompts differ from those before, with the same names, too."""
    global _attempt
    _attempt += 1


def chance_of(name: object) -> random.Random:
    """Return the generator of a text, another for each ``name`` and attempt."""
    return random.Random(f"{_attempt} {name}")


def fresh(tokens: int, name: object) -> str:
    """Return a prompt of about ``tokens`` tokens, another for each ``name``: no prefix of it is in a cache."""
    chance = chance_of(name)
    return " ".join(chance.choice(WORDS) for _ in range(max(tokens - 1, 1)))


def story(name: object) -> str:
    """Return a short prompt, another for each ``name``, that a model continues for long."""
    chance = chance_of(name)
    beginning = f"{chance.randrange(10**6)}. {sentence(chance)} {sentence(chance)}"  # differs from the first token on
    return f"{beginning} This is how the story begins. Once upon a time"


@dataclass(frozen=True)
class Work:
    """A prompt, and the form of the answer in GBNF; empty for free text."""

    prompt: str
    grammar: str = ""
    temperature: float = 0


def exactly(text: str) -> str:
    """Return a grammar of one text."""
    return f"root ::= {json.dumps(text)}"


def sentence(chance: random.Random) -> str:
    """Return a sentence."""
    return (
        f"The {chance.choice(_ADJECTIVES)} {chance.choice(_NOUNS)} {chance.choice(_VERBS)} the"
        f" {chance.choice(_ADJECTIVES)} {chance.choice(_NOUNS)} near the {chance.choice(_NOUNS)}."
    )


def copying(chance: random.Random) -> Work:
    """Return the copy of a text."""
    text = " ".join(sentence(chance) for _ in range(12))
    return Work(f"{text}\n\nThe same text again, word by word:\n\n", exactly(text))


def editing(chance: random.Random) -> Work:
    """Return a program with one name changed."""
    old, new, *others = chance.sample(_NAMES, 8)
    lines = [
        f"    {chance.choice(others)} = {chance.choice([old, *others])} {chance.choice('+-*')}"
        f" {chance.choice(others)} + {chance.randint(1, 99)}\n"
        for _ in range(14)
    ]
    program = "".join(lines)
    return Work(f"def before():\n{program}\n# The same; {old} is called {new}:\n", exactly(program.replace(old, new)))


def extracting(chance: random.Random) -> Work:
    """Return some rows of a table."""
    rows = [
        f"{number}; {chance.choice(_ADJECTIVES)} {chance.choice(_NOUNS)}; {chance.randint(100, 999)} pieces;"
        f" {chance.choice(('sold', 'kept'))} by the {chance.choice(_NOUNS)}\n"
        for number in range(1, 21)
    ]
    sold = "".join(row for row in rows if "sold" in row)
    return Work(f"The table:\n{''.join(rows)}\nOnly the rows that were sold:\n", exactly(sold))


def free(chance: random.Random, temperature: float) -> Work:
    """Return free text."""
    return Work(story(chance.random()), temperature=temperature)


REPEATING: dict[str, Callable[[random.Random], Work]] = {"copy": copying, "edit": editing, "extract": extracting}
"""Work whose answer repeats the prompt."""
