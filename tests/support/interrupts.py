"""Ctrl-C in the main thread of the tests, while it waits for a call."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.running import wait_until

LIMIT_SEC = 30.0
"""What a call may take from the signal to its end: the calls of the tests have none of their own."""


@contextlib.contextmanager
def interrupted_when(condition: Callable[[], object]) -> Iterator[None]:
    """Expect the call in the block to be ended by an interrupt, which comes once ``condition`` is true."""
    sent: list[float] = []

    def interrupt() -> None:
        wait_until(condition, "the moment to interrupt")
        time.sleep(0.05)
        sent.append(time.monotonic())
        signal.pthread_kill(main, signal.SIGINT)

    main = threading.get_ident()
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        yield
    assert time.monotonic() - sent[0] < LIMIT_SEC
    thread.join()
