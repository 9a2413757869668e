"""What a request took, in the forms of OpenAI's API and of LM Studio's additions to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

from ...domain.generation import PredictionResult, StopReason
from ..http.gathered import Gathered

LM_STUDIO_STOP_REASONS: dict[StopReason, str] = {
    "end_of_text": "eosFound",
    "stop_string": "stopStringFound",
    "tool_calls": "toolCalls",
    "max_tokens": "maxPredictedTokensReached",
    "context_full": "contextLengthReached",
    "time_limit": "timeLimitReached",
}


FinishReason = Literal["stop", "length", "tool_calls"]


class PromptDetails(Struct):
    """Of the tokens of a prompt, those that were in the engine's cache."""

    cached_tokens: int


class CompletionDetails(Struct):
    """Of the generated tokens, those of reasoning."""

    reasoning_tokens: int


class Usage(Struct):
    """The tokens of a request and its answers."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


def usage(answers: Sequence[Gathered], prompts: int = 1) -> Usage:
    """Return the usage of all answers to a request.

    Parameters:
        answers: those to the first prompt, then those to the second, and so on; as many to each.
        prompts: how many prompts the request has; each is counted once.
    """
    each = len(answers) // prompts
    asked = [answer.end.usage for answer in answers[::each]]
    prompt_tokens = sum(one.prompt_tokens for one in asked)
    generated = sum(answer.end.usage.predicted_tokens for answer in answers)
    return Usage(
        prompt_tokens,
        generated,
        prompt_tokens + generated,
        PromptDetails(sum(one.cached_prompt_tokens for one in asked)),
        CompletionDetails(sum(answer.reasoning_tokens for answer in answers)),
    )


def stats(result: PredictionResult) -> dict[str, Any]:
    """Return LM Studio's statistics of an answer."""
    timings = result.timings
    found: dict[str, Any] = {
        "tokens_per_second": timings.tokens_per_second,
        "time_to_first_token": timings.first_token_sec,
        "generation_time": timings.decode_sec,
        "stop_reason": LM_STUDIO_STOP_REASONS.get(result.stop_reason, result.stop_reason),
    }
    if result.drafting is not None:
        found |= {
            "draft_model": result.drafting.model_key,
            "total_draft_tokens_count": result.drafting.tokens,
            "accepted_draft_tokens_count": result.drafting.accepted,
            "rejected_draft_tokens_count": result.drafting.tokens - result.drafting.accepted,
        }
    return found


def finish_reason(answer: Gathered) -> FinishReason:
    """Return why an answer ended."""
    if answer.called:
        return "tool_calls"
    return "length" if answer.end.stop_reason in ("max_tokens", "context_full", "time_limit") else "stop"
