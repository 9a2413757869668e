"""Lines of the terminal: read by a thread that can be asked to stop, and found again with the arrow keys."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Callable, Iterable

LOOK_SEC = 0.1
"""How often a thread that waits looks whether it must stop."""


def read_line(show: Callable[[], None], cancelled: threading.Event) -> str:
    """Return a line of the terminal; empty when ``cancelled`` is set. On Windows, the thread waits for one in any case.

    Parameters:
        show: shows what is asked. What was typed before it is called does not count.
        cancelled: ends the wait.
    """
    if sys.platform == "win32":
        show()
        return input()
    import termios

    termios.tcflush(0, termios.TCIFLUSH)
    show()
    line = b""
    while not cancelled.is_set() and not line.endswith(b"\n"):
        is_typed = bool(select.select([0], [], [], LOOK_SEC)[0])
        if is_typed and not cancelled.is_set():  # what is typed later is for the next prompt
            if not (piece := os.read(0, 4096)):
                break
            line += piece
    return "" if cancelled.is_set() else line.decode(errors="replace").strip()


def remember(lines: Iterable[str]) -> None:
    """Have the arrow keys find earlier lines where ``input`` is used. Windows has no readline, nor have some builds."""
    if sys.platform == "win32":
        return
    try:
        import readline
    except ImportError:
        return
    for line in lines:
        if "\n" not in line:
            readline.add_history(line)
