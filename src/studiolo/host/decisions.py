"""Decisions: which of several answers to a question a model would give, by their probabilities."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence

from msgspec.structs import replace

from ..config import PredictionConfig
from ..domain.calibration import Scaling
from ..domain.chat import ChatRequest, Message, Text
from ..domain.decisions import Normalization, Question, log_probability, softmax
from ..domain.vocabulary import Vocabulary
from ..engines.base import DecisionRequest, Engine
from ..engines.prompt import Prompt
from ..errors import ConfigError
from .choice_scores import Scoring, Tokenizer, choice_scores, shared_length
from .engine_capabilities import check_capabilities, check_grammar
from .engine_run import PredictionRequest, chat_prompt, template_request
from .host import Host
from .images import max_side
from .lease import Lease
from .media import check_media, media_bytes, media_in, with_media
from .overflow import check_fits
from .prediction_settings import settings_in_force, with_system_prompt
from .reasoning import with_thought_closed

MAX_CHOICES = 256
"""Choices of one question at most: each may take a run of the engine."""

MAX_QUESTIONS = 256
"""Questions of one request at most."""

DECIDED_AT_ONCE = 16
"""Questions that a decision model is asked at once: it reads what they are about once, in all slots of the engine."""


async def decide(
    host: Host,
    lease: Lease,
    context: ChatRequest | str,
    questions: Sequence[Question],
    config: PredictionConfig,
    *,
    normalization: Normalization = "none",
    scaling: Scaling | None = None,
) -> list[list[float]]:
    """Return the probability of each choice of each question, in their order; those of a question together are 1.

    The score of a choice is the log-probability that an answer without reasoning begins with it.

    Parameters:
        context: a chat, or a text to continue, that all questions follow; it is read once for all of them.
        normalization: what is compared.
        scaling: the calibration; ``None`` for none.

    Raises:
        ConfigError: a question has fewer than two choices or too many, one is empty, two are the same; there are too
            many questions or none, or one has no text after a context that asks nothing.
        UnsupportedError: the engine has no grammars of tokens, or the model does not take the chat's images or
            audio.
        PromptTooLongError, PredictionError, EngineError: as :func:`studiolo.host.scoring.score_prompt`.
    """
    with lease.counted("decision"):
        scores = await _scores(host, lease, context, questions, config, normalization)
    scaling = scaling or Scaling()
    return [softmax(scaling.scaled(each.choices, found)) for each, found in zip(questions, scores, strict=True)]


async def _scores(
    host: Host,
    lease: Lease,
    context: ChatRequest | str,
    questions: Sequence[Question],
    config: PredictionConfig,
    normalization: Normalization,
) -> list[list[float]]:
    """Return the score of each choice of each question."""
    _check(questions)
    in_force = settings_in_force(config, lease.instance.config, host.defaults.prediction(lease.instance.model))
    if isinstance(context, ChatRequest) and media_in(context.messages):
        check_media(lease.instance.model, context)
        messages = await asyncio.to_thread(with_media, context.messages, host.files, max_side(in_force))
        context = replace(context, messages=messages)
    asked = [_asked(context, question) for question in questions]
    if isinstance(context, ChatRequest) and lease.instance.decides:
        scores = await _by_decision_model(host, lease, context, questions, in_force)
        if scores is not None:
            return scores
    scorings = await lease.call(lambda engine: _scorings(host, lease, engine, asked, questions, in_force))
    return await _in_slots(host, lease, scorings, normalization)


def _check(questions: Sequence[Question]) -> None:
    if not 1 <= len(questions) <= MAX_QUESTIONS:
        raise ConfigError(f"A request has 1 to {MAX_QUESTIONS} questions, and there are {len(questions)}")
    for question in questions:
        choices = question.choices
        if not 2 <= len(choices) <= MAX_CHOICES:
            raise ConfigError(f"A decision has 2 to {MAX_CHOICES} choices, and there are {len(choices)}")
        if not all(choices):
            raise ConfigError("A choice is an empty text")
        if len(set(choices)) < len(choices):
            raise ConfigError("Two choices are the same text")


def _asked(context: ChatRequest | str, question: Question) -> ChatRequest | str:
    """Return the chat or the text that ends with ``question``: a chat's last message of the user is continued."""
    if isinstance(context, str):
        return context + (question.text or "")
    messages = [*context.messages]
    if question.text is not None:
        text = Text(question.text)
        if messages and messages[-1].role == "user":
            messages[-1] = Message("user", [*messages[-1].parts, *([Text("\n\n")] if messages[-1].text else []), text])
        else:
            messages.append(Message("user", [text]))
    if not messages:
        raise ConfigError("There is no question", suggestion="Give a chat that asks, or a question.")
    return replace(context, messages=messages)


