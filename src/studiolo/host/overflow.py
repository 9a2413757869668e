"""Shorten prompts that exceed the context, as the request's policy says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..config import PredictionConfig
from ..domain.chat import Message
from ..domain.vocabulary import Vocabulary
from ..engines.base import CompletionRequest, Engine, TemplateRequest
from ..engines.prompt import Prompt
from ..errors import PromptTooLongError

SHARE_FOR_THE_ANSWER = 4
"""A shortened prompt leaves one part in this many of the context to the answer, or all that the answer may use."""

CHARACTERS_PER_TOKEN = 8
"""So many characters of a text are tokenized for each token that is wanted of it, at first."""

GROWTH = 4
"""So many times as much is tokenized where that held too few."""

CUT_REACH = 1 << 16
"""So many characters before the place of a cut a better one is looked for."""

UNSURE_TOKENS = 64
"""Tokens next to a cut that are not used: what is beyond the cut may change them."""


def cuts(config: PredictionConfig) -> bool:
    """Return whether the policy shortens a prompt that is too long, rather than refusing it."""
    return config.context_overflow_policy not in (None, "stopAtLimit")


def room_for_prompt(config: PredictionConfig, context_length: int) -> int:
    """Return the tokens that a prompt is shortened to."""
    answer = context_length // SHARE_FOR_THE_ANSWER
    if config.max_tokens:
        answer = min(answer, config.max_tokens)
    return max(context_length - max(answer, 1), 1)


def check_fits(prompt: Prompt, config: PredictionConfig, context_length: int, vocabulary: Vocabulary) -> None:
    """Raise :class:`PromptTooLongError` for a prompt that can never fit, without counting its tokens."""
    fewest = 0 if cuts(config) else _fewest_tokens(prompt, vocabulary)
    if fewest > context_length:
        raise PromptTooLongError(
            f"The prompt has at least {fewest} tokens, and the model is loaded with a context of {context_length}",
            suggestion="Shorten the prompt, or load the model with a longer context_length.",
            data={"promptTokensCount": fewest, "contextLength": context_length},
        )


def _fewest_tokens(prompt: Prompt, vocabulary: Vocabulary) -> int:
    return max(vocabulary.fewest_tokens(prompt.text), len(prompt.breaks))


def surely_fits(prompt: Prompt, limit: int, vocabulary: Vocabulary) -> bool:
    """Return whether a prompt has fewer tokens than ``limit``, where that is clear without counting them."""
    most = vocabulary.most_tokens(prompt.text)
    return most is not None and most + len(prompt.breaks) < limit


async def last_tokens(engine: Engine, prompt: Prompt, count: int) -> tuple[list[int], bool]:
    """Return the last tokens of ``prompt``, at least ``count``, and whether they are all of its tokens.

    Of a text that is far longer, only the end is tokenized: as much as holds so many tokens.
    """
    length, characters = len(prompt.text), CHARACTERS_PER_TOKEN * (count + UNSURE_TOKENS)
    while characters < length // 2:
        start = _cut_before(prompt.text, length - characters)
        tokens = (await engine.tokenize(prompt.part(start, length).given))[UNSURE_TOKENS:]
        if len(tokens) >= count:
            return tokens, False
        characters *= GROWTH
    return await engine.tokenize(prompt.given), True


async def first_tokens(engine: Engine, prompt: Prompt, count: int) -> tuple[list[int], bool]:
    """Return the first tokens of ``prompt``, as :func:`last_tokens`."""
    length, characters = len(prompt.text), CHARACTERS_PER_TOKEN * (count + UNSURE_TOKENS)
    while characters < length:
        tokens = (await engine.tokenize(prompt.part(0, characters).given))[:-UNSURE_TOKENS]
        if len(tokens) >= count:
            return tokens, False
        characters *= GROWTH
    return await engine.tokenize(prompt.given), True


def _cut_before(text: str, position: int) -> int:
    """Return where ``text`` is cut at ``position`` or before: where white space begins, if that is near.

    Tokenizers split a text there. Anywhere else, what is before may change many tokens: those of a long run of spaces
    are counted from its beginning.
    """
    begin = max(position - CUT_REACH, 0)
    before = text[begin:position]
    words = before[: before.rfind(" ") + 1].rstrip()
    return begin + len(words) if words else position


async def fit_text(
    engine: Engine, request: CompletionRequest, context_length: int, vocabulary: Vocabulary
) -> CompletionRequest:
    """Return ``request`` with a prompt that fits, and with what of it is kept when the answer fills the context.

    ``truncateMiddle`` drops the tokens in the middle, ``rollingWindow`` the oldest ones but ``keep_tokens``. A prompt
    that fits is not changed.
    """
    if not cuts(request.config) or request.media:
        return request
    keep = request.config.keep_tokens or 0
    if request.config.context_overflow_policy == "truncateMiddle" or keep < 0:
        keep = context_length
    keep = min(keep, context_length // 2)
    if isinstance(request.prompt, list):
        text, tokens, is_whole = Prompt(""), request.prompt, True
    else:
        text = Prompt.of(request.prompt)
        if keep == 0 and surely_fits(text, context_length, vocabulary):
            return request
        tokens, is_whole = await last_tokens(engine, text, context_length)
    if is_whole and len(tokens) < context_length:
        return replace(request, keep=min(keep, len(tokens)))
    room = room_for_prompt(request.config, context_length)
    keep = min(keep, room // 2)
    if keep:
        first = tokens if is_whole else (await first_tokens(engine, text, keep))[0]
        return replace(request, prompt=[*first[:keep], *tokens[len(tokens) - (room - keep) :]], keep=keep)
    begin = await engine.tokenize("")  # the token that begins a text, where the model has one
    return replace(request, prompt=[*begin, *tokens[len(tokens) - (room - len(begin)) :]])


async def fit_chat(
    engine: Engine, chat: TemplateRequest, config: PredictionConfig, context_length: int, vocabulary: Vocabulary
) -> tuple[TemplateRequest, Prompt | None]:
    """Return ``chat`` without the oldest messages that do not fit into the context, and its text where it was made.

    System messages and the last message stay, and with ``truncateMiddle`` the first user message. The rest may still
    be too long; :func:`fit_text` then shortens it.
    """

    async def fits(prompt: Prompt, limit: int) -> bool:
        if surely_fits(prompt, limit, vocabulary):
            return True
        if _fewest_tokens(prompt, vocabulary) >= limit:
            return False
        return len((await last_tokens(engine, prompt, context_length))[0]) < limit

    if not cuts(config):
        return chat, None
    prompt = Prompt.of(await engine.apply_template(chat))
    if await fits(prompt, context_length):
        return chat, prompt
    room = room_for_prompt(config, context_length)
    spare = _spare(chat.messages, keep_first=config.context_overflow_policy == "truncateMiddle")
    fewest, most = 0, len(spare)  # of the messages that go, the oldest first
    while fewest < most:
        middle = (fewest + most) // 2
        prompt = Prompt.of(await engine.apply_template(_without(chat, spare[:middle])))
        if await fits(prompt, room + 1):
            most = middle
        else:
            fewest = middle + 1
    return _without(chat, spare[:most]), None


def _spare(messages: Sequence[Message], keep_first: bool) -> list[int]:
    """Return the indices of the messages that may be dropped."""
    kept = {index for index, message in enumerate(messages) if message.role == "system"} | {len(messages) - 1}
    if keep_first:
        kept |= {next((index for index, message in enumerate(messages) if message.role == "user"), 0)}
    return [index for index in range(len(messages)) if index not in kept]


def _without(chat: TemplateRequest, gone: Sequence[int]) -> TemplateRequest:
    return replace(chat, messages=[message for index, message in enumerate(chat.messages) if index not in set(gone)])
