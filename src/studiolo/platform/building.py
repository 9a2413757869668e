"""What a build of a program depends on: names of programs, package managers, priorities."""

from __future__ import annotations

import sys
from typing import Literal

PackageManager = Literal["apt", "brew"]

LOW_PRIORITY = 10
"""The niceness of a program that should leave the machine usable: 0 is usual, 19 the lowest priority."""


def executable(name: str) -> str:
    """Return the file name of the program ``name``."""
    return f"{name}.exe" if sys.platform == "win32" else name


def package_manager() -> PackageManager | None:
    """Return what users of this system most likely install tools with; ``None`` where that cannot be said."""
    if sys.platform == "darwin":
        return "brew"
    return "apt" if sys.platform == "linux" else None


def has_metal() -> bool:
    """Return whether the system has Metal."""
    return sys.platform == "darwin"


def lower_priority() -> None:
    """Give this process, and those that it starts from now on, a low priority."""
    import psutil  # late: it takes a while to import

    own = psutil.Process()
    own.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else max(int(own.nice()), LOW_PRIORITY))
