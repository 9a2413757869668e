"""Log-probabilities in the two forms of OpenAI's API."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...domain.generation import TokenLogProbs
from ..http.forms import likeliest, token_entry


def chat_logprobs(tokens: Iterable[TokenLogProbs], top: int) -> dict[str, Any]:
    """Return the member ``logprobs`` of a choice of a chat completion.

    Parameters:
        top: how many of the likeliest tokens are listed for each.
    """
    content = [
        {**token_entry(each.token), "top_logprobs": [token_entry(one) for one in likeliest(each, top)]}
        for each in tokens
    ]
    return {"content": content, "refusal": None}


def legacy_logprobs(tokens: Sequence[TokenLogProbs | str], top: int, offset: int = 0) -> dict[str, Any]:
    """Return the member ``logprobs`` of a choice of a completion.

    Parameters:
        tokens: of the text; a bare text for one without a probability: the first of a prompt.
        top: how many of the likeliest tokens are listed for each, and the token itself beside them.
        offset: where the first token begins in the text of the choice, in characters.
    """
    found: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for token in tokens:
        text = token if isinstance(token, str) else token.token.text
        found["tokens"].append(text)
        found["token_logprobs"].append(None if isinstance(token, str) else token.token.logprob)
        found["top_logprobs"].append(None if isinstance(token, str) else _by_text(token, top))
        found["text_offset"].append(offset)
        offset += len(text)
    return found


def _by_text(token: TokenLogProbs, top: int) -> dict[str, float]:
    entries = [*likeliest(token, top), *([token.token] if top else [])]
    return {each.text: each.logprob for each in reversed(entries)}
