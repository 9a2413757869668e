"""Draft models: a prediction may name one, and its instance then has it loaded beside its model."""

from __future__ import annotations

from typing import Any

import msgspec

from ..config import LoadConfig, PredictionConfig
from ..errors import UnsupportedError
from ..library.model import Model

_HOW = {
    "speculative_decoding_num_draft_tokens_exact": "speculative_draft_max_tokens",
    "speculative_decoding_min_draft_length_to_consider": "speculative_draft_min_tokens",
    "speculative_decoding_min_continue_drafting_probability": "speculative_draft_min_continue_probability",
}
"""The settings of a prediction that say how to draft, and those of a load."""


def is_named(draft: Model | None, name: str) -> bool:
    """Whether ``name`` is one of the names that ``draft`` has for certain; others are for the library to find."""
    return draft is not None and name in (draft.key, draft.relative_path, str(draft.path))


def drafting_as(load: LoadConfig, asked: PredictionConfig) -> LoadConfig:
    """The config to load a model with, so that it drafts as a prediction asks."""
    how: dict[str, Any] = {field: getattr(asked, name) for name, field in _HOW.items()}
    given = {field: value for field, value in how.items() if value is not None}
    return msgspec.structs.replace(load, speculative_draft_model=asked.draft_model, **given)


def check_draft(config: PredictionConfig, identifier: str, draft: Model | None) -> None:
    """Refuse to draft in a certain way without a draft model.

    Raises:
        UnsupportedError: the instance has none, and the prediction says how to draft.
    """
    for field in _HOW:
        if draft is None and getattr(config, field) is not None:
            raise UnsupportedError(
                f"The prediction config's field {field!r} has no effect: {identifier} is loaded without a draft model",
                suggestion="Name a draft_model, or leave the field out.",
                data={"feature": "draft_model", "engineName": "llama.cpp", "engineType": "llama.cpp"},
            )
