"""Encode the events and results of predictions as messages."""

from __future__ import annotations

from typing import Any

from ...domain.generation import (
    Fragment,
    LogProb,
    PredictionResult,
    ReasoningPart,
    StopReason,
    StructuredOutcome,
    TokenLogProbs,
    ToolCallArguments,
    ToolCallEvent,
    ToolCallFailed,
    ToolCallFinished,
    ToolCallNamed,
    ToolCallStarted,
)
from ...domain.progress import Queued
from ...host.prompt_progress import PromptReport
from ...protocol import llm as wire
from ...protocol import tools as wire_tools
from ...protocol.chat import ToolCallRequest
from ...protocol.errors import serialize_error

STOP_REASONS: dict[StopReason, wire.StopReason] = {
    "end_of_text": "eosFound",
    "stop_string": "stopStringFound",
    "tool_calls": "toolCalls",
    "max_tokens": "maxPredictedTokensReached",
    "context_full": "contextLengthReached",
    "cancelled": "userStopped",
    "time_limit": "userStopped",
    "unloaded": "modelUnloaded",
    "failed": "failed",
}

_REASONING: dict[ReasoningPart, wire.ReasoningType] = {
    "none": "none",
    "reasoning": "reasoning",
    "start_tag": "reasoningStartTag",
    "end_tag": "reasoningEndTag",
}

PredictionEvent = Fragment | ToolCallEvent | PromptReport | Queued


def message(event: PredictionEvent) -> wire.PredictMessage:
    """Return the message for an event of a prediction."""
    match event:
        case Fragment():
            return fragment_message(event)
        case PromptReport():
            return _progress(event)
        case Queued():
            details = wire.PromptProcessingDetails()
            return wire.PromptProcessingProgress(progress=0.0, details=details, queue_position=event.place)
        case ToolCallStarted():
            return wire_tools.ToolCallStart(tool_call_id=event.id)
        case ToolCallNamed():
            return wire_tools.ToolCallName(name=event.name)
        case ToolCallArguments():
            return wire_tools.ToolCallArguments(content=event.text)
        case ToolCallFinished(call=call):
            request = ToolCallRequest(type="function", name=call.name, arguments=call.arguments, id=call.id)
            return wire_tools.ToolCallEnd(tool_call_request=request, raw_content=event.raw)
        case ToolCallFailed():
            return wire_tools.ToolCallFailed(error=serialize_error(event.error), raw_content=event.raw)


def fragment_message(fragment: Fragment) -> wire.FragmentMessage:
    """Return a fragment with its log-probabilities in the forms of both versions of LM Studio's SDK."""
    entries = fragment.logprobs
    sent = wire.Fragment(
        fragment.text,
        fragment.tokens,
        fragment.drafted,
        _REASONING[fragment.reasoning],
        fragment.structural,
        None,
        None if entries is None else [_token(entry) for entry in entries],
    )
    if entries is None:
        return wire.FragmentMessage(fragment=sent)
    beside = [[_logprob(entry.token), *map(_logprob, entry.alternatives)] for entry in entries]
    return wire.FragmentMessage(fragment=sent, logprobs=beside)


def _logprob(entry: LogProb) -> wire.LogProb:
    return wire.LogProb(entry.text, entry.logprob, entry.id)


def _token(entry: TokenLogProbs) -> wire.FragmentToken:
    return wire.FragmentToken(
        text=entry.token.text,
        id=_number(entry.token),
        log_prob=entry.token.logprob,
        candidates=[
            wire.CandidateToken(text=other.text, id=_number(other), log_prob=other.logprob)
            for other in entry.alternatives
        ],
    )


def _number(entry: LogProb) -> int:
    return wire.UNKNOWN_TOKEN if entry.id is None else entry.id


def _progress(report: PromptReport) -> wire.PromptProcessingProgress:
    tokens = report.tokens
    return wire.PromptProcessingProgress(
        progress=report.ratio,
        details=wire.PromptProcessingDetails(
            cached_token_count=tokens.cached,
            total_prompt_token_count=tokens.total,
            processed_prompt_token_count=tokens.processed - tokens.cached,
            unprocessed_prompt_token_count=tokens.total - tokens.processed,
        ),
    )


def stats(result: PredictionResult) -> wire.PredictionStats:
    """Return the statistics of a finished prediction."""
    usage, timings = result.usage, result.timings
    drafting: dict[str, Any] = {}
    if result.drafting is not None:
        drafting = {
            "used_draft_model_key": result.drafting.model_key,
            "total_draft_tokens_count": result.drafting.tokens,
            "accepted_draft_tokens_count": result.drafting.accepted,
            "rejected_draft_tokens_count": result.drafting.tokens - result.drafting.accepted,
            "ignored_draft_tokens_count": 0,
        }
    return wire.PredictionStats(
        stop_reason=STOP_REASONS[result.stop_reason],
        stop_string=result.stop_string,
        tokens_per_second=timings.tokens_per_second,
        num_gpu_layers=result.gpu_layers,
        time_to_first_token_sec=timings.first_token_sec,
        total_time_sec=timings.total_sec,
        prompt_tokens_count=usage.prompt_tokens,
        predicted_tokens_count=usage.predicted_tokens,
        total_tokens_count=usage.prompt_tokens + usage.predicted_tokens,
        **drafting,
    )


def structured(outcome: StructuredOutcome | None) -> wire.StructuredOutcome | None:
    """Return the validation of a structured answer."""
    if outcome is None:
        return None
    return wire.StructuredOutcome(problem=outcome.problem, warnings=list(outcome.warnings) or None)
