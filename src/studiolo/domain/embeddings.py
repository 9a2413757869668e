"""The vectors of texts, and how well texts answer a question."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class Embeddings(Struct, frozen=True):
    """Vectors and token counts, one for each text, in the order of the texts.

    Parameters:
        vectors: of the model's embedding length each, of length 1 where its pooling makes one vector of many.
        token_counts: tokens of each text, special ones included.
    """

    vectors: Sequence[Sequence[float]]
    token_counts: Sequence[int]


class Relevance(Struct, frozen=True):
    """How well each of some texts answers a question.

    Parameters:
        scores: a number for each text, in the order of the texts: the larger, the better. They are what the model's
            head computes, and have no common scale: compare those of one model alone.
        prompt_tokens: all tokens that were read: the question with each of the texts.
    """

    scores: Sequence[float]
    prompt_tokens: int
