"""Time predictions, and compute statistics over many."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Piece = tuple[str, int]
"""A text that arrived at once, and its number of tokens."""


@dataclass(frozen=True)
class Ask:
    """A request for a completion.

    Parameters:
        grammar: the form of the answer in GBNF, if any.
        schema: its JSON schema, if any.
    """

    prompt: str
    tokens: int
    temperature: float = 0
    grammar: str | None = None
    schema: Any = None


@dataclass(frozen=True)
class Ended:
    """What the other side says of a prediction that has ended.

    Parameters:
        tokens: tokens of the answer.
        prompt: tokens of the prompt; ``None`` where it does not say.
        cached: those of them that were in a cache; ``None`` where it does not say.
    """

    tokens: int
    prompt: int | None = None
    cached: int | None = None


Stream = Callable[[Ask], Generator[Piece, None, Ended]]
"""A path to a model: yields the text as it arrives, and returns the end."""


@dataclass(frozen=True)
class Sample:
    """One prediction, measured at the caller. Times are seconds from the call."""

    text: str
    ended: Ended
    tokens_at_first: int
    """Tokens of the first text: a layer may merge several."""
    first: float
    last: float

    @property
    def tokens(self) -> int:
        """Tokens of the answer."""
        return self.ended.tokens

    @property
    def decode_rate(self) -> float:
        """Return the tokens a second after the first text."""
        if self.last <= self.first:
            raise RuntimeError(f"the answer of {self.tokens} tokens came in one piece: no rate can be measured")
        return (self.tokens - self.tokens_at_first) / (self.last - self.first)


def take(stream: Stream, ask: Ask) -> Sample:
    """Run one prediction, and return its times."""
    pieces: list[str] = []
    first = last = 0.0
    tokens_at_first = 0
    began = time.perf_counter()
    fragments = stream(ask)
    while True:
        try:
            text, tokens = next(fragments)
        except StopIteration as end:
            if not pieces:
                raise RuntimeError("the answer is empty") from None
            return Sample("".join(pieces), end.value, tokens_at_first, first, last)
        last = time.perf_counter() - began
        if not pieces:
            first, tokens_at_first = last, tokens
        pieces.append(text)


@dataclass(frozen=True)
class Spread:
    """A median, quartiles and extremes."""

    median: float
    q1: float
    q3: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Return the spread of at least one value."""
        given = list(values)
        q1, _, q3 = statistics.quantiles(given, n=4, method="inclusive") if len(given) > 1 else [given[0]] * 3
        return cls(statistics.median(given), q1, q3, min(given), max(given), len(given))

    def json(self) -> dict[str, Any]:
        """Return the form in the results file."""
        return {name: round(value, 5) for name, value in asdict(self).items()}


def ratios(own: Sequence[float], other: Sequence[float]) -> Spread:
    """Return the spread of the ratios of one side to another, round by round."""
    return Spread.of(a / b for a, b in zip(own, other, strict=True))


def differences(own: Sequence[float], other: Sequence[float]) -> Spread:
    """Return the spread of the differences between one side and another, round by round."""
    return Spread.of(a - b for a, b in zip(own, other, strict=True))
