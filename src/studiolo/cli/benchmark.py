"""What ``studiolo bench`` and ``studiolo tune`` measure: a model's speed with each of several settings."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

if TYPE_CHECKING:
    from ..sdk.sync_client import Client
    from ..sdk.sync_models import LLM

Config = Mapping[str, Any]
Report = Callable[[str], None]
"""Called with what is measured now."""

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


def measure(
    client: Client,
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
            llm = client.llm.load_new_instance(model, config=config, ttl=600)
            try:
                _measure(llm, figures, words, prompt_tokens, tokens)
            finally:
                llm.unload()
    return found


def described(config: Config) -> str:
    """Return load settings in one line."""
    return " ".join(f"{name}={value}" for name, value in config.items()) or "the model's settings"


def _measure(llm: LLM, figures: Figures, words: Iterator[str], prompt_tokens: int, tokens: int) -> None:
    llm.complete("Once upon a time", config={"max_tokens": 4})
    prompt = _text(llm, words, prompt_tokens)
    stats = llm.complete(prompt, config={"max_tokens": tokens, "temperature": 1.0, "seed": 1}).stats
    first, rate = stats.time_to_first_token_sec, stats.tokens_per_second
    if not (first and rate and stats.prompt_tokens_count and stats.predicted_tokens_count):
        from ..errors import EngineError

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


def _text(llm: LLM, words: Iterator[str], tokens: int) -> str:
    """Return a text of about so many tokens."""
    taken = list(itertools.islice(words, tokens))
    per_word = len(llm.tokenize(" ".join(taken))) / len(taken)
    return " ".join(taken[: max(1, round(tokens / per_word))])


def spread(values: Iterable[float]) -> str:
    """Return the median of some figures, the least and the largest."""
    ordered = sorted(values)
    return f"{median(ordered):.1f} ({ordered[0]:.1f}..{ordered[-1]:.1f})"
