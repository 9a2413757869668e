"""Threads that never keep a program from ending, and that work while other threads outlive the main thread.

``concurrent.futures`` accepts no work once the main thread has ended, and waits for its threads when the program ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

from .errors import UsageError
from .platform.fork import after_fork_in_child

P = ParamSpec("P")
T = TypeVar("T")

SHARED_THREADS = 32


def start_thread(thread: threading.Thread) -> None:
    """Start a thread.

    Raises:
        UsageError: the program ends. Python 3.12.0 to 3.12.2 start none once the main thread has ended, later versions
            none in functions of ``atexit``.
    """
    try:
        thread.start()
    except RuntimeError as error:
        raise UsageError(
            "The program is ending, and no more threads can be started",
            cause=str(error),
            suggestion="Join the threads that use studiolo before the main thread ends.",
        ) from None


class DaemonThreads(Executor):
    """A pool of daemon threads, which start when they are first needed.

    Parameters:
        limit: how many there are at most; further work waits.
        name: the beginning of their names.
    """

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._unfinished = 0
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call ``fn`` in one of the threads; see :meth:`concurrent.futures.Executor.submit`.

        Raises:
            UsageError: the pool is shut down, or the program ends and no thread can be started any more.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise UsageError(f"The threads {self._name!r} are shut down")
            if self._unfinished >= self._threads < self._limit:
                self._start_thread()
            self._unfinished += 1
            self._work.put((future, functools.partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more work. Threads end with the work that they have; nobody waits for them."""
        with self._lock:
            self._closed = True
            with contextlib.suppress(queue.Empty):
                while cancel_futures:
                    if (item := self._work.get_nowait()) is not None:
                        item[0].cancel()
            for _ in range(self._threads):
                self._work.put(None)

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name=f"{self._name}-{self._threads}", daemon=True)
        try:
            start_thread(thread)
        except UsageError:
            if not self._threads:
                raise
        else:
            self._threads += 1

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            future, work = item
            if future.set_running_or_notify_cancel():
                try:
                    result = work()
                except BaseException as error:
                    future.set_exception(error)
                    del error
                else:
                    future.set_result(result)
                    del result
            with self._lock:
                self._unfinished -= 1
            del item, future, work


_shared = DaemonThreads(SHARED_THREADS, "studiolo-worker")


def _forget_threads() -> None:
    global _shared
    _shared = DaemonThreads(SHARED_THREADS, "studiolo-worker")


after_fork_in_child(_forget_threads)


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``function`` in a thread and return its result, as :func:`asyncio.to_thread` does."""
    return await asyncio.wrap_future(_shared.submit(function, *args, **kwargs))


def use_for(loop: asyncio.AbstractEventLoop) -> None:
    """Let an event loop run :func:`asyncio.to_thread` and look-ups of names in these threads."""
    run_in_executor = loop.run_in_executor

    def redirected(executor: Executor | None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        return run_in_executor(_shared if executor is None else executor, func, *args)

    loop.run_in_executor = redirected
