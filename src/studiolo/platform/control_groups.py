"""Limits of Linux's control groups (versions 1 and 2), those of the groups above included. Elsewhere there are none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")

UNLIMITED_BYTES = 1 << 60
"""Version 1 writes a limit beyond any memory for none."""


def cpu_quota() -> float | None:
    """Return the processors that this process may use at once on average; ``None`` for any number."""
    return min(_quotas(), default=None)


def memory_left() -> int | None:
    """Return the bytes of memory that the groups leave to this process; ``None`` for no limit."""
    return min((max(limit - used, 0) for limit, used in _memory()), default=None)


def memory_limit() -> int | None:
    """Return the bytes of memory that the groups grant; ``None`` for no limit."""
    return min((limit for _, limit, _ in _limits()), default=None)


def _quotas() -> Iterator[float]:
    for folder in _groups("cpu"):
        parts = _words(folder / "cpu.max")
        if len(parts) < 2:
            parts = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        if len(parts) == 2 and all(part.isdecimal() for part in parts) and int(parts[1]):
            yield int(parts[0]) / int(parts[1])  # "max" and -1 are no limit


def _memory() -> Iterator[tuple[int, int]]:
    """Yield the limit and the use of each group; pages that can be dropped are not in use."""
    for folder, limit, usage_name in _limits():
        usage = _words(folder / usage_name)
        if usage and usage[0].isdecimal():
            words = _words(folder / "memory.stat")
            statistics = dict(zip(words[::2], words[1::2], strict=False))
            droppable = statistics.get("total_inactive_file") or statistics.get("inactive_file") or "0"
            yield limit, max(int(usage[0]) - int(droppable), 0)


def _limits() -> Iterator[tuple[Path, int, str]]:
    """Yield the folder of each group that limits memory, the bytes, and the name of the file with those in use."""
    names = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
    for folder in _groups("memory"):
        for limit_name, usage_name in names:
            limit = _words(folder / limit_name)
            if limit and limit[0].isdecimal() and int(limit[0]) < UNLIMITED_BYTES:
                yield folder, int(limit[0]), usage_name


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of the groups of this process that may limit ``controller``, and of those above."""
    mounts = [(ROOT, "/")]  # in a container, the root is its own group
    try:
        entries = MEMBERSHIP.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        entries = []
    for number, controllers, path in (line.split(":", 2) for line in entries if line.count(":") >= 2):
        if number == "0" and not controllers:
            mounts.append((ROOT, path))
        elif controller in controllers.split(","):
            mounts += [(ROOT / name, place) for name in {controllers, controller} for place in ("/", path)]
    seen: set[Path] = set()
    for mount, path in mounts:
        folder = mount / path.lstrip("/")
        if ".." in folder.parts:
            continue  # of a group outside of this container
        for group in (folder, *folder.parents):
            if group not in seen and group.is_relative_to(mount):
                seen.add(group)
                yield group


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except (OSError, UnicodeDecodeError):
        return []
