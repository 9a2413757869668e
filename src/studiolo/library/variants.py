"""Select the variant of a model that its name alone means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..platform.memory import total_memory_bytes
from .model import Model

# Best first: small with little loss, then larger ones, then those with more loss.
_PREFERRED = (
    *("q4_k_m", "q4_k_xl", "q4_k_l", "mxfp4_moe", "mxfp4", "nvfp4"),
    *("iq4_nl", "iq4_xs", "q4_k_s", "q4_k", "q4_1", "q4_0"),
    *("q5_k_m", "q5_k_xl", "q5_k_l", "q5_k_s", "q5_k", "q5_1", "q5_0", "q6_k", "q6_k_l", "q6_k_xl", "q8_0", "q8_k_xl"),
    *("q3_k_l", "q3_k_xl", "q3_k_m", "q3_k_s", "q3_k", "iq3_m", "iq3_s", "iq3_xs", "iq3_xxs"),
    *("bf16", "f16", "fp16", "f32", "fp32"),
    *("q2_k_l", "q2_k_xl", "q2_k", "q2_k_s", "iq2_m", "iq2_s", "iq2_xs", "iq2_xxs", "tq2_0", "tq1_0", "iq1_m", "iq1_s"),
)
_RANK = {name: rank for rank, name in enumerate(_PREFERRED)}

USABLE_MEMORY = 0.7
"""The share of the machine's memory for weights: the cache and the computation need memory too."""


def preference(quantization: str | None) -> int:
    """Return the rank of a quantisation, 0 for the best; unknown ones come last."""
    name = (quantization or "").lower().removeprefix("ud-").removeprefix("i1-")
    return _RANK.get(name, len(_RANK))


def select(variants: Sequence[Model], last_used: str | None, first_choice: Path | None, memory: int) -> Model:
    """Return the variant that the model's key without a quantisation means.

    Parameters:
        variants: all variants of one model.
        last_used: the path of the variant that was used last.
        first_choice: the path of the catalog's variant, for the case that none was used.
        memory: bytes of memory for weights.

    Returns:
        The one used last, else the first choice, else Ollama's ``latest``, else the one with the best quantisation
        among those that fit into memory, else the smallest. Usable variants go before unusable ones.
    """
    usable = [model for model in variants if model.error is None] or list(variants)
    for model in usable:
        if last_used is not None and str(model.path) == last_used:
            return model
    for model in usable:
        if model.path == first_choice or (model.origin == "ollama" and model.variant == "latest"):
            return model
    fitting = [model for model in usable if model.size_bytes <= memory]
    if not fitting:
        return min(usable, key=lambda model: (model.size_bytes, model.key))
    return min(fitting, key=lambda model: (preference(quantization_of(model)), model.key))


def quantization_of(model: Model) -> str | None:
    """Return the quantisation that the file's name says, else its header."""
    if model.variant is not None and model.origin != "ollama":
        return model.variant
    return model.metadata.quantization if model.metadata else None


def usable_memory() -> int:
    """Return the bytes of this machine's memory that weights may take."""
    return int(total_memory_bytes() * USABLE_MEMORY)
