"""Texts in the order of how well they answer a question."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from ..errors import ConfigError


class RerankResult(Struct, frozen=True):
    """How well one text answers a question.

    Parameters:
        index: the position of the text in the call.
        score: the model's score: the larger, the better. Scores have no unit; compare those of one model alone.
        text: the text.
    """

    index: int
    score: float
    text: str


def ordered(texts: Sequence[str], scores: Sequence[float], top_n: int | None) -> list[RerankResult]:
    """Return the texts with their scores, the best first, at most ``top_n`` of them."""
    results = [RerankResult(index, score, text) for index, (text, score) in enumerate(zip(texts, scores, strict=True))]
    results.sort(key=lambda each: -each.score)
    return results[:top_n]


def count(top_n: object, name: str) -> int:
    """Return a number of results. Raise :class:`ConfigError` for what is none."""
    if not isinstance(top_n, int) or isinstance(top_n, bool) or top_n < 1:
        raise ConfigError(f"{name} is {top_n!r:.80}", suggestion="Give a number of results: 1 or more.")
    return top_n
