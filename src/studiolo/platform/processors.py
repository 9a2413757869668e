"""The processors that this process may use: those of the machine, of its affinity, and of its control groups."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from .control_groups import cpu_quota


@dataclass(frozen=True)
class Processors:
    """A number of processors, and what limits it.

    Parameters:
        count: the number.
        reason: what it is the number of, for people.
    """

    count: int
    reason: str


def usable_processors() -> Processors:
    """Return the logical processors that this process may use, at least one. Looked up each time: they may change."""
    return min(_limits(), key=lambda limit: limit.count)


def engine_threads() -> Processors | None:
    """Return the threads for an engine that is given no number; ``None`` where its own default, one a core, fits.

    ``OMP_NUM_THREADS`` and ``OMP_THREAD_LIMIT`` count here.
    """
    limit = min([usable_processors(), *_omp_limits()], key=lambda each: each.count)
    if limit.count >= (os.cpu_count() or 1):
        return None
    import psutil  # late: it takes a while to import

    cores = psutil.cpu_count(logical=False)
    return limit if cores is None or limit.count < cores else None


def affine_processors() -> int:
    """Return the number of processors that the affinity of this process allows: all where the system has none."""
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return max(count or 1, 1)


def _limits() -> Iterator[Processors]:
    yield Processors(os.cpu_count() or 1, "the machine's logical processors")
    yield Processors(affine_processors(), "the affinity of this process")
    quota = cpu_quota()
    if quota is not None:
        yield Processors(max(math.ceil(quota), 1), f"the quota of the control group, {quota:g} processors")


def _omp_limits() -> Iterator[Processors]:
    for name in ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT"):
        number = os.environ.get(name, "").partition(",")[0].strip()  # one number a level of nesting
        if number.isdecimal() and int(number) > 0:
            yield Processors(int(number), f"the environment variable {name}")
