"""What the host did in the last hour: figures that are kept while the pages are served."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..protocol.system import HostInfo

SPAN_SEC = 3600.0
INTERVAL_SEC = 10.0
"""Seconds between two samples that are kept."""


@dataclass(frozen=True)
class Sample:
    """The figures of a moment.

    Parameters:
        time: in seconds since 1970.
        tokens_per_second: tokens that all models generated, since the sample before.
        running, waiting: predictions that have a slot, and that wait for one.
        memory_bytes: the estimated memory of all loaded models.
    """

    time: float
    tokens_per_second: float
    running: int
    waiting: int
    memory_bytes: int


class History:
    """The samples of the last hour.

    Parameters:
        clock: seconds, for rates.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.samples: deque[Sample] = deque(maxlen=int(SPAN_SEC / INTERVAL_SEC))
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}
        self._rates: dict[str, float] = {}
        self._looked_at: float | None = None
        self._kept_at: float | None = None
        self._generated = 0
        """Tokens since the last sample."""

    def rate(self, identifier: str) -> float:
        """Return how many tokens a second an instance has generated between the last two looks."""
        return self._rates.get(identifier, 0.0)

    def add(self, info: HostInfo) -> None:
        """Take what was seen of the host."""
        now = self._clock()
        seen = {each.identifier: (now, each.generated_tokens) for each in info.instances}
        self._rates = {}
        for identifier, (_, tokens) in seen.items():
            # One that was not there at the last look was loaded since; at the first look, nothing is known.
            new = (now, tokens) if self._looked_at is None else (self._looked_at, 0)
            before, known = self._seen.get(identifier, new)
            generated = tokens - known if tokens >= known else tokens  # another instance has the identifier
            self._generated += generated
            self._rates[identifier] = generated / (now - before) if now > before else 0.0
        self._seen, self._looked_at = seen, now
        if self._kept_at is not None and now - self._kept_at < INTERVAL_SEC:
            return
        elapsed = now - self._kept_at if self._kept_at is not None else 0.0
        self.samples.append(
            Sample(
                time=time.time(),
                tokens_per_second=self._generated / elapsed if elapsed else 0.0,
                running=sum(each.running for each in info.instances),
                waiting=sum(len(each.queue) for each in info.instances),
                memory_bytes=sum(each.memory_bytes or 0 for each in info.instances),
            )
        )
        self._generated, self._kept_at = 0, now


_histories: list[History] = []


def start_history() -> None:
    """Begin a history, at the start of the pages."""
    _histories[:] = [History()]


def history() -> History:
    """Return the history, while the pages are served."""
    return _histories[0]
