"""Completions: ``POST /v1/completions``."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, cast

from msgspec import Meta, Struct
from msgspec.structs import replace

from ...config import PredictionConfig, ReasoningParsing
from ...domain.generation import TokenLogProbs
from ...domain.infill import Infill
from ...host.scoring import PromptScores, score_prompt
from ..http.answers import SSE, SSE_COMMENT, SSE_DONE, Answer, Streamed, Whole, sse
from ..http.endpoint import Call
from ..http.fields import Field, converted, honoured, wrong
from ..http.gathered import AnswerText, Event, Gathered
from ..http.generation import all_of, blaming, events_of, fits, gathered, leased, merged, patience_sec, with_seed
from . import sampling
from .chat import failure_frame
from .chat_request import StreamOptions
from .logprobs import legacy_logprobs
from .sampling import Sampling
from .usage import Usage, stats, usage

MAX_PROMPTS = 2048
"""Prompts of one request at most."""

MAX_ANSWERS = 4096
"""Answers to all of them at most."""

AT_ONCE = 64
"""Of these, so many wait or run at once."""

Token = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Tokens = Annotated[list[Token], Meta(min_length=1)]


class CompletionBody(Sampling, kw_only=True):
    """The body of a request to continue a text."""

    prompt: Any
    best_of: Annotated[int, Meta(ge=1, le=128)] | None = None
    echo: bool = False
    logprobs: Annotated[int, Meta(ge=0, le=100)] | None = None
    stream_options: StreamOptions | None = None
    suffix: str = ""
    control_tokens: Literal["read", "text"] | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a frame with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def generates(self) -> bool:
        """Whether anything is generated, rather than a prompt scored."""
        return self.max_tokens != 0

    def prompts(self) -> Sequence[str | list[int]]:
        """Return the prompts. Raise :class:`InvalidRequestError` for anything else."""
        value: object = self.prompt
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list) or not value:
            raise wrong("prompt", "expected a string, an array of strings, of tokens, or of arrays of tokens")
        given = cast("list[Any]", value)
        if isinstance(given[0], int):
            return converted([given], list[Tokens], "prompt")
        if len(given) > MAX_PROMPTS:
            raise wrong("prompt", f"{len(given)} prompts are more than {MAX_PROMPTS}")
        return converted(given, list[str] if isinstance(given[0], str) else list[Tokens], "prompt")

    def gap_after(self, prompt: str | list[int]) -> str | list[int] | Infill:
        """Return what is answered for one of the prompts: with a suffix, the gap between the two."""
        return Infill(prompt, self.suffix) if self.suffix and isinstance(prompt, str) else prompt

    def check_suffix(self) -> None:
        """Raise :class:`InvalidRequestError` for a suffix beside what it cannot go with."""
        if not self.suffix:
            return
        if self.echo:
            raise wrong("echo", "is not possible with a suffix")
        if not all(isinstance(each, str) for each in self.prompts()):
            raise wrong("suffix", "is not possible after tokens", "Send the prompt as text.")

    def prediction_config(self) -> PredictionConfig:
        """See :meth:`Sampling.prediction_config`; ``max_tokens`` may be 0."""
        config = Sampling.prediction_config(self if self.generates else replace(self, max_tokens=1))
        config.reasoning_parsing = ReasoningParsing(enabled=False)  # the text is continued as it is
        config.control_tokens = self.control_tokens
        ranks = self.best_of is not None and self.best_of > self.n
        if self.logprobs is not None or ranks:
            config.log_probs = self.logprobs or 0
        return config


FIELDS: dict[str, Field] = {
    **sampling.FIELDS,
    "max_tokens": honoured("Generated tokens at most; 0 generates nothing, -1 is no limit but the context."),
    "prompt": honoured("A text or its tokens, or several of either; continued exactly as it is.", whole=True),
    "best_of": honoured("So many answers are generated, and the n likeliest by token are returned; not for streams."),
    "echo": honoured("The answer begins with the prompt; with logprobs, with those of the prompt's tokens as well."),
    "logprobs": honoured("The log-probability of each token, and this many likeliest tokens in its place."),
    "suffix": honoured("The text after the gap that the answer fills, for models with tokens for it; not with echo."),
    "control_tokens": honoured(
        '"read" (default): the spelling of a control token in the prompt is the token; "text": it is text.'
    ),
}


class CompletionChoice(Struct, kw_only=True):
    """One answer."""

    index: int
    text: str
    logprobs: dict[str, Any] | None = None
    finish_reason: Literal["stop", "length"]


class Completion(Struct, kw_only=True):
    """All answers to all prompts; ``stats`` is LM Studio's addition."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage
    stats: dict[str, Any]


