"""Forked processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def after_fork_in_child(callback: Callable[[], None]) -> None:
    """Call ``callback`` in each process that this one forks; nothing happens where processes cannot fork."""
    if sys.platform != "win32" and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=callback)
