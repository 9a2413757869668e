"""Pools of daemon threads."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from studiolo.daemon_threads import DaemonThreads
from studiolo.errors import UsageError
from tests.support.running import PATIENCE_SEC, wait_until


@pytest.fixture
def pool() -> Iterator[DaemonThreads]:
    pool = DaemonThreads(2, "test")
    yield pool
    pool.shutdown()


def test_threads_start_as_they_are_needed_and_no_more_than_the_limit(pool: DaemonThreads) -> None:
    names: set[str] = set()
    for _ in range(10):
        names.add(pool.submit(lambda: threading.current_thread().name).result(PATIENCE_SEC))
        wait_until(lambda: not pool._unfinished, "the thread to be free")  # it has its result before
    assert names == {"test-0"}
    together = threading.Barrier(2)
    waiting = [pool.submit(together.wait, PATIENCE_SEC) for _ in range(4)]
    assert sorted(future.result(PATIENCE_SEC) for future in waiting) == [0, 0, 1, 1]
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("test-")] == ["test-0", "test-1"]


def test_an_error_is_raised_to_the_caller_alone(pool: DaemonThreads) -> None:
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 / 0).result(PATIENCE_SEC)
    with pytest.raises(SystemExit):
        pool.submit(sys.exit, 3).result(PATIENCE_SEC)
    assert pool.submit(int, "7").result(PATIENCE_SEC) == 7


def test_what_waits_is_cancelled_by_a_shutdown_that_says_so() -> None:
    for cancels in (True, False):
        pool = DaemonThreads(1, "test")
        gate, began = threading.Event(), threading.Event()

        def wait(began: threading.Event = began, gate: threading.Event = gate) -> bool:
            began.set()
            return gate.wait(PATIENCE_SEC)

        running = pool.submit(wait)
        assert began.wait(PATIENCE_SEC)
        waiting = pool.submit(int, "7")
        pool.shutdown(cancel_futures=cancels)
        assert waiting.cancelled() == cancels
        gate.set()
        assert running.result(PATIENCE_SEC) and (cancels or waiting.result(PATIENCE_SEC) == 7)
        with pytest.raises(UsageError, match="'test'"):
            pool.submit(int)


def test_the_program_does_not_wait_for_them() -> None:
    code = (
        "import time\n"
        "from studiolo.daemon_threads import DaemonThreads\n"
        "DaemonThreads(1, 'test').submit(time.sleep, 600)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
