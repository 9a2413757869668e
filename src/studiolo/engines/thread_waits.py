"""How the engine's threads wait for each other: for long where the machine is theirs, shortly where others need it.

An engine's threads meet after each step of a token, thousands of times a second. One that waits looks for a while
(it "spins"), then sleeps. To wake a thread takes longer than most waits, so on an idle machine a short spin costs half
of the speed; beside other work a long one keeps the processor from the thread that all wait for, and costs nearly all.

libgomp reads both counts when it is loaded, ``GOMP_SPINCOUNT`` and a short one (100) that holds as long as there are
more threads of OpenMP than processors. So a thread that owns idle threads switches from one to the other while the
engine runs. A machine is busy where threads that could run wait long for a processor
(``/proc/PID/task/TID/schedstat``, Documentation/scheduler/sched-stats.rst of Linux).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
import time
from pathlib import Path

from ..platform.processors import affine_processors

LONG_SPINS = 20_000
"""About a millisecond on x86: as fast on an idle machine as libgomp's 300,000, which are its default."""

SPINS_A_THREAD = 150
LEAST_SPINS, MOST_SPINS = 1_000, 3_000

LOOK_SEC = 0.2
"""How often the machine is looked at."""

BUSY_SHARE = 0.35
"""The machine is busy where threads wait for a processor during this share of the time for which they could run."""

QUIET_SHARE = 0.25
"""It is quiet again when the share has been smaller ``QUIET_LOOKS`` times in succession."""

QUIET_LOOKS = 3

LEAST_WORK, LEAST_WANTED = 0.01, 0.1
"""Cores that an engine uses at least where it is looked at, and that it could use where a look says something."""

_TASKS = Path("/proc/self/task")


def spin_count(threads: int | None = None) -> int:
    """Return ``GOMP_SPINCOUNT`` of an engine whose threads cannot change their waits: between the two.

    Parameters:
        threads: how many compute; by default one for each processor. The more there are, the more have to be woken.
    """
    return min(max(LEAST_SPINS, SPINS_A_THREAD * (threads or os.cpu_count() or 1)), MOST_SPINS)


def set_spins(threads: int | None = None) -> bool:
    """Set the spin of libgomp, which is loaded afterwards, unless the user has. Return whether it is to be adapted.

    Parameters:
        threads: how many compute; by default one for each processor.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}.isdisjoint(os.environ):
        return False
    # Under a limit there may be no idle threads.
    adapted = _delay_sec() is not None and "OMP_THREAD_LIMIT" not in os.environ
    os.environ["GOMP_SPINCOUNT"] = str(LONG_SPINS if adapted else spin_count(threads))
    return adapted


def adapt() -> None:
    """Adapt the waits of this process's threads to the machine, in a thread of its own, as long as the process lives.

    Changes are written to standard error. Does nothing where libgomp is not loaded.
    """
    library = _libgomp()
    if library is not None:
        threading.Thread(target=_watch, args=(library,), name="thread waits", daemon=True).start()


class Waits:
    """Decide from looks at the machine whether waits are short. They are long at first."""

    def __init__(self) -> None:
        self.short = False
        self._quiet_looks = 0

    def look(self, elapsed_sec: float, worked_sec: float, delayed_sec: float) -> bool:
        """Take what happened since the last look. Return whether waits have become short, or long again.

        Parameters:
            elapsed_sec: time since then.
            worked_sec: processor time that the threads had.
            delayed_sec: time for which threads that could run waited for a processor.
        """
        wanted_sec = worked_sec + delayed_sec
        if wanted_sec < LEAST_WANTED * elapsed_sec:
            return False
        share = delayed_sec / wanted_sec
        self._quiet_looks = self._quiet_looks + 1 if share < QUIET_SHARE else 0
        before = self.short
        self.short = self._quiet_looks < QUIET_LOOKS if self.short else share >= BUSY_SHARE
        return self.short != before


def _watch(library: ctypes.CDLL) -> None:
    waits, surplus = Waits(), None
    looked, worked, delayed = time.monotonic(), time.process_time(), _delay_sec()
    while True:
        time.sleep(LOOK_SEC)
        now, work = time.monotonic(), time.process_time()
        if work - worked < LEAST_WORK * (now - looked):  # an idle engine costs no look at its threads
            looked, worked, delayed = now, work, None
            continue
        delay = _delay_sec()
        if delay is None:
            return
        if delayed is not None and waits.look(now - looked, work - worked, max(delay - delayed, 0.0)):
            if surplus is not None:
                surplus.set()
            surplus = _surplus_threads(library) if waits.short else None
            _say("busy: threads that wait sleep soon" if waits.short else "quiet: threads that wait sleep late")
        looked, worked, delayed = now, work, delay


def _surplus_threads(library: ctypes.CDLL) -> threading.Event:
    """Give libgomp more threads than there are processors, which sleep until the event is set."""
    over = threading.Event()
    count = affine_processors() + 1

    def hold() -> None:
        # The function takes no argument and ignores the one that it is given: in the calling conventions of the
        # systems with libgomp, that is allowed. The threads end with the one that has started them.
        nothing = ctypes.cast(library.omp_get_thread_num, ctypes.c_void_p)
        library.GOMP_parallel(nothing, None, count, 0)
        over.wait()

    threading.Thread(target=hold, name="surplus threads", daemon=True).start()
    return over


def _delay_sec() -> float | None:
    """Return for how long threads of this process have waited for a processor; ``None`` where the system counts none.

    The time of a thread that has ended is lost.
    """
    delay_ns = 0
    try:
        for task in _TASKS.iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                delay_ns += int((task / "schedstat").read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return delay_ns / 1e9


def _libgomp() -> ctypes.CDLL | None:
    """Return the libgomp that the engine has loaded; ``None`` where it has none."""
    try:
        files = {line.split(maxsplit=5)[5] for line in _maps() if "libgomp" in line}
        library = ctypes.CDLL(files.pop()) if len(files) == 1 else None  # of two, the engine's is unknown
    except OSError:
        return None
    if library is not None:
        library.GOMP_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        library.GOMP_parallel.restype = None
    return library


def _maps() -> list[str]:
    return Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines()


def _say(what: str) -> None:
    with contextlib.suppress(OSError):
        print(f"The processors are {what}.", file=sys.stderr, flush=True)
