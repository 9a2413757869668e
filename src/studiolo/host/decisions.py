"""Decisions: which of several texts a model would answer with, by their probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..config import PredictionConfig
from ..domain.chat import ChatRequest
from ..engines.base import Engine
from ..engines.prompt import Prompt
from ..errors import ConfigError
from .engine_run import PredictionRequest, template_request
from .host import Host
from .images import check_sight, has_images
from .lease import Lease
from .prediction_settings import settings_in_force
from .reasoning import with_thought_closed
from .scoring import scores_of
from .tool_use import without_tool_messages

MAX_CHOICES = 256
"""Choices of one decision at most: each is scored by a run of the engine."""

UNLIKELY = -50.0
"""Stands for the log-probability of a token that is too unlikely to be reported."""


async def decide(
    host: Host, lease: Lease, chat: ChatRequest | str, choices: Sequence[str], config: PredictionConfig
) -> list[float]:
    """Return the probability of each choice, in their order; together they are 1.

    The probability of a choice is the one that the model's answer begins with it, divided by the sum of all.

    Parameters:
        chat: a chat to answer without reasoning, or a text to continue.

    Raises:
        ConfigError: there are fewer than two choices or too many, one is empty, two are the same, or the chat has
            images.
        UnsupportedError: the engine has no grammars of tokens.
        PromptTooLongError, PredictionError, EngineError: as :func:`studiolo.host.scoring.score_prompt`.
    """
    _check(choices)
    in_force = settings_in_force(config, lease.instance.config, host.defaults.prediction(lease.instance.model))
    async with lease.in_slot(object(), host.settings.current().limits) as engine:
        prompt = Prompt(chat) if isinstance(chat, str) else await _prompt(host, lease, engine, chat, in_force)
        texts = [await engine.tokenize((prompt + choice).given) for choice in choices]
        shared = _shared([await engine.tokenize(prompt.given), *texts])
        if shared == 0:
            raise ConfigError("There is no text before the choices", suggestion="Give a prompt.")
        likelihoods = [
            sum(
                UNLIKELY if each is None else each.token.logprob
                for each in await scores_of(engine, lease, tokens[:shared], tokens[shared:], 0)
            )
            for tokens in texts
        ]
    best = max(likelihoods)
    weights = [math.exp(each - best) for each in likelihoods]
    return [each / sum(weights) for each in weights]


def _check(choices: Sequence[str]) -> None:
    if not 2 <= len(choices) <= MAX_CHOICES:
        raise ConfigError(f"A decision has 2 to {MAX_CHOICES} choices, and there are {len(choices)}")
    if not all(choices):
        raise ConfigError("A choice is an empty text")
    if len(set(choices)) < len(choices):
        raise ConfigError("Two choices are the same text")


async def _prompt(host: Host, lease: Lease, engine: Engine, chat: ChatRequest, config: PredictionConfig) -> Prompt:
    check_sight(lease.instance.model, chat)
    if has_images(chat.messages):
        raise ConfigError("A decision about images is not possible", suggestion="Describe them in words.")
    request = PredictionRequest(prompt=chat, config=config, schemas=host.schemas, files=host.files)
    rendered = await without_tool_messages(engine, await template_request(request, chat))
    return with_thought_closed(Prompt.of(await engine.apply_template(rendered)), config)


def _shared(texts: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all texts begin with alike; each has at least one more but for the first."""
    shared = 0
    for tokens in zip(*texts, strict=False):
        if len(set(tokens)) > 1:
            break
        shared += 1
    return min(shared, *(len(tokens) - 1 for tokens in texts[1:]))
