"""This machine: its name, its processor, its main memory."""

from __future__ import annotations

import contextlib
import functools
import platform
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from ..errors import UnsupportedError
from ..platform.control_groups import memory_left, memory_limit


def device_name() -> str:
    """Return this machine's name."""
    return platform.node() or "localhost"


def check_device(identifier: str | None) -> None:
    """Raise :class:`UnsupportedError` if a request is for another device than this machine; ``None`` means this one."""
    if identifier in (None, device_name()):
        return
    raise UnsupportedError(
        f"There is no device {identifier!r}: this host runs models only on its own machine, {device_name()!r}",
        suggestion="Leave deviceIdentifier out, or connect to the host of that device.",
        feature="deviceIdentifier",
    )


class Processor(Struct, frozen=True):
    """The processor: its name, its architecture (such as ``x86_64``), and the features that it advertises."""

    name: str
    architecture: str
    features: frozenset[str]


@functools.cache
def processor() -> Processor:
    """Return this machine's processor, read once. Its features are known on Linux alone."""
    name, features = platform.processor() or platform.machine(), frozenset[str]()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                features = frozenset(value.split())
    return Processor(name, platform.machine(), features)


def available_memory(loaded: Iterable[tuple[int | None, Path, int]] = ()) -> int:
    """Return the bytes of main memory that are free for one more model.

    That is what the system calls available (and a container's limit leaves), less two amounts that the system does not
    count: weights that a running engine has mapped, which the system could drop and read again; and what the engines
    have been granted and have not filled yet.

    Parameters:
        loaded: for each loaded model the process of its engine (``None`` before it has one), its file, and the bytes
            of main memory that it was estimated to take.
    """
    import psutil  # late: it is slow to import

    free = int(psutil.virtual_memory().available)
    left = memory_left()
    if left is not None:
        free = min(free, left)
    mapped: dict[Path, int] = {}
    for pid, path, estimated in loaded:
        resident = shared = 0
        if pid is not None:
            with contextlib.suppress(psutil.Error):
                memory = psutil.Process(pid).memory_info()
                resident, shared = memory.rss, getattr(memory, "shared", 0)
        mapped[path] = max(mapped.get(path, 0), shared)
        free -= max(estimated - resident, 0)
    return max(free - sum(mapped.values()), 0)


def total_memory() -> int:
    """Return the bytes of main memory, or those of them that a container's limit grants."""
    import psutil  # late: it is slow to import

    total, limit = int(psutil.virtual_memory().total), memory_limit()
    return total if limit is None else min(total, limit)
