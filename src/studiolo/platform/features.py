"""The features of operating systems that studiolo uses where they exist, and a switch for each."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from functools import cache
from typing import Literal, get_args

Feature = Literal[
    "cpu-timer",
    "file-locks",
    "file-modes",
    "parent-death-signal",
    "process-groups",
    "rename-open-files",
    "resource-limits",
    "signals",
    "unix-sockets",
    "uvloop",
]
"""
- ``cpu-timer``: a timer of processor time that ends the process (``ITIMER_PROF``).
- ``file-locks``: ``flock(2)``.
- ``file-modes``: permissions of owner, group and others.
- ``parent-death-signal``: ``PR_SET_PDEATHSIG`` of ``prctl(2)``, on Linux alone.
- ``process-groups``: ``setsid(2)`` and ``killpg(3)``.
- ``rename-open-files``: an open file can be renamed, and another take its name.
- ``resource-limits``: ``setrlimit(2)``.
- ``signals``: a process can ask another one to stop, and an event loop can handle that.
- ``unix-sockets``: Unix sockets, in Python and in the engine.
- ``uvloop``: the event loop of that name.
"""

SWITCH = "STUDIOLO_WITHOUT"
"""The environment variable that names the features not to use, separated by commas."""


def has(feature: Feature) -> bool:
    """Return whether this system has ``feature``, and it is not switched off.

    Raises:
        ConfigError: ``STUDIOLO_WITHOUT`` names a feature that does not exist.
    """
    return feature not in _switched_off(os.environ.get(SWITCH, "")) and _exists(feature)


@cache
def _switched_off(value: str) -> frozenset[str]:
    names = frozenset(name.strip() for name in value.split(",") if name.strip())
    if unknown := sorted(names - set(get_args(Feature))):
        from ..errors import ConfigError  # late: child processes that use little start faster

        raise ConfigError(
            f"The environment variable {SWITCH} names an unknown feature: {unknown[0]!r}",
            suggestion=f"Choose from: {', '.join(sorted(get_args(Feature)))}.",
        )
    return names


@cache
def _exists(feature: Feature) -> bool:
    windows = sys.platform == "win32"
    match feature:
        case "cpu-timer":
            return hasattr(signal, "setitimer")
        case "file-locks":
            return _importable("fcntl")
        case "parent-death-signal":
            return sys.platform == "linux"
        case "process-groups":
            return hasattr(os, "setsid") and hasattr(os, "killpg")
        case "resource-limits":
            return _importable("resource")
        case "file-modes" | "rename-open-files" | "signals" | "unix-sockets":
            return not windows
        case "uvloop":
            return _importable("uvloop")


def _importable(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True
