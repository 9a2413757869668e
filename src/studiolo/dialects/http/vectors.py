"""Vectors of embeddings with fewer dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...host.instance import Instance
from .fields import wrong

_SHORTENED = (
    *("nomic-embed-text-v1.5", "nomic-embed-text-v2", "embeddinggemma", "qwen3-embedding", "mxbai-embed-large"),
    *("snowflake-arctic-embed-m-v1.5", "snowflake-arctic-embed-m-v2", "snowflake-arctic-embed-l-v2"),
    "jina-embeddings-v3",
)
"""Models that are trained so that the beginning of a vector is a vector (Matryoshka representation learning)."""


def shortened(
    vectors: Sequence[Sequence[float]], dimensions: int | None, instance: Instance, param: str = "dimensions"
) -> Sequence[Sequence[float]]:
    """Return the first numbers of each vector, of length 1 again.

    Parameters:
        dimensions: how many; ``None`` for all.
        param: the field of the request.

    Raises:
        InvalidRequestError: the model's vectors cannot be shortened, or are shorter.
    """
    if dimensions is None or not vectors or dimensions == len(vectors[0]):
        return vectors
    key = instance.model.key.lower()
    if not any(name in key for name in _SHORTENED):
        raise wrong(
            param, f"the vectors of {instance.model.key} have {len(vectors[0])} dimensions, and cannot be shortened"
        )
    if dimensions > len(vectors[0]):
        raise wrong(param, f"the vectors of {instance.model.key} have {len(vectors[0])} dimensions")
    return [_unit(vector[:dimensions]) for vector in vectors]


def _unit(vector: Sequence[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector] if length else list(vector)
