"""The prompt for a text with a gap, in tokens."""

from __future__ import annotations

from msgspec.structs import replace

from ..config import PredictionConfig, ReasoningParsing
from ..domain.infill import Infill
from ..domain.vocabulary import Vocabulary
from ..engines.base import Engine
from ..engines.chat_templates.control_tokens import as_text
from ..errors import UnsupportedError
from .overflow import first_tokens, last_tokens, room_for_prompt

SHARE_OF_THE_SUFFIX = 4
"""Where not all fits, one part in this many of the prompt is the suffix's, or more where the prefix leaves it."""


def infill_settings(config: PredictionConfig, vocabulary: Vocabulary, model_key: str) -> PredictionConfig:
    """Return the settings of what fills a gap: it is text as it is, and nothing in it is reasoning.

    Raises:
        UnsupportedError: the model has no tokens for texts with a gap.
    """
    if vocabulary.infill is None:
        raise UnsupportedError(
            f"The model {model_key} cannot fill gaps in a text",
            cause="Its vocabulary has no tokens for what is before and after a gap.",
            suggestion="Use a model that was made for infill, such as one of Qwen2.5-Coder.",
            feature="infill",
        )
    return replace(config, reasoning_parsing=ReasoningParsing(enabled=False))


async def infill_prompt(
    engine: Engine, gap: Infill, config: PredictionConfig, context_length: int, vocabulary: Vocabulary
) -> list[int]:
    """Return the prompt for a gap; of texts that are too long, what is nearest to the gap.

    The answer keeps as much of the context as a shortened prompt leaves it (:func:`.overflow.room_for_prompt`).
    """
    tokens = vocabulary.infill
    assert tokens is not None, "see infill_settings"
    begin = await engine.tokenize("")  # the token that begins a text, where the model has one
    room = max(room_for_prompt(config, context_length) - len(begin) - 3, 0)
    before_gap, after_gap = (as_text(each, vocabulary.control_tokens) for each in (gap.prefix, gap.suffix))
    prefix, is_whole = await last_tokens(engine, before_gap, len(begin) + room)
    prefix = prefix[len(begin) :] if is_whole else prefix
    suffix = (await first_tokens(engine, after_gap, len(begin) + room))[0][len(begin) :]
    after = min(len(suffix), max(room // SHARE_OF_THE_SUFFIX, room - len(prefix)))
    before = min(len(prefix), room - after)
    return [*begin, tokens.prefix, *prefix[len(prefix) - before :], tokens.suffix, *suffix[:after], tokens.middle]
