"""The log-probabilities of a prompt's own tokens.

Engines report those of the tokens that they generate. A grammar that allows nothing but the prompt's tokens, one after
the other, makes an engine generate the prompt: it reports the probabilities before the grammar, which are the model's
own. It takes as long as generating as many tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from ..config import PredictionConfig
from ..domain.generation import Fragment, TokenLogProbs
from ..engines.base import CompletionRequest, Constraint, Engine
from ..engines.schemas.grammar import token_grammar
from ..errors import PredictionError, PromptTooLongError
from .engine_capabilities import check_grammar
from .host import Host
from .lease import Lease
from .prediction_settings import settings_in_force

TOKENS_AT_ONCE = 128
"""Tokens that one grammar holds: the time to build it grows with them. Later runs find the earlier tokens cached."""


@dataclass(frozen=True)
class PromptScores:
    """A prompt and its tokens.

    Parameters:
        text: the prompt.
        tokens: its tokens with their log-probabilities; the first one, and one that ends a text, as text alone. Empty
            where they were not asked for.
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
    limits = host.settings.current().limits
    async with lease.in_slot(object(), limits) as engine:
        text = prompt if isinstance(prompt, str) else await engine.detokenize(prompt)
        if top is None:
            return PromptScores(text, ())
        check_grammar(engine, "llguidance")
        begin = await engine.tokenize("")  # the token that begins a text, where the model has one
        tokens = (await engine.tokenize(prompt))[len(begin) :] if isinstance(prompt, str) else prompt
        context = lease.instance.context_length
        if len(begin) + len(tokens) >= context:
            raise PromptTooLongError(
                f"The prompt has {len(tokens)} tokens, and the model is loaded with a context of {context}",
                suggestion="Shorten the prompt, or load the model with a longer context_length.",
                data={"promptTokensCount": len(tokens), "contextLength": context},
            )
        if not tokens:
            return PromptScores(text, ())
        scores: list[TokenLogProbs | str] = [await engine.detokenize(tokens[:1])]
        while len(scores) < len(tokens):
            known = len(scores)
            wanted = tokens[known : known + TOKENS_AT_ONCE]
            found = await scores_of(engine, lease, [*begin, *tokens[:known]], wanted, top)
            scores += found
            if len(found) < len(wanted):  # a token that ends a text has ended the run
                scores.append(await engine.detokenize(wanted[len(found) : len(found) + 1]))
        return PromptScores(text, scores)


async def scores_of(
    engine: Engine, lease: Lease, before: list[int], wanted: list[int], top: int
) -> list[TokenLogProbs]:
    """Return the log-probabilities of the tokens ``wanted`` after ``before``, up to one that ends a text.

    Parameters:
        engine: the lease's, with a slot.
        top: how many likely alternatives of each token are reported.
    """
    asked = PredictionConfig(temperature=0, max_tokens=len(wanted), log_probs=top)
    request = CompletionRequest(
        prompt=before,
        config=settings_in_force(asked, lease.instance.config),
        constraint=Constraint(grammar=token_grammar(wanted)),
    )
    found: list[TokenLogProbs] = []
    async with contextlib.aclosing(engine.complete(request)) as events:
        async for event in events:
            if isinstance(event, Fragment):
                found += event.logprobs or ()
    for score, token in zip(found, wanted, strict=False):
        if score.token.id not in (None, token):
            raise PredictionError(f"The engine generated the token {score.token.id} where {token} was required")
    return found[: len(wanted)]
