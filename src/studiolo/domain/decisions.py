"""Decisions: a question, the answers to choose from, and the probabilities of a model's choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

QuestionKind = Literal["choice", "levels", "truth"]
"""What the choices of a question are: any, from the lowest level to the highest, or yes and no."""

Normalization = Literal["none", "tokens"]
"""What of a choice is compared: the probability of its whole text, or the geometric mean of its tokens'."""

YES_AND_NO = ("Yes", "No")
"""The choices of a question of the kind ``truth``."""


class Question(Struct, frozen=True, kw_only=True):
    """A question, and the answers to choose from.

    Parameters:
        choices: texts that an answer may begin with.
        text: the question; ``None`` where the chat itself asks it.
        kind: what the choices are.
    """

    choices: Sequence[str]
    text: str | None = None
    kind: QuestionKind = "choice"


_LEAST = 1e-300


def log_probability(probability: float) -> float:
    """Return the logarithm of a probability, which is taken for a very small one where it is 0."""
    return math.log(max(probability, _LEAST))


def softmax(scores: Sequence[float]) -> list[float]:
    """Return the probabilities that are in proportion to the exponentials of ``scores``."""
    best = max(scores)
    weights = [math.exp(each - best) for each in scores]
    total = sum(weights)
    return [each / total for each in weights]


def expected_level(values: Sequence[float], probabilities: Sequence[float]) -> float:
    """Return the mean of the levels' values by their probabilities."""
    return sum(value * each for value, each in zip(values, probabilities, strict=True))


def level_values(levels: Sequence[object]) -> list[float]:
    """Return the values of levels: those that are numbers, or positions, counted from 0."""
    numbers = [float(each) for each in levels if isinstance(each, int | float)]
    return numbers if len(numbers) == len(levels) else [float(index) for index in range(len(levels))]
