"""The event loop of a program: which one it runs on, and how signals reach it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .features import has

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` as :func:`asyncio.run` does, on uvloop where it is installed."""
    if sys.platform == "win32" or not has("uvloop"):
        return asyncio.run(work)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def on_stop_signal(callback: Callable[[signal.Signals], None]) -> None:
    """Call ``callback`` on the running loop when this process is asked to stop: SIGINT, SIGTERM, SIGBREAK on Windows.

    Elsewhere also SIGHUP, which is sent when the terminal closes, unless it is ignored, as under ``nohup``. Call this
    in the main thread.
    """
    loop = asyncio.get_running_loop()
    if sys.platform != "win32" and has("signals"):
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, callback, number)
        return

    def handle(number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(callback, signal.Signals(number))

    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), handle)
