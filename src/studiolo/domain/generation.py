"""What comes out of a prediction: fragments of text, tool calls, and the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from ..errors import StudioloError
from .chat import ToolCall

StopReason = Literal[
    "end_of_text",
    "stop_string",
    "tool_calls",
    "max_tokens",
    "context_full",
    "cancelled",
    "time_limit",
    "unloaded",
    "failed",
]
"""Why a prediction ended; ``failed`` for a complete answer that breaks the form that it was held to."""

ReasoningPart = Literal["none", "reasoning", "start_tag", "end_tag"]
"""Whether text belongs to the answer (``none``) or to reasoning."""


class LogProb(Struct, frozen=True):
    """A token and the natural logarithm of its probability.

    Parameters:
        text: the token's text.
        logprob: 0 for certain, less for anything else.
        id: its number in the model's vocabulary; ``None`` where the engine does not say.
        data: its bytes, where they are not the UTF-8 form of ``text``: a token may end within a character.
    """

    text: str
    logprob: float
    id: int | None = None
    data: bytes | None = None


class TokenLogProbs(Struct, frozen=True):
    """A generated token, and the likeliest other tokens in its place."""

    token: LogProb
    alternatives: Sequence[LogProb] = ()


class Fragment(Struct, frozen=True, gc=False):
    """A piece of generated text.

    Parameters:
        text: the text.
        tokens: how many tokens it was made of.
        drafted: whether any of them came from a draft model.
        reasoning: whether it belongs to the answer or to reasoning.
        structural: whether it is structure rather than content.
        logprobs: for each token, where the request asked for them.
    """

    text: str
    tokens: int = 1
    drafted: bool = False
    reasoning: ReasoningPart = "none"
    structural: bool = False
    logprobs: Sequence[TokenLogProbs] | None = None


class ToolCallStarted(Struct, frozen=True):
    """The model has begun to write a tool call. What follows until its end belongs to it."""

    id: str | None = None


class ToolCallNamed(Struct, frozen=True):
    """The model has written the name of the tool."""

    name: str


class ToolCallArguments(Struct, frozen=True):
    """The next piece of a call's arguments, as the model writes them."""

    text: str


class ToolCallFinished(Struct, frozen=True):
    """A complete tool call, and its text as the model wrote it."""

    call: ToolCall
    raw: str | None = None


class ToolCallFailed(Struct, frozen=True):
    """What the model wrote is not a call of a tool."""

    error: StudioloError
    raw: str | None = None


ToolCallEvent = ToolCallStarted | ToolCallNamed | ToolCallArguments | ToolCallFinished | ToolCallFailed


class Usage(Struct, frozen=True):
    """Tokens in and out.

    Parameters:
        prompt_tokens: all tokens of the prompt.
        cached_prompt_tokens: those that an earlier prompt with the same beginning has left in the engine's cache.
        predicted_tokens: tokens generated.
    """

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    predicted_tokens: int = 0


class Timings(Struct, frozen=True, kw_only=True):
    """How long a prediction took, in seconds; ``None`` where it is not known.

    Parameters:
        load_sec: waiting for the model to be loaded.
        prompt_sec: processing the prompt.
        decode_sec: generating.
        first_token_sec: from the request to the first token, waiting for a slot included.
        total_sec: from the request to the end.
        tokens_per_second: the rate of generation, the prompt not counted.
    """

    load_sec: float | None = None
    prompt_sec: float | None = None
    decode_sec: float | None = None
    first_token_sec: float | None = None
    total_sec: float = 0.0
    tokens_per_second: float | None = None


class Drafting(Struct, frozen=True):
    """What a draft model contributed.

    Parameters:
        model_key: the draft model's.
        tokens: how many tokens it proposed.
        accepted: how many of them the model took.
    """

    model_key: str
    tokens: int
    accepted: int


class StructuredOutcome(Struct, frozen=True):
    """How an answer that is held to a form has come out.

    Parameters:
        problem: why the answer does not have its form: it was cut off, or breaks the schema.
        warnings: what the author of the schema should look at, each with its path.
    """

    problem: str | None = None
    warnings: Sequence[str] = ()


class PredictionResult(Struct, frozen=True, kw_only=True):
    """The end of a prediction.

    Parameters:
        stop_reason: why it ended.
        stop_string: the stop string that ended it, where one did.
        usage: tokens in and out.
        timings: how long it took.
        gpu_layers: layers of the model on GPUs; ``None`` where the engine does not say.
        drafting: only with a draft model.
        structured: only for an answer that was held to a form.
        engine_restarts: how often the engine died and the answer was continued on its successor.
        end_token: the token without text that ended it, where log-probabilities were asked for and there is one.
    """

    stop_reason: StopReason
    stop_string: str | None = None
    usage: Usage = Usage()
    timings: Timings = Timings()
    gpu_layers: int | None = None
    drafting: Drafting | None = None
    structured: StructuredOutcome | None = None
    engine_restarts: int = 0
    end_token: TokenLogProbs | None = None


def merge_fragments(last: Fragment, new: Fragment) -> Fragment | None:
    """Return one fragment with the text, counts and log-probabilities of both; ``None`` where they differ in kind."""
    if last.reasoning != new.reasoning or last.structural != new.structural:
        return None
    if last.logprobs is None and new.logprobs is None:
        logprobs = None
    else:
        logprobs = [*(last.logprobs or ()), *(new.logprobs or ())]
    return Fragment(
        last.text + new.text,
        last.tokens + new.tokens,
        last.drafted or new.drafted,
        new.reasoning,
        new.structural,
        logprobs,
    )


def joined(held: Fragment | None, fragment: Fragment) -> tuple[Fragment | None, Fragment]:
    """Return what is emitted first, or ``None``, and ``fragment`` with the text that was held back merged in.

    Text that was held back cannot be merged where the one is structure and the other is not.
    """
    if held is None:
        return None, fragment
    merged = merge_fragments(held, fragment)
    return (held, fragment) if merged is None else (None, merged)
