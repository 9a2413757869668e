"""Texts in the order of how well they answer a question."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


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
