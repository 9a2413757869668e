"""Draft models: a prediction may ask for the one that its model was loaded with."""

from __future__ import annotations

from ..config import PredictionConfig
from ..errors import UnsupportedError
from ..library.model import Model

_HOW = (
    "speculative_decoding_num_draft_tokens_exact",
    "speculative_decoding_min_draft_length_to_consider",
    "speculative_decoding_min_continue_drafting_probability",
)


def check_draft(config: PredictionConfig, identifier: str, draft: Model | None) -> None:
    """Refuse what a prediction asks of a draft model that its instance does not have.

    Raises:
        UnsupportedError: the instance was loaded without the draft model, or with another one.
    """
    wanted = config.draft_model
    if wanted and (draft is None or wanted not in (draft.key, draft.relative_path, str(draft.path))):
        has = f"with the draft model {draft.key}" if draft else "without a draft model"
        raise _refused(
            f"{identifier} is loaded {has}, and the prediction asks for {wanted!r}",
            f"Load it with the load setting speculative_draft_model={wanted!r}.",
        )
    for field in _HOW:
        if draft is None and getattr(config, field) is not None:
            raise _refused(
                f"The prediction config's field {field!r} has no effect: {identifier} is loaded without a draft model",
                "Load it with the load setting speculative_draft_model, or leave the field out.",
            )


def _refused(title: str, suggestion: str) -> UnsupportedError:
    return UnsupportedError(
        title,
        cause="llama.cpp loads a draft model together with the model that it drafts for.",
        suggestion=suggestion,
        data={"feature": "draft_model", "engineName": "llama.cpp", "engineType": "llama.cpp"},
    )
