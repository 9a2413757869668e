"""Texts with known labels, made from templates: the same ones every time."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

SEED = 0


@dataclass(frozen=True)
class Item:
    """A text and its label."""

    text: str
    label: str


@dataclass(frozen=True)
class Task:
    """A classification.

    Parameters:
        name: for reports.
        context: what is to be done, with the labels and some examples.
        labels: the classes.
        items: as many of each class, in a mixed order.
    """

    name: str
    context: str
    labels: Sequence[str]
    items: Sequence[Item]


_THINGS = ("film", "meal", "hotel", "phone", "book", "concert", "course", "museum", "train ride", "garden")
_MOODS = {
    "positive": (
        ("wonderful", "a pleasure", "better than I had hoped", "excellent", "great fun", "worth every penny"),
        ("I would come back at once", "everybody was happy", "I recommend it", "nothing was missing", "we loved it"),
    ),
    "negative": (
        ("terrible", "a disappointment", "worse than I had feared", "dull", "a waste of money", "badly made"),
        ("I want my money back", "everybody was annoyed", "stay away from it", "nothing worked", "we hated it"),
    ),
}
_TOPICS: dict[str, tuple[Sequence[str], Sequence[str], Sequence[str]]] = {
    "sports": (
        ("The striker", "The coach", "The champion", "Our goalkeeper", "The young runner"),
        ("won the final", "scored twice", "lost the match", "broke the record", "missed the penalty"),
        ("in the last minute", "before the home crowd", "after a hard season"),
    ),
    "politics": (
        ("The minister", "Parliament", "The opposition", "The president", "A senator"),
        ("rejected the bill", "called an election", "passed the law", "lost the vote", "announced new taxes"),
        ("after a long debate", "on Tuesday", "against expectations"),
    ),
    "technology": (
        ("The new laptop", "An engineer", "The software update", "The chip maker", "The start-up"),
        ("doubled the memory", "fixed the security bug", "crashed the server", "released an app", "trained a robot"),
        ("within a week", "for all users", "without a warning"),
    ),
    "food and cooking": (
        ("The chef", "Grandmother", "This recipe", "The baker", "Our neighbour"),
        ("roasts the vegetables", "simmers the sauce", "kneads the dough", "fries the onions", "bakes the cake"),
        ("with butter and salt", "for twenty minutes", "in a hot oven"),
    ),
}


def tasks(count: int = 200) -> list[Task]:
    """Return two classifications of ``count`` texts in all."""
    moods = {label: _moods(label) for label in _MOODS}
    topics = {label: map(" ".join, itertools.product(*parts)) for label, parts in _TOPICS.items()}
    return [
        _task("sentiment", "Say whether the review is positive or negative.", "Review", moods, count // 2),
        _task("topic", f"Name the topic of the text: {', '.join(_TOPICS)}.", "Text", topics, count - count // 2),
    ]


def _moods(label: str) -> Iterator[str]:
    for thing, what, end in itertools.product(_THINGS, *_MOODS[label]):
        yield f"The {thing} was {what}, {end}"


def _task(name: str, what: str, kind: str, texts: Mapping[str, Iterator[str]], count: int) -> Task:
    rng = random.Random(SEED)
    drawn = {
        label: [f"{each}." for each in rng.sample(list(found), count // len(texts) + 1)]
        for label, found in texts.items()
    }
    shown = "\n".join(f"{kind}: {each[0]}\nAnswer: {label}" for label, each in drawn.items())
    items = [Item(f"{kind}: {text}\nAnswer:", label) for label, each in drawn.items() for text in each[1:]]
    rng.shuffle(items)
    return Task(name, f"{what}\n\n{shown}", list(texts), items)
