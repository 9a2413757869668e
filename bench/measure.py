"""Time one prediction, and compute statistics over many."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Piece = tuple[str, int]
"""A text that arrived at once, and its number of tokens."""

Stream = Callable[[int], Generator[Piece, None, int]]
"""A path to the model: called with a number of tokens, yields the text as it arrives, and returns their number."""


@dataclass(frozen=True)
class Sample:
    """One prediction, measured at the caller. Times are seconds from the call."""

    text: str
    tokens: int
    tokens_at_first: int
    """Tokens of the first text: a layer may merge several."""
    first: float
    last: float

    @property
    def decode_rate(self) -> float:
        """Return the tokens a second after the first."""
        return (self.tokens - self.tokens_at_first) / (self.last - self.first)


def take(stream: Stream, max_tokens: int) -> Sample:
    """Run one prediction, and return its times."""
    pieces: list[str] = []
    first = last = 0.0
    tokens_at_first = 0
    began = time.perf_counter()
    fragments = stream(max_tokens)
    while True:
        try:
            text, tokens = next(fragments)
        except StopIteration as end:
            return Sample("".join(pieces), end.value, tokens_at_first, first, last)
        last = time.perf_counter() - began
        if not pieces:
            first, tokens_at_first = last, tokens
        pieces.append(text)


def take_together(stream: Stream, max_tokens: int, clients: int) -> float:
    """Run ``clients`` predictions at once; return the tokens a second of all of them, from call to last token."""
    samples: list[Sample] = []
    ready = threading.Barrier(clients + 1)

    def work() -> None:
        ready.wait()
        samples.append(take(stream, max_tokens))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    for thread in threads:
        thread.join()
    if len(samples) < clients:
        raise RuntimeError("a prediction failed; its traceback is above")
    return sum(sample.tokens for sample in samples) / max(sample.last for sample in samples)


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
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        q1, _, q3 = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
        return cls(statistics.median(values), q1, q3, min(values), max(values), len(values))

    def scaled(self, factor: float) -> Spread:
        """Return the spread in another unit."""
        f = factor
        return Spread(self.median * f, self.q1 * f, self.q3 * f, self.low * f, self.high * f, self.count)

    def json(self) -> dict[str, Any]:
        """Return the form in the results file."""
        return {name: round(value, 5) for name, value in asdict(self).items()}