@dataclass(frozen=True)
class _Asked:
    """Prompts to be continued, each ``each`` times; ``turns`` limits how many are at once."""

    call: Call[CompletionBody]
    prompts: Sequence[str | list[int]]
    config: PredictionConfig
    each: int
    turns: asyncio.Semaphore

    async def events(self, index: int) -> AsyncGenerator[Event, None]:
        """Yield the events of the answer number ``index`` of all."""
        body = self.call.body
        prompt = self.prompts[index // self.each]
        config = with_seed(self.config, index % self.each)
        with blaming("prompt", infill="suffix", control_tokens="control_tokens"):
            events = events_of(self.call, body.model, body.gap_after(prompt), config, body.load_request())
            async with self.turns, contextlib.aclosing(events):
                async for event in events:
                    yield event

    async def echoes(self) -> list[PromptScores]:
        """Return the text of each prompt, and with ``logprobs`` its tokens' log-probabilities."""
        body = self.call.body
        if not body.echo:
            return [PromptScores("", ())] * len(self.prompts)
        with blaming("prompt"):
            async with leased(self.call, body.model, "llm", body.load_request()) as lease:
                return [await score_prompt(self.call.host, lease, prompt, body.logprobs) for prompt in self.prompts]


async def complete(call: Call[CompletionBody]) -> Answer:
    """Continue texts."""
    body = call.body
    body.check_suffix()
    prompts, candidates = body.prompts(), max(body.best_of or body.n, body.n)
    if body.best_of is not None and body.best_of < body.n:
        raise wrong("best_of", "is less than n")
    if len(prompts) * candidates > MAX_ANSWERS:
        raise wrong("n", f"{len(prompts) * candidates} answers are more than {MAX_ANSWERS}")
    asked = _Asked(call, prompts, body.prediction_config(), candidates, asyncio.Semaphore(AT_ONCE))
    if body.stream:
        if candidates > body.n:
            raise wrong("best_of", "is not possible in a stream")
        patience = await patience_sec(call, body.model)
        return Streamed(_frames(asked), SSE, failure_frame, keep_alive=SSE_COMMENT, patience_sec=patience)
    work = [partial(gathered, asked.events(index)) for index in range(len(prompts) * candidates)]
    answers = await all_of(work)
    echoes = await asked.echoes()
    chosen: list[CompletionChoice] = []
    for number, echo in enumerate(echoes):
        own = answers[number * candidates : (number + 1) * candidates]
        if candidates > body.n:
            own = sorted(own, key=_likelihood, reverse=True)[: body.n]
        chosen += [_choice(number * body.n + place, answer, echo, body) for place, answer in enumerate(own)]
    return Whole(
        Completion(
            id=_new_id(),
            created=int(time.time()),
            model=body.model,
            choices=chosen,
            usage=_usage(answers, asked),
            stats=stats(answers[0].end),
        )
    )


def _usage(answers: Sequence[Gathered], asked: _Asked) -> Usage:
    counted = usage(answers, len(asked.prompts))
    if asked.call.body.generates:
        return counted
    # The one token that shows how long the prompt is was dropped.
    return replace(counted, completion_tokens=0, total_tokens=counted.prompt_tokens)


def _likelihood(answer: Gathered) -> float:
    """Return the mean log-probability of an answer's tokens."""
    values = [each.token.logprob for each in answer.logprobs]
    return sum(values) / len(values) if values else float("-inf")


def _choice(index: int, answer: Gathered, echo: PromptScores, body: CompletionBody) -> CompletionChoice:
    text = answer.text if body.generates else ""
    generated = [*answer.logprobs, *_textless(answer)] if body.generates else []
    tokens: list[TokenLogProbs | str] = [*echo.tokens, *generated]
    return CompletionChoice(
        index=index,
        text=echo.text + text,
        logprobs=None if body.logprobs is None else legacy_logprobs(tokens, body.logprobs),
        finish_reason=_finish_reason(answer, body),
    )


def _textless(answer: Gathered) -> list[TokenLogProbs | str]:
    """Return the last tokens of an answer that have brought no text: evaluators expect each token that was counted.

    They are the token that ends a text, and those of a character that was cut, whose probabilities engines do not say.
    """
    if answer.end.end_token is not None:
        return [answer.end.end_token]
    if answer.end.stop_reason != "max_tokens":
        return []
    return [""] * (answer.end.usage.predicted_tokens - len(answer.logprobs))


def _finish_reason(answer: Gathered, body: CompletionBody) -> Literal["stop", "length"]:
    return "stop" if body.generates and answer.end.stop_reason in ("end_of_text", "stop_string") else "length"


def _new_id() -> str:
    return f"cmpl-{secrets.token_hex(16)}"


async def _frames(asked: _Asked) -> AsyncGenerator[bytes, None]:
    body = asked.call.body
    count = len(asked.prompts) * asked.each
    answers = [Gathered() for _ in range(count)]
    head = {"id": _new_id(), "object": "text_completion", "created": int(time.time()), "model": body.model}
    last: dict[str, Any] = {"usage": None} if body.wants_usage else {}
    offsets = [0] * count
    known_to_fit = False

    def frame(index: int, text: str, tokens: Sequence[TokenLogProbs | str] = (), reason: str | None = None) -> bytes:
        logprobs = None if body.logprobs is None else legacy_logprobs(tokens, body.logprobs, offsets[index])
        offsets[index] += len(text)
        choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}
        return sse({**head, "choices": [choice], **last})

    echoes = await asked.echoes()

    async with contextlib.aclosing(merged([asked.events(index) for index in range(count)])) as events:
        async for numbered in events:
            index, event = numbered.index, numbered.item
            if not known_to_fit and fits(event):
                known_to_fit = True
                yield SSE_COMMENT
                for number, echo in enumerate(echoes if body.echo else ()):
                    for place in range(asked.each):
                        yield frame(number * asked.each + place, echo.text, echo.tokens)
            for piece in answers[index].add(event):
                if isinstance(piece, AnswerText) and piece.text and body.generates:
                    yield frame(index, piece.text, piece.logprobs)
            if answers[index].result is not None:
                rest = _textless(answers[index]) if body.generates else ()
                yield frame(index, "", rest, _finish_reason(answers[index], body))
    if body.wants_usage:
        yield sse({**head, "choices": [], "usage": _usage(answers, asked)})
    yield SSE_DONE
