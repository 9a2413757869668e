"""What a signal to stop means: the first one lets requests end, a second one that is meant as such does not."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Literal

REPEAT_SEC = 2.0
"""Seconds after the first signal in which more of its kind count as the same one: a process group and its shell both
pass on what a supervisor sends, and a held Ctrl-C repeats."""


class StopSignals:
    """The signals that a server has received.

    Parameters:
        clock: returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first_at = 0.0
        self.first: signal.Signals | None = None

    def take(self, number: signal.Signals) -> Literal["drain", "repeated", "at once"]:
        """Return what to do about a signal: let requests end, nothing, or stop at once."""
        now = self._clock()
        if self.first is None:
            self.first, self._first_at = number, now
            return "drain"
        return "repeated" if number == self.first and now - self._first_at < REPEAT_SEC else "at once"
