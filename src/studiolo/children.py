"""Signals to the processes that asyncio has started."""

from __future__ import annotations

import contextlib
import os
import signal
from asyncio.subprocess import Process


def send_signal(process: Process, number: signal.Signals) -> None:
    """Send a signal to a child process; nothing happens where it has ended.

    ``Process.send_signal`` and ``Process.kill`` may reap the process before asyncio does, which then takes its exit
    status for 255 and logs a warning. A signal by the number of the process does neither.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
