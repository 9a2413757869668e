"""Compare two engines on this machine: how fast a model is with each, and whether its answers are the same.

"The same" has to allow for rounding: another instruction set, device or version of the engine adds numbers in another
order, so that log-probabilities differ a little, and where two tokens are almost equally likely, the other one may win.
Two engines answer the same here if, at temperature 0, they generate the same tokens for each prompt up to a near tie
(where the next text has another beginning, and is not compared further), and the log-probabilities of the tokens that
they both generated differ by little on average.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from ..benchmark import SPARE_TOKENS, Figures, Report, made_up_words
from .runtime_selection import check_engine

if TYPE_CHECKING:
    from ..domain.generation import LogProb, PredictionResult, TokenLogProbs
    from ..host.host import Host
    from ..host.instance import Instance
    from ..paths import Home
    from ..settings import EngineSettings

NEAR_TIE = 0.5
"""Tokens whose log-probabilities differ by less count as almost equally likely: 0.5 is a ratio of 1.65.

With 4-bit weights the answers of one binary on the processor and on Vulkan part at differences of up to 0.36: the
processor's kernels round activations to 8 bits, the shaders do not.
"""

MEAN_DIFFERENCE = 0.1
"""How much the log-probabilities of the same tokens may differ, on average: 0.035 between processor and Vulkan."""

LEAST_GAIN = 1.02
LEAST_WINS = 0.75
"""How many times as fast an engine has to be, and in which share of the rounds faster, to count as faster."""

ANSWER_TOKENS = 48
CANDIDATES = 5

_NAMES = {"before": "the engine in force", "after": "the other one"}

PROMPTS = (
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):\n    ",
    "1, 2, 3, 5, 8, 13,",
    "Water boils at a temperature of",
    "Die Hauptstadt von Deutschland ist",
    '{"name": "Ada Lovelace", "born":',
    "The three laws of motion are as follows. First,",
)


class Answers(Struct, kw_only=True):
    """How the answers of two engines compare.

    Parameters:
        prompts: how many prompts both answered.
        tokens: the tokens of the first engine's answers.
        compared: those before the answers part; all of them where they never do.
        near_ties: the prompts whose answers part at a near tie.
        others: the prompts whose answers part elsewhere.
        mean_difference, largest_difference: of the log-probabilities of the tokens that were compared.
    """

    prompts: int = 0
    tokens: int = 0
    compared: int = 0
    near_ties: int = 0
    others: int = 0
    mean_difference: float = 0.0
    largest_difference: float = 0.0

    @property
    def same(self) -> bool:
        """Whether the answers are the same but for rounding."""
        return self.compared > 0 and not self.others and self.mean_difference <= MEAN_DIFFERENCE


class Comparison(Struct, kw_only=True):
    """Two engines side by side.

    Parameters:
        model: the model's key.
        before, after: the figures with the engine in force, and with the other one.
        answers: how their answers compare.
    """

    model: str
    before: Figures
    after: Figures
    answers: Answers = field(default_factory=Answers)

    def is_better(self) -> bool:
        """Whether the other engine is faster, in almost every round, and answers the same."""
        from statistics import median

        rounds = [a / b for a, b in zip(self.before.seconds(), self.after.seconds(), strict=True)]
        wins = sum(gain > 1 for gain in rounds)
        return self.answers.same and median(rounds) >= LEAST_GAIN and wins >= LEAST_WINS * len(rounds)

    def gains(self) -> tuple[float, float, float]:
        """Return how many times as fast the other engine is: prompts, answers, and a typical prompt with its answer."""
        from statistics import median

        prompt = median(b / a for a, b in zip(self.before.prompt, self.after.prompt, strict=True))
        decode = median(b / a for a, b in zip(self.before.decode, self.after.decode, strict=True))
        return prompt, decode, self.after.gain(self.before)


def compare(
    home: Home,
    before: EngineSettings,
    after: EngineSettings,
    model: str,
    *,
    prompt_tokens: int = 512,
    tokens: int = 64,
    rounds: int = 5,
    report: Report = lambda text: None,
) -> Comparison:
    """Measure ``model`` with two engines, in turn and then in the opposite order, and compare their answers.

    Parameters:
        before, after: the settings that select the engine in force, and the other one.
        prompt_tokens, tokens: the length of prompts, about, and of answers, at most.
        rounds: how often each engine is measured.

    Raises:
        StudioloError: the model cannot be loaded with one of them.
    """
    return asyncio.run(_compare(home, before, after, model, prompt_tokens, tokens, rounds, report))


async def _compare(
    home: Home,
    before: EngineSettings,
    after: EngineSettings,
    model: str,
    prompt_tokens: int,
    tokens: int,
    rounds: int,
    report: Report,
) -> Comparison:
    from ..config import load_config
    from ..host.host import Host

    in_force = before
    host = Host(home, engine=lambda: replace(in_force, saved_prompts_mib=0))  # else prompts of earlier runs are known
    answered: dict[str, list[list[TokenLogProbs]]] = {}
    text = made_up_words()
    try:
        found = await host.find_model(model, "llm")
        figures = Comparison(model=found.key, before=Figures(config={}), after=Figures(config={}))
        sides = (("before", before, figures.before), ("after", after, figures.after))
        for turn in range(rounds):
            for name, settings, side in sides if turn % 2 == 0 else reversed(sides):
                report(f"round {turn + 1} of {rounds}: {_NAMES[name]}")
                in_force = settings
                config = load_config({"context_length": prompt_tokens + tokens + SPARE_TOKENS})
                instance = await host.load(found, config, identifier="runtime-comparison")
                try:
                    await check_engine(instance, settings)
                    await _measure(host, instance, side, text, prompt_tokens, tokens)
                    if name not in answered:
                        answered[name] = [await _answer(host, instance, prompt) for prompt in PROMPTS]
                finally:
                    await host.instances.unload(instance)
        figures.answers = compared(answered["before"], answered["after"])
        return figures
    finally:
        await host.stop()


async def _predict(
    host: Host, instance: Instance, prompt: str | list[int], tokens: int, log_probs: int | None = None
) -> tuple[list[TokenLogProbs], PredictionResult]:
    from ..config import prediction_config
    from ..domain.generation import Fragment, PredictionResult

    settings = {"max_tokens": tokens, "temperature": 0, "repeat_penalty": False, "log_probs": log_probs}
    lease = instance.lease()
    prediction = host.predict(lease, prompt, prediction_config(settings))
    found: list[TokenLogProbs] = []
    result = PredictionResult(stop_reason="failed")
    async for event in prediction.events():
        if isinstance(event, Fragment):
            found += event.logprobs or ()
        elif isinstance(event, PredictionResult):
            result = event
    return found, result


async def _measure(
    host: Host, instance: Instance, figures: Figures, text: Iterator[str], prompt_tokens: int, tokens: int
) -> None:
    await _predict(host, instance, "Once upon a time", 4)
    taken = " ".join(next(text) for _ in range(prompt_tokens))  # a word is a token or more
    async with instance.lease().held() as lease, lease.on_engine() as engine:
        prompt = (await engine.tokenize(taken))[:prompt_tokens]
    _, result = await _predict(host, instance, prompt, tokens)
    first, rate = result.timings.first_token_sec, result.timings.tokens_per_second
    if not (first and rate):
        from ..errors import EngineError

        raise EngineError("The engine does not report how fast it is", suggestion="Take another engine.")
    figures.prompt_tokens.append(result.usage.prompt_tokens)
    figures.prompt.append(result.usage.prompt_tokens / first)
    figures.tokens.append(result.usage.predicted_tokens)
    figures.decode.append(rate)


async def _answer(host: Host, instance: Instance, prompt: str) -> list[TokenLogProbs]:
    return (await _predict(host, instance, prompt, ANSWER_TOKENS, CANDIDATES))[0]


def compared(before: Sequence[Sequence[TokenLogProbs]], after: Sequence[Sequence[TokenLogProbs]]) -> Answers:
    """Return how the answers of two engines to the same prompts compare; each is a list of tokens."""
    answers = Answers()
    differences: list[float] = []
    for one, other in zip(before, after, strict=True):
        answers.prompts += 1
        answers.tokens += len(one)
        for mine, theirs in zip(one, other, strict=False):
            if _key(mine.token) == _key(theirs.token):
                differences.append(abs(mine.token.logprob - theirs.token.logprob))
                continue
            tied = _gap(mine, theirs) < NEAR_TIE and _gap(theirs, mine) < NEAR_TIE
            answers.near_ties += tied
            answers.others += not tied
            break
        else:
            answers.others += len(one) != len(other)  # the end of an answer is a token, too
    answers.compared = len(differences)
    if differences:
        answers.mean_difference, answers.largest_difference = fmean(differences), max(differences)
    return answers


def _gap(place: TokenLogProbs, other: TokenLogProbs) -> float:
    """Return how much likelier the token of ``place`` was there than the one that the other engine generated."""
    rivals = [each.logprob for each in place.alternatives if _key(each) == _key(other.token)]
    return place.token.logprob - max(rivals, default=float("-inf"))


def _key(token: LogProb) -> int | str | bytes:
    return token.id if token.id is not None else token.data or token.text