async def _by_decision_model(
    host: Host, lease: Lease, context: ChatRequest, questions: Sequence[Question], config: PredictionConfig
) -> list[list[float]] | None:
    """Return the scores of each question's choices by the engine's own way; ``None`` where it has none."""
    messages = with_system_prompt(context.messages, config)
    scores: list[list[float]] = []
    limits = host.settings.current().limits

    async def decided(engine: Engine, part: Sequence[Question]) -> list[list[float]] | None:
        if not engine.capabilities.decisions:
            return None
        check_capabilities(engine, config, media_in(messages))
        return await engine.decide(_decision_request(messages, part))

    for start in range(0, len(questions), DECIDED_AT_ONCE):
        part = questions[start : start + DECIDED_AT_ONCE]
        found = await lease.call_in_slot(object(), limits, functools.partial(decided, part=part))
        if found is None:
            return None
        scores += [[log_probability(each) for each in probabilities] for probabilities in found]
    return scores


def _decision_request(messages: Sequence[Message], questions: Sequence[Question]) -> DecisionRequest:
    """Return the request: where the chat itself asks, the text of its last message is the question."""
    if questions[0].text is not None:
        return DecisionRequest(messages=messages, questions=questions)
    *before, last = messages
    asked = [replace(question, text=last.text) for question in questions]
    media = media_in([last])
    messages = [*before, Message(last.role, media)] if media else before
    return DecisionRequest(messages=messages, questions=asked)


async def _scorings(
    host: Host,
    lease: Lease,
    engine: Engine,
    asked: Sequence[ChatRequest | str],
    questions: Sequence[Question],
    config: PredictionConfig,
) -> list[Scoring]:
    check_grammar(engine, "llguidance")
    vocabulary = lease.instance.vocabulary
    tokenizer = Tokenizer(engine, vocabulary.control_tokens)
    scorings: list[Scoring] = []
    for each, question in zip(asked, questions, strict=True):
        if isinstance(each, str):
            prompt, media = Prompt(each), ()
        else:
            prompt, media = await _prompt(host, engine, each, config, vocabulary)
        check_fits(prompt, PredictionConfig(), lease.instance.context_length, vocabulary)  # nothing is cut here
        scorings.append(await tokenizer.scoring(prompt, media, question.choices))
    return scorings


async def _prompt(
    host: Host, engine: Engine, chat: ChatRequest, config: PredictionConfig, vocabulary: Vocabulary
) -> tuple[Prompt, Sequence[bytes]]:
    check_capabilities(engine, config, media_in(chat.messages))
    request = PredictionRequest(prompt=chat, config=config, schemas=host.schemas)
    rendered = await template_request(request, chat)
    prompt = await chat_prompt(engine, request, rendered, vocabulary)
    return with_thought_closed(prompt, config), media_bytes(rendered.messages)


async def _in_slots(
    host: Host, lease: Lease, scorings: Sequence[Scoring], normalization: Normalization
) -> list[list[float]]:
    """Return the scores of each question's choices, of as many questions at once as is worth it."""
    scores: dict[int, list[float]] = {}
    waiting = iter(enumerate(scorings))
    limits = host.settings.current().limits

    async def work() -> None:
        for index, each in waiting:
            scored = functools.partial(choice_scores, lease=lease, asked=each, normalization=normalization)
            scores[index] = await lease.call_in_slot(object(), limits, scored)

    tasks = [asyncio.create_task(work(), name="decisions") for _ in range(_width(lease.instance.slots.count, scorings))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [scores[index] for index in range(len(scorings))]


def _width(slots: int, scorings: Sequence[Scoring]) -> int:
    """Return how many slots are used. Each reads what all prompts begin with: that is no more than their own tokens."""
    if len(scorings) == 1 or any(each.beginning.media for each in scorings):
        return 1
    shared = shared_length(each.beginning.tokens for each in scorings)
    own = sum(each.length - shared + sum(map(len, each.choices)) for each in scorings)
    return min(slots, len(scorings), 1 + own // max(shared, 1))
