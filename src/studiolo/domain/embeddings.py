"""The vectors of texts."""

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
