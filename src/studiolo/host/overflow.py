"""Shorten prompts that exceed the context, as the request's policy says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..config import PredictionConfig
from ..domain.chat import Message
from ..engines.base import CompletionRequest, Engine, TemplateRequest

SHARE_FOR_THE_ANSWER = 4
"""A shortened prompt leaves one part in this many of the context to the answer, or all that the answer may use."""


def cuts(config: PredictionConfig) -> bool:
    """Return whether the policy shortens a prompt that is too long, rather than refusing it."""
    return config.context_overflow_policy not in (None, "stopAtLimit")


def room_for_prompt(config: PredictionConfig, context_length: int) -> int:
    """Return the tokens that a prompt is shortened to."""
    answer = context_length // SHARE_FOR_THE_ANSWER
    if config.max_tokens:
        answer = min(answer, config.max_tokens)
    return max(context_length - max(answer, 1), 1)


async def fit_text(engine: Engine, request: CompletionRequest, context_length: int) -> CompletionRequest:
    """Return ``request`` with a prompt that fits, and with what of it is kept when the answer fills the context.

    ``truncateMiddle`` drops the tokens in the middle, ``rollingWindow`` the oldest ones. A prompt that fits is not
    changed.
    """
    if not cuts(request.config) or request.images:
        return request
    prompt = request.prompt
    tokens = await engine.tokenize(prompt) if isinstance(prompt, str) else prompt
    keeps_beginning = request.config.context_overflow_policy == "truncateMiddle"
    if len(tokens) < context_length:
        return replace(request, keep=min(len(tokens), context_length // 2) if keeps_beginning else 0)
    room = room_for_prompt(request.config, context_length)
    if keeps_beginning:
        head = room // 2
        return replace(request, prompt=[*tokens[:head], *tokens[len(tokens) - (room - head) :]], keep=head)
    begin = await engine.tokenize("")  # the token that begins a text, where the model has one
    return replace(request, prompt=[*begin, *tokens[len(tokens) - (room - len(begin)) :]])


async def fit_chat(
    engine: Engine, chat: TemplateRequest, config: PredictionConfig, context_length: int
) -> TemplateRequest:
    """Return ``chat`` without the oldest messages that do not fit into the context.

    System messages and the last message stay, and with ``truncateMiddle`` the first user message. The rest may still
    be too long; :func:`fit_text` then shortens it.
    """

    async def count_tokens(chat: TemplateRequest) -> int:
        return len(await engine.tokenize(await engine.apply_template(chat)))

    if not cuts(config) or await count_tokens(chat) < context_length:
        return chat
    room = room_for_prompt(config, context_length)
    spare = _spare(chat.messages, keep_first=config.context_overflow_policy == "truncateMiddle")
    fewest, most = 0, len(spare)  # of the messages that go, the oldest first
    while fewest < most:
        middle = (fewest + most) // 2
        if await count_tokens(_without(chat, spare[:middle])) <= room:
            most = middle
        else:
            fewest = middle + 1
    return _without(chat, spare[:most])


def _spare(messages: Sequence[Message], keep_first: bool) -> list[int]:
    """Return the indices of the messages that may be dropped."""
    kept = {index for index, message in enumerate(messages) if message.role == "system"} | {len(messages) - 1}
    if keep_first:
        kept |= {next((index for index, message in enumerate(messages) if message.role == "user"), 0)}
    return [index for index in range(len(messages)) if index not in kept]


def _without(chat: TemplateRequest, gone: Sequence[int]) -> TemplateRequest:
    return replace(chat, messages=[message for index, message in enumerate(chat.messages) if index not in set(gone)])
