"""The events that llama-server's streamed answers have in common.

Source of the formats: llama.cpp, tools/server/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import msgspec

from ...config import PredictionConfig
from ...domain.generation import LogProb, StopReason, TokenLogProbs
from ...domain.progress import PromptProgress
from ..base import Completed
from .answers import Count

Byte = Annotated[int, msgspec.Meta(ge=0, le=255)]


class Progress(msgspec.Struct):
    """Tokens of the prompt."""

    total: Count
    processed: Count
    cache: Count = 0
    """Those of ``processed`` that were there already."""

    def counted(self) -> PromptProgress:
        """Return the figures in the host's form."""
        return PromptProgress(self.processed, self.total, self.cache)


class Candidate(msgspec.Struct):
    """A token that the model could have chosen."""

    id: Count
    token: str
    logprob: float
    bytes: list[Byte] | None = None

    def logged(self, text: str | None = None) -> LogProb:
        """Return it in the host's form, with ``text`` in place of an empty text."""
        shown = text or self.token
        data = bytes(self.bytes) if self.bytes else None
        return LogProb(shown, self.logprob, self.id, None if data == shown.encode() else data)


class Token(Candidate):
    """A token that it chose, and the likeliest."""

    top_logprobs: list[Candidate] = msgspec.field(default_factory=list[Candidate])

    def with_alternatives(self, count: int) -> TokenLogProbs:
        """Return the token, and the others of the ``count`` likeliest."""
        # The engine leaves the text of a token out that may begin a stop string; the list of the likeliest has it.
        text = self.token or next((other.token for other in self.top_logprobs if other.id == self.id), "")
        others = [other.logged() for other in self.top_logprobs[:count] if other.id != self.id]
        return TokenLogProbs(self.logged(text), others)


class Timings(msgspec.Struct):
    """Counts, durations and rates so far."""

    cache_n: Count = 0
    prompt_n: Count = 0
    prompt_ms: float | None = None
    predicted_n: Count = 0
    predicted_ms: float | None = None
    predicted_per_second: float | None = None
    draft_n: Count | None = None
    draft_n_accepted: Count | None = None


class End(msgspec.Struct):
    """Why and where an answer ended."""

    stop_type: str | None = None
    stopping_word: str = ""
    truncated: bool = False
    tokens_predicted: Count = 0
    tokens_evaluated: Count = 0
    timings: Timings | None = None


def completed(end: End, config: PredictionConfig, unsent: Sequence[TokenLogProbs] = ()) -> Completed:
    """Return the end in the host's form, given the settings in force.

    Parameters:
        unsent: the log-probabilities of the last tokens, which have brought no text.
    """
    stop_reason: StopReason = "end_of_text"
    if end.stop_type == "word":
        ends_a_tool_call = end.stopping_word in (config.tool_call_stop_strings or ())
        stop_reason = "tool_calls" if ends_a_tool_call else "stop_string"
    elif end.stop_type == "limit":
        full = end.truncated and end.tokens_predicted < (config.max_tokens or 2**31)
        stop_reason = "context_full" if full else "max_tokens"
    found = _completed(
        stop_reason, end.stopping_word or None, end.tokens_evaluated, end.tokens_predicted, end.timings or Timings()
    )
    return replace(found, end_token=unsent[-1]) if unsent and stop_reason == "end_of_text" else found


def context_full(prompt: int, predicted: int, timings: Timings | None) -> Completed:
    """Return the end of an answer that has filled the context."""
    return _completed("context_full", None, prompt, predicted, timings or Timings())


def _completed(
    stop_reason: StopReason, stop_string: str | None, prompt: int, predicted: int, timings: Timings
) -> Completed:
    return Completed(
        stop_reason=stop_reason,
        stop_string=stop_string,
        prompt_tokens=prompt,
        predicted_tokens=predicted,
        tokens_per_second=timings.predicted_per_second,
        cached_tokens=timings.cache_n if timings.prompt_ms is not None else None,
        prompt_sec=_seconds(timings.prompt_ms),
        decode_sec=_seconds(timings.predicted_ms),
        draft_tokens=timings.draft_n,
        accepted_draft_tokens=timings.draft_n_accepted,
    )


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


class DraftedTokens:
    """Finds the tokens that came from a draft: accepted ones are emitted one after the other."""

    def __init__(self) -> None:
        self._accepted = self._out = 0

    def are_among(self, count: int, timings: Timings | None) -> bool:
        """Return whether drafted tokens are among the next ``count``."""
        accepted = (timings and timings.draft_n_accepted) or 0
        drafted = self._out < max(accepted, self._accepted)
        self._accepted = max(accepted, self._accepted)
        self._out = min(self._out + count, self._accepted)
        return drafted
