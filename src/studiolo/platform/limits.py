"""Limits of what this process may use: memory, processor time, open files."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
from collections.abc import Generator
from typing import NamedTuple

from .features import has

WALL_TIME_FACTOR = 5
"""Where processor time cannot be limited, a piece of work gets that many times as long by the clock."""


def limit_process(*, memory_bytes: int, cpu_sec: int | None = None, writes: bool = True) -> None:
    """Limit this process, as far as the system has such limits. Limits that are lower already stay.

    Parameters:
        memory_bytes: the address space; allocations beyond it fail.
        cpu_sec: the processor time; the process is killed beyond it.
        writes: whether it may write to files.
    """
    if sys.platform == "win32":
        from .job_objects import limit_this_process

        limit_this_process(memory_bytes, cpu_sec)
        return
    if not has("resource-limits"):
        return
    import resource

    limits = {resource.RLIMIT_AS: memory_bytes, resource.RLIMIT_CORE: 0}
    if cpu_sec is not None:
        limits[resource.RLIMIT_CPU] = cpu_sec
    if not writes:
        limits[resource.RLIMIT_FSIZE] = 0
    for limit, value in limits.items():
        with contextlib.suppress(ValueError, OSError):  # the system may not have it, or have a lower one
            resource.setrlimit(limit, (value, value))


class ProcessSize(NamedTuple):
    """What a process takes, in bytes: of its address space, and of memory."""

    address_space: int
    resident: int


def process_size() -> ProcessSize | None:
    """Return what this process takes; ``None`` where the system does not say."""
    if sys.platform == "win32":
        return None
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 (pathlib takes a while to import)
            pages = file.read().split()
    except OSError:
        return None
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    return ProcessSize(int(pages[0]) * page_bytes, int(pages[1]) * page_bytes)


def return_freed_memory() -> None:
    """Return to the system what glibc keeps of freed memory; it keeps up to 64 MiB for later allocations."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def memory_limit(address_space_bytes: int) -> Generator[None]:
    """Let allocations in the block fail beyond this size of the address space, where the system has such a limit."""
    if sys.platform == "win32" or not has("resource-limits"):
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = address_space_bytes if hard == resource.RLIM_INFINITY else min(address_space_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def cpu_limit(seconds: float) -> Generator[None]:
    """Kill this process if the block takes more than ``seconds`` of processor time, whatever native code runs in it.

    Where there is no timer of processor time, the process ends after :data:`WALL_TIME_FACTOR` times as long by the
    clock.
    """
    if sys.platform != "win32" and has("cpu-timer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        return
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 (pathlib takes a while to import)
        faulthandler.dump_traceback_later(seconds * WALL_TIME_FACTOR, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def raise_open_files(count: int) -> None:
    """Raise the limit of open files to ``count``, or as far as the system allows."""
    if sys.platform == "win32" or not has("resource-limits"):
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # the limit stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
