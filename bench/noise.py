"""Noise of the machine: what other programs take, and how far the same work differs from time to time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy
import psutil

Say = Callable[[str], None]

MAX_OTHERS = 0.1
"""Cores that other programs may use at most on a quiet machine."""

MAX_SPREAD = 0.08
"""The most that the slowest fifth of the same work may be slower than its median."""


@dataclass(frozen=True)
class Noise:
    """The noise of a machine on which nothing of the benchmark runs.

    Parameters:
        others: cores that other programs use, on average.
        spread: how much slower the slowest fifth of a fixed piece of work is than its median, 0 for not at all.
        runs: how often that work was timed.
    """

    others: float
    spread: float
    runs: int

    @property
    def quiet(self) -> bool:
        """Whether figures of this machine mean anything."""
        return self.others <= MAX_OTHERS and self.spread <= MAX_SPREAD

    def __str__(self) -> str:
        """Return the noise for people."""
        return (
            f"other programs take {self.others:.2f} cores (at most {MAX_OTHERS:g});"
            f" the slowest fifth of {self.runs} equal pieces of work takes {self.spread:.1%} longer than their median"
            f" (at most {MAX_SPREAD:.0%})"
        )

    def json(self) -> dict[str, Any]:
        """Return the form in the results file."""
        return {**asdict(self), "quiet": self.quiet}


def measure_noise(seconds: float) -> Noise:
    """Measure for ``seconds``: half of them nothing runs, the other half a fixed piece of work on all cores."""
    watch = Others()
    time.sleep(seconds / 2)
    others = watch.cores()
    matrix = numpy.ones((512, 512), dtype=numpy.float32)
    for _ in range(5):
        matrix @ matrix  # starts the threads
    times: list[float] = []
    end = time.perf_counter() + seconds / 2
    while time.perf_counter() < end or len(times) < 5:
        began = time.perf_counter()
        for _ in range(20):
            matrix @ matrix
        times.append(time.perf_counter() - began)
    times.sort()
    slowest = times[-max(len(times) // 5, 1) :]
    spread = sum(slowest) / len(slowest) / times[len(times) // 2] - 1
    return Noise(others, spread, len(times))


class Others:
    """The processor time of other programs from now on."""

    def __init__(self) -> None:
        self._all, self._own, self._began = _busy(), _own_seconds(), time.perf_counter()

    def cores(self) -> float:
        """Return the cores that programs other than the benchmark and its processes have used since, on average."""
        passed = time.perf_counter() - self._began
        return max(0.0, (_busy() - self._all) - (_own_seconds() - self._own)) / passed


def _busy() -> float:
    """Return the CPU seconds that the machine has spent on anything, or that its own host took from it."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    return sum(times[: 8 if psutil.LINUX else len(times)]) - idle  # beyond the eighth are parts of the first


def _own_seconds() -> float:
    """Return the CPU seconds of this process and of all that it started, ended or not."""
    total = 0.0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
