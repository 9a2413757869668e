"""Small forms that several dialects share: times, tokens with their log-probabilities, the header of a busy server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ...domain.generation import LogProb, TokenLogProbs

RETRY_AFTER_SEC = 2

_TRY_AGAIN = (429, 503, 529)
"""The statuses of refusals that end by themselves."""


def retry_headers(status: int) -> dict[str, str]:
    """Return the header by which clients know when to repeat a request that is refused with ``status``."""
    return {"retry-after": str(RETRY_AFTER_SEC)} if status in _TRY_AGAIN else {}


def rfc3339(seconds: float, timespec: str = "auto") -> str:
    """Return a time, in seconds since 1970, as RFC 3339 has it, in UTC.

    Parameters:
        timespec: how precise, as :meth:`datetime.datetime.isoformat` has it.
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def likeliest(token: TokenLogProbs, top: int) -> list[LogProb]:
    """Return the ``top`` likeliest tokens in the place of one, itself among them where it is one of them."""
    return sorted((token.token, *token.alternatives), key=lambda each: -each.logprob)[:top]


def token_entry(token: LogProb) -> dict[str, Any]:
    """Return a token as OpenAI's and Ollama's APIs have it: its text, log-probability and bytes."""
    data = token.text.encode() if token.data is None else token.data
    return {"token": token.text, "logprob": token.logprob, "bytes": list(data)}
