"""The log-probabilities of choices: of the tokens of their own texts after a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..domain.decisions import Normalization
from ..engines.base import Engine
from ..engines.prompt import Prompt
from ..errors import ConfigError
from .lease import Lease
from .scoring import Beginning, next_scores

UNLIKELY = -50.0
"""Stands for the log-probability of a token that is too unlikely to be reported."""

ALTERNATIVES = 100
"""Likely tokens that are reported where choices part: one run of the engine scores all choices that are among them."""

TAIL_CHARS = 200
"""How far from the end of a prompt its last control token is looked for."""


@dataclass(frozen=True)
class Scoring:
    """A prompt, and the tokens of each choice after it.

    Parameters:
        beginning: the prompt, with the tokens that all choices begin with where it has no images or audio.
        choices: the tokens of each choice after that; at least one.
        length: tokens of the prompt, images and audio left out.
    """

    beginning: Beginning
    choices: Sequence[tuple[int, ...]]
    length: int


@dataclass
class Tokenizer:
    """The tokens of prompts with choices. What follows the last control token of a prompt is tokenized once.

    Parameters:
        control_tokens: the spellings of the model's control tokens: no token reaches across them.
    """

    engine: Engine
    control_tokens: Sequence[str]
    _known: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    _begin: list[int] | None = None

    async def scoring(self, prompt: Prompt, media: Sequence[bytes], choices: Sequence[str]) -> Scoring:
        """Return what is to be scored.

        Raises:
            ConfigError: there is no text before the choices.
        """
        tokens = await self.engine.tokenize(prompt.given)
        if (tail := await self._tail(prompt, tokens)) is not None:
            head = tokens[: len(tokens) - len(await self._of(tail))]
            texts = [[*head, *await self._of(tail + choice)] for choice in choices]
        else:
            texts = [await self.engine.tokenize((prompt + choice).given) for choice in choices]
        if media:
            return await self._after_media(prompt, media, tokens, texts, choices)
        shared = min(shared_length(texts), *(len(each) - 1 for each in texts))
        if shared == 0:
            raise ConfigError("There is no text before the choices", suggestion="Give a prompt.")
        return Scoring(Beginning(texts[0][:shared]), [tuple(each[shared:]) for each in texts], shared)

    async def _after_media(
        self,
        prompt: Prompt,
        media: Sequence[bytes],
        tokens: Sequence[int],
        texts: Sequence[Sequence[int]],
        choices: Sequence[str],
    ) -> Scoring:
        """Return what is to be scored after a prompt that stays text: a choice has no token of the prompt's text."""
        own: list[tuple[int, ...]] = []
        for text, choice in zip(texts, choices, strict=True):
            apart = text[: len(tokens)] == tokens and len(text) > len(tokens)
            own.append(tuple(text[len(tokens) :] if apart else await self._of(choice)))
        return Scoring(Beginning(text=prompt.given, media=media), own, len(tokens))

    async def _tail(self, prompt: Prompt, tokens: Sequence[int]) -> str | None:
        """Return the text from the last control token on; ``None`` where the tokens do not end with its tokens."""
        start = max(0, len(prompt.text) - TAIL_CHARS)
        last = max((prompt.text.rfind(token, start) for token in self.control_tokens), default=-1)
        if last < 0 or (prompt.breaks and prompt.breaks[-1] > last):
            return None
        tail = prompt.text[last:]
        known = await self._of(tail)
        return tail if known and list(tokens[-len(known) :]) == known else None

    async def _of(self, text: str) -> list[int]:
        """Return the tokens of a text within another."""
        if self._begin is None:
            self._begin = await self.engine.tokenize("")  # the token that begins a text, where the model has one
        if text not in self._known:
            self._known[text] = (await self.engine.tokenize(text))[len(self._begin) :]
        return self._known[text]


async def choice_scores(engine: Engine, lease: Lease, asked: Scoring, normalization: Normalization) -> list[float]:
    """Return the log-probability of each choice, normalized; tokens that all choices begin with are left out.

    Choices that begin alike are scored together up to where they part.

    Parameters:
        engine: the lease's, with a slot.
    """
    wanted = {choice[: length + 1] for choice in asked.choices for length in range(len(choice))}
    known: dict[tuple[int, ...], float] = {}
    for choice in asked.choices:
        while (at := next((at for at in range(len(choice)) if choice[: at + 1] not in known), None)) is not None:
            ways = {each[: len(each) - 1] for each in wanted - known.keys() if each != choice[: len(each)]}
            top = ALTERNATIVES if any(choice[:length] in ways for length in range(at, len(choice))) else 0
            found = await next_scores(engine, lease, asked.beginning, choice[:at], choice[at:], top)
            for place, score in enumerate(found, at):
                path = choice[:place]
                known[*path, choice[place]] = UNLIKELY if score is None else score.token.logprob
                for other in () if score is None else score.alternatives:
                    if other.id is not None and (reached := (*path, other.id)) in wanted:
                        known.setdefault(reached, other.logprob)
    shared = min(shared_length(asked.choices), *(len(each) - 1 for each in asked.choices))
    scores = [[known[choice[: at + 1]] for at in range(shared, len(choice))] for choice in asked.choices]
    return [sum(each) / (len(each) if normalization == "tokens" else 1) for each in scores]


def shared_length(texts: Iterable[Sequence[int]]) -> int:
    """Return how many tokens all texts begin with alike."""
    ordered = sorted(map(tuple, texts))  # what the first and the last of them share, those between share, too
    pairs = zip(ordered[0], ordered[-1], strict=False)
    return next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(ordered[0]), len(ordered[-1])))
