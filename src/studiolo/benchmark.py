"""How fast a model is on this machine, with each of several load settings: for the command line and the pages."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from .errors import ConfigError, EngineError

if TYPE_CHECKING:
    from .sdk.async_client import AsyncClient
    from .sdk.async_models import AsyncLLM

Config = Mapping[str, Any]
Report = Callable[[str], None]
"""Called with what is measured now, before each round of each setting."""

SPARE_TOKENS = 64
"""Context beyond the prompt and the answer: the beginning of a text, and a prompt that is a little longer."""


class Figures(Struct, kw_only=True):
    """What was measured with one set of load settings; each list has a figure a round.

    Parameters:
        config: the load settings that differ from the model's own.
        prompt_tokens: the tokens of each prompt, none of them in a cache.
        prompt: tokens of the prompt a second, from the request to the first token.
        tokens: the tokens of each answer.
        decode: tokens of the answer a second, after the first.
    """

    config: dict[str, Any]
    prompt_tokens: list[int] = field(default_factory=list[int])
    prompt: list[float] = field(default_factory=list[float])
    tokens: list[int] = field(default_factory=list[int])
    decode: list[float] = field(default_factory=list[float])

    def seconds(self) -> list[float]:
        """How long a prompt and an answer of typical length take, by each round's figures."""
        prompt, tokens = median(self.prompt_tokens), median(self.tokens)
        return [prompt / first + tokens / rate for first, rate in zip(self.prompt, self.decode, strict=True)]

    def gain(self, other: Figures) -> float:
        """How many times as fast as ``other`` it is: the median of the rounds."""
        return median(a / b for a, b in zip(other.seconds(), self.seconds(), strict=True))


def variants(settings: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return the load settings with each combination of values: ``{"a": [1, 2], "b": [3]}`` has two."""
    return [dict(zip(settings, values, strict=True)) for values in itertools.product(*settings.values())]


async def measure(
    client: AsyncClient,
    model: str,
    configs: Sequence[Config],
    *,
    prompt_tokens: int,
    tokens: int,
    rounds: int,
    report: Report = lambda text: None,
) -> list[Figures]:
    """Measure a model with each of some load settings.

    The settings are measured in turn, then in the opposite order, and so on, so that a machine that is slower for a
    while is so for all of them. Each time the model is loaded, runs once unmeasured, and is unloaded.

    Parameters:
        configs: load settings, each on top of the model's own.
        prompt_tokens: the length of the prompts, about.
        tokens: the length of the answers, at most.
        rounds: how often each setting is measured: once each time its model is loaded.

    Raises:
        StudioloError: the model cannot be loaded with some of the settings.
    """
    found = [Figures(config=dict(config)) for config in configs]
    words = made_up_words()
    for turn in range(rounds):
        for figures in found if turn % 2 == 0 else reversed(found):
            report(f"round {turn + 1} of {rounds}: {described(figures.config)}")
            config = {"context_length": prompt_tokens + tokens + SPARE_TOKENS, **figures.config}
            llm = await client.llm.load_new_instance(model, config=config, ttl=600)
            try:
                await _measure(llm, figures, words, prompt_tokens, tokens)
            finally:
                await llm.unload()
    return found


async def measure_loaded(
    llm: AsyncLLM, *, prompt_tokens: int, tokens: int, rounds: int, report: Report = lambda text: None
) -> Figures:
    """Measure a loaded model as it is; the parameters are those of :func:`measure`.

    Raises:
        ConfigError: its context is too short.
        StudioloError: it is unloaded meanwhile.
    """
    needed, context = prompt_tokens + tokens + SPARE_TOKENS, await llm.get_context_length()
    if context < needed:
        raise ConfigError(
            f"{llm.identifier} has a context of {context} tokens, and {needed} are needed",
            suggestion="Choose a shorter prompt or answer, or measure the model on disk.",
        )
    figures, words = Figures(config={}), made_up_words()
    for turn in range(rounds):
        report(f"round {turn + 1} of {rounds}: {described({})}")
        await _measure(llm, figures, words, prompt_tokens, tokens)
    return figures


def described(config: Config) -> str:
    """Return load settings in one line."""
    return " ".join(f"{name}={value}" for name, value in config.items()) or "the model's settings"


async def _measure(llm: AsyncLLM, figures: Figures, words: Iterator[str], prompt_tokens: int, tokens: int) -> None:
    await llm.complete("Once upon a time", config={"max_tokens": 4})
    prompt = await _text(llm, words, prompt_tokens)
    answer = await llm.complete(prompt, config={"max_tokens": tokens, "temperature": 1.0, "seed": 1})
    stats = answer.stats
    first, rate = stats.time_to_first_token_sec, stats.tokens_per_second
    if not (first and rate and stats.prompt_tokens_count and stats.predicted_tokens_count):
        raise EngineError("The engine does not report how fast it is", suggestion="Take another engine.")
    figures.prompt_tokens.append(stats.prompt_tokens_count)
    figures.prompt.append(stats.prompt_tokens_count / first)
    figures.tokens.append(stats.predicted_tokens_count)
    figures.decode.append(rate)


def made_up_words() -> Iterator[str]:
    """Words without a meaning, the same in each run: no prompt is in a cache, and all take the same time."""
    chance = random.Random(1)
    while True:
        yield "".join(chance.choice("bcdfglmnprstv") + chance.choice("aeiou") for _ in range(chance.randint(1, 3)))


async def _text(llm: AsyncLLM, words: Iterator[str], tokens: int) -> str:
    """Return a text of about so many tokens."""
    taken = list(itertools.islice(words, tokens))
    per_word = len(await llm.tokenize(" ".join(taken))) / len(taken)
    return " ".join(taken[: max(1, round(tokens / per_word))])


def spread(values: Iterable[float]) -> str:
    """Return the median of some figures, the least and the largest."""
    ordered = sorted(values)
    return f"{median(ordered):.1f} ({ordered[0]:.1f}..{ordered[-1]:.1f})"
