"""Repeat rounds that other programs disturbed, by the CPU time that these used."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import psutil

from .measure import Spread

T = TypeVar("T")
Say = Callable[[str], None]

QUIET = 0.1
"""Cores that other programs may use at most in a quiet round."""

ATTEMPTS = 3
"""Maximum rounds to run for each requested one."""

LEAST = 3
"""Minimum rounds to keep, quiet or not."""

PAUSE_SEC = 2.0
"""Pause after a disturbed round: disturbances come in bursts."""


@dataclass(frozen=True)
class Round(Generic[T]):
    """The result of a round, and the cores that other programs used meanwhile, on average."""

    result: T
    others: float


def rounds(count: int, measure: Callable[[], T], say: Say) -> list[Round[T]]:
    """Run ``measure`` until ``count`` rounds were quiet, at most `ATTEMPTS` times as often.

    Return the quiet rounds; if there are fewer than three, the three quietest.
    """
    taken: list[Round[T]] = []
    quiet = 0
    while quiet < count and len(taken) < ATTEMPTS * count:
        all_before, own_before, began = _busy(), _own(), time.perf_counter()
        result = measure()
        passed = time.perf_counter() - began
        others = max(0.0, (_busy() - all_before) - (_own() - own_before)) / passed
        taken.append(Round(result, others))
        if others <= QUIET:
            quiet += 1
        else:
            time.sleep(PAUSE_SEC)
        say(f"round {len(taken)}, {quiet} of {count} quiet; others took {others:.2f} cores")
    quietest = sorted(round.others for round in taken)[:LEAST]
    return [round for round in taken if round.others <= max(QUIET, quietest[-1])]


def others_of(taken: list[Round[T]]) -> Spread:
    """The cores that other programs took in these rounds."""
    return Spread.of([round.others for round in taken])


def _busy() -> float:
    """CPU seconds that the machine has spent on anything, or that its own host took from it."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    return sum(times[: 8 if psutil.LINUX else len(times)]) - idle  # beyond the eighth are parts of the first


def _own() -> float:
    """CPU seconds of this process and of all that it started, ended or not."""
    total = 0.0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
