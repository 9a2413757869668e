"""The log-probabilities of a prompt's own tokens.

Engines report those of the tokens that they generate. A grammar that allows nothing but the prompt's tokens, one after
the other, makes an engine generate the prompt: it reports the probabilities before the grammar, which are the model's
own. It takes as long as generating as many tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from ..config import PredictionConfig
from ..domain.generation import Fragment, LogProb, TokenLogProbs
from ..engines.base import CompletionRequest, Constraint, Engine
from ..engines.prompt import Prompt
from ..engines.schemas.grammar import token_grammar
from ..errors import PromptTooLongError
from .engine_capabilities import check_grammar
from .host import Host
from .lease import Lease
from .overflow import check_fits
from .prediction_settings import settings_in_force

TOKENS_AT_ONCE = 128
"""Tokens that one grammar holds: the time to build it grows with them. Later runs find the earlier tokens cached."""

LIKELIEST = (1_000, 100_000)
"""Among so many tokens one is looked for that the engine does not report; the second time where it must."""

_REPORTED = "a"
"""The text of a token that engines report."""


@dataclass(frozen=True)
class PromptScores:
    """A prompt and its tokens.

    Parameters:
        text: the prompt.
        tokens: its tokens with their log-probabilities; the first one, and one far too unlikely to be reported, as
            text alone. Empty where they were not asked for.
    """

    text: str
    tokens: Sequence[TokenLogProbs | str]


async def score_prompt(host: Host, lease: Lease, prompt: str | list[int], top: int | None) -> PromptScores:
    """Return a prompt's text, and its tokens' log-probabilities.

    Parameters:
        top: how many likely alternatives of each token are reported; ``None`` for no log-probabilities.

    Raises:
        PromptTooLongError: it does not fit into the context.
        UnsupportedError: the engine has no grammars of tokens.
        PredictionError, EngineError: as :meth:`studiolo.engines.base.Engine.complete`.
    """

    async def score(engine: Engine) -> PromptScores:
        text = prompt if isinstance(prompt, str) else await engine.detokenize(prompt)
        if top is None:
            return PromptScores(text, ())
        check_grammar(engine, "llguidance")
        context = lease.instance.context_length
        check_fits(Prompt(text), PredictionConfig(), context, lease.instance.vocabulary)
        begin = await engine.tokenize("")  # the token that begins a text, where the model has one
        tokens = (await engine.tokenize(prompt))[len(begin) :] if isinstance(prompt, str) else prompt
        if len(begin) + len(tokens) >= context:
            raise PromptTooLongError(
                f"The prompt has {len(tokens)} tokens, and the model is loaded with a context of {context}",
                suggestion="Shorten the prompt, or load the model with a longer context_length.",
                data={"promptTokensCount": len(tokens), "contextLength": context},
            )
        if not tokens:
            return PromptScores(text, ())
        scores: list[TokenLogProbs | str] = [await engine.detokenize(tokens[:1])]
        found = await scores_of(engine, lease, [*begin, tokens[0]], tokens[1:], top)
        for token, score in zip(tokens[1:], found, strict=True):
            if score is None:
                scores.append(await engine.detokenize([token]))
            elif score.token.text or score.token.data:
                scores.append(score)
            else:  # a control token, of which engines say no text
                scores.append(replace(score, token=replace(score.token, text=await engine.detokenize([token]))))
        return PromptScores(text, scores)

    return await lease.call_in_slot(object(), host.settings.current().limits, score)


@dataclass(frozen=True)
class Beginning:
    """What comes before the tokens that are scored: tokens; or, with images or audio, text, as engines take it."""

    tokens: Sequence[int] = ()
    text: str | Prompt = ""
    media: Sequence[bytes] = ()


async def scores_of(
    engine: Engine, lease: Lease, before: list[int], wanted: list[int], top: int
) -> list[TokenLogProbs | None]:
    """Return the log-probabilities of the tokens ``wanted`` after ``before``; ``None`` for one far too unlikely.

    Parameters:
        engine: the lease's, with a slot.
        top: how many likely alternatives of each token are reported.
    """
    scores: list[TokenLogProbs | None] = []
    while len(scores) < len(wanted):
        known = len(scores)
        scores += await next_scores(engine, lease, Beginning(before), wanted[:known], wanted[known:], top)
    return scores


async def next_scores(
    engine: Engine, lease: Lease, beginning: Beginning, path: Sequence[int], wanted: Sequence[int], top: int
) -> list[TokenLogProbs | None]:
    """Return the log-probabilities of the first of ``wanted``, at least one; ``None`` for one far too unlikely.

    Parameters:
        path: the tokens between ``beginning`` and ``wanted``.
        top: how many likely alternatives of each token are reported.
    """
    found: list[TokenLogProbs | None] = [*await _forced(engine, lease, beginning, path, wanted[:TOKENS_AT_ONCE], top)]
    if len(found) < len(wanted[:TOKENS_AT_ONCE]):
        known = len(found)
        found.append(await _looked_up(engine, lease, beginning, [*path, *wanted[:known]], wanted[known], top))
    return found


async def _forced(
    engine: Engine, lease: Lease, beginning: Beginning, path: Sequence[int], wanted: Sequence[int], top: int
) -> list[TokenLogProbs]:
    """Return the log-probabilities of the tokens ``wanted``, up to one that is not reported.

    Engines report no token that ends a text, or within a character.
    """
    forced = [*path, *wanted] if beginning.media else [*wanted]  # tokens cannot be part of a prompt with media
    asked = PredictionConfig(temperature=0, max_tokens=len(forced), log_probs=top)
    request = CompletionRequest(
        prompt=beginning.text if beginning.media else [*beginning.tokens, *path],
        media=beginning.media,
        config=settings_in_force(asked, lease.instance.config),
        constraint=Constraint(grammar=token_grammar(forced)),
    )
    found: list[TokenLogProbs] = []
    async with contextlib.aclosing(engine.complete(request)) as events:
        async for event in events:
            if isinstance(event, Fragment):
                found += event.logprobs or ()
    reported: list[TokenLogProbs] = []
    for place, score in enumerate(_in_place(found, forced), len(wanted) - len(forced)):
        if place >= 0:
            if score is None:
                break
            reported.append(score)
    return reported


def _in_place(found: Iterable[TokenLogProbs], forced: Iterable[int]) -> Iterator[TokenLogProbs | None]:
    """Yield the score of each token; ``None`` for one that is missing."""
    scores = iter(found)
    score = next(scores, None)
    for token in forced:
        if score is None or score.token.id not in (None, token):
            yield None
        else:
            yield score
            score = next(scores, None)


async def _looked_up(
    engine: Engine, lease: Lease, beginning: Beginning, path: Sequence[int], token: int, top: int
) -> TokenLogProbs | None:
    """Return the log-probability of ``token`` after ``path``, found among the likeliest tokens in its place.

    The engine generates another token, which it reports. ``None`` for a token that is not among them.
    """
    other = (await engine.tokenize(_REPORTED))[-1:]
    for likeliest in LIKELIEST:
        found = await _forced(engine, lease, beginning, path, other, likeliest)
        candidates = sorted((each for one in found for each in (one.token, *one.alternatives)), key=_by_likelihood)
        for score in candidates:
            if score.id == token:
                return TokenLogProbs(score, [each for each in candidates if each.id != token][:top])
    return None


def _by_likelihood(score: LogProb) -> float:
    return -score.logprob
