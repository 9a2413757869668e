"""Ending with the parent: what a child process does so that it does not outlive the process that started it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

from .features import has

_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent(parent_pid: int) -> None:
    """End this process when its parent ends.

    The kernel sees to it on Linux, at once. Everywhere, a thread waits for the end of standard input, whose other end
    the parent holds open.
    """
    request_parent_death_signal(parent_pid)
    on_end_of_input(lambda: os._exit(1))


def request_parent_death_signal(parent_pid: int) -> bool:
    """Ask the kernel to kill this process when its parent ends, also after ``execve(2)``.

    Returns:
        Whether the kernel does that; ``False`` on systems other than Linux.
    """
    if sys.platform != "linux" or not has("parent-death-signal"):
        return False
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it ended before the call above
        os._exit(1)
    return True


def on_end_of_input(callback: Callable[[], None]) -> None:
    """Call ``callback`` in a thread when standard input ends. What comes before its end is discarded."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        callback()

    threading.Thread(target=wait, name="end of input", daemon=True).start()
