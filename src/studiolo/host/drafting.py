"""Draft models: a prediction may name one, and its instance then has it loaded beside its model."""

from __future__ import annotations

from typing import Any

import msgspec

from ..config import LoadConfig, PredictionConfig
from ..errors import UnsupportedError
from ..library.model import Model

_HOW = {
    "speculative_decoding_num_draft_tokens_exact": ("speculative_draft_max_tokens", 3),
    "speculative_decoding_min_draft_length_to_consider": ("speculative_draft_min_tokens", 0),
    "speculative_decoding_min_continue_drafting_probability": ("speculative_draft_min_continue_probability", 0),
}
"""The settings of a prediction that say how to draft; those of a load, and their defaults."""


def is_named(draft: Model | None, name: str) -> bool:
    """Whether ``name`` is one of the names that ``draft`` has for certain; others are for the library to find."""
    return draft is not None and name in (draft.key, draft.relative_path, str(draft.path))


def drafting_as(load: LoadConfig, asked: PredictionConfig) -> LoadConfig:
    """The config to load a model with, so that it drafts as a prediction asks."""
    how: dict[str, Any] = {field: getattr(asked, name) for name, (field, _) in _HOW.items()}
    given = {field: value for field, value in how.items() if value is not None}
    return msgspec.structs.replace(load, speculative_draft_model=asked.draft_model, **given)


def undrafted(load: LoadConfig) -> LoadConfig:
    """Return the config without the settings of a draft model: equal for instances that differ in these alone."""
    return msgspec.structs.replace(
        load, speculative_draft_model=None, **dict.fromkeys((field for field, _ in _HOW.values()), None)
    )


def check_draft(config: PredictionConfig, load: LoadConfig, draft: Model | None) -> None:
    """Refuse to draft without a draft model, or in another way than it was loaded to: the engine would ignore it.

    Engines give no log-probabilities of drafted tokens: a list with gaps is refused, too.

    Raises:
        UnsupportedError: a setting has no effect, or differs from the value given at the load.
    """
    by_itself = load.speculative_ngram or load.speculative_draft_mtp
    if config.log_prob_candidates is not None and (draft is not None or by_itself):
        raise UnsupportedError(
            "There are no log-probabilities of drafted tokens, and the model is loaded "
            + (f"with the draft model {draft.key}" if draft is not None else "to draft without a model"),
            suggestion="Leave log_probs out, or load another instance without drafting (load_new_instance).",
            feature="log_probs",
        )
    for field, (load_field, default) in _HOW.items():
        if (wanted := getattr(config, field)) is None:
            continue
        if draft is None:
            raise _refused(
                f"The prediction config's field {field!r} has no effect: the model is loaded without a draft model",
                "Name a draft_model, or leave the field out.",
            )
        loaded = getattr(load, load_field)
        loaded = default if loaded is None else loaded
        if wanted != loaded:
            raise _refused(
                f"The prediction config's field {field!r} is {wanted}, and the model is loaded to draft with {loaded}",
                f"Load it with the load setting {load_field}={wanted}, or leave the field out.",
            )


def _refused(title: str, suggestion: str) -> UnsupportedError:
    return UnsupportedError(
        title,
        cause="How an engine drafts is settled when it loads the model.",
        suggestion=suggestion,
        feature="draft_model",
    )
