"""The one background event loop of a process: the sync API runs on it, and so does an embedded host."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import functools
import logging
import os
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .. import daemon_threads
from ..errors import HostError, UsageError
from ..platform.fork import after_fork_in_child
from .callbacks import call

T = TypeVar("T")

CallQueue = queue.SimpleQueue[Callable[[], None] | None]
"""Calls to make in the thread that waits; ``None`` ends them."""

_log = logging.getLogger("studiolo.client")

LOOK_SEC = 0.1
"""How often a thread that waits looks for signals. One that comes just before it falls asleep in a lock does not wake
it, and Python would see it only after the wait: Ctrl-C would be lost."""

CLOSE_LIMIT_SEC = 15.0
"""How long the end of the program may wait for hosts and clients to stop."""


class _Background:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        daemon_threads.use_for(self.loop)
        self.closers: set[Callable[[], Coroutine[Any, Any, None]]] = set()
        self.finishing: set[asyncio.Task[None]] = set()
        self.thread = threading.Thread(target=self._run, name="studiolo", daemon=True)
        try:
            daemon_threads.start_thread(self.thread)
        except BaseException:
            self.loop.close()
            raise
        atexit.register(self.close)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def close(self) -> None:
        if self.pid != os.getpid() or self.loop.is_closed():
            return
        future = asyncio.run_coroutine_threadsafe(self._stop_everything(), self.loop)
        try:
            future.result(CLOSE_LIMIT_SEC)
        except Exception:
            _log.exception("could not stop hosts and clients in order")
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(CLOSE_LIMIT_SEC)
        if not self.thread.is_alive():
            self.loop.close()

    async def _stop_everything(self) -> None:
        for closer in self.closers:
            try:
                await closer()
            except Exception:
                _log.exception("could not stop hosts and clients in order")
        mine = asyncio.current_task()
        rest = [task for task in asyncio.all_tasks() if task is not mine]
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=CLOSE_LIMIT_SEC)


_background: _Background | None = None
_lock = threading.Lock()
_inherited: list[object] = []
"""The parent's loop after a fork: kept from the garbage collector, which would stop what belongs to the parent."""


def _start_afresh() -> None:
    global _background, _lock
    _inherited.append(_background)
    _background, _lock = None, threading.Lock()  # another thread may have held the lock at the fork


after_fork_in_child(_start_afresh)


def _get() -> _Background:
    global _background
    with _lock:
        if _background is None:
            _background = _Background()
        return _background


def finish(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` that releases something, from any thread: the garbage collector may call it.

    On the background loop it is started without waiting for it; at the end of the program it is dropped.
    """
    background = _get()
    if background.loop.is_closed():
        work.close()
    elif threading.current_thread() is background.thread:
        task = background.loop.create_task(work)
        background.finishing.add(task)
        task.add_done_callback(background.finishing.discard)
    else:
        run(work)


def loop() -> asyncio.AbstractEventLoop:
    """Return the background loop; it is started by the first call."""
    return _get().loop


def at_close(closer: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Await ``closer()`` on the background loop when the program ends."""
    _get().closers.add(closer)


def _outside() -> asyncio.AbstractEventLoop:
    """Return the background loop, for a thread that will wait for it."""
    background = _get()
    if background.loop.is_closed():
        raise UsageError("The program is ending: studiolo has stopped")
    if threading.current_thread() is background.thread:
        raise UsageError("The sync API cannot be called from studiolo's own event loop")
    return background.loop


def run(work: Coroutine[Any, Any, T], calls: CallQueue | None = None) -> T:
    """Run ``work`` on the background loop and wait for it.

    An interrupted wait (Ctrl-C) cancels the work and leaves the loop as it was.

    Parameters:
        calls: callbacks that :func:`called_from` has redirected, which are called in this thread meanwhile.

    Raises:
        UsageError: called on the background loop itself, which would wait for itself, or as the program ends.
        HostError: the work was cancelled on the background loop.
    """
    try:
        outside = _outside()
    except UsageError:
        work.close()
        raise
    future = asyncio.run_coroutine_threadsafe(work, outside)
    try:
        if calls is not None:
            future.add_done_callback(lambda _: calls.put(None))
            while (waiting := _next(calls)) is not None:
                waiting()
        return _result(future)
    except concurrent.futures.CancelledError:
        raise HostError("The host cancelled the call") from None
    except BaseException:
        future.cancel()
        raise


def _next(calls: CallQueue) -> Callable[[], None] | None:
    while True:
        with contextlib.suppress(queue.Empty):
            return calls.get(timeout=LOOK_SEC)


def _result(future: concurrent.futures.Future[T]) -> T:
    while True:
        try:
            return future.result(LOOK_SEC)
        except TimeoutError:
            if future.done():  # it may be the work's own
                return future.result()


def called_from(calls: CallQueue, callback: Callable[..., Any]) -> Callable[..., None]:
    """Return a function for the background loop that has ``callback`` called in the thread that reads ``calls``."""
    return lambda *arguments: calls.put(functools.partial(call, callback, *arguments))


async def run_from_anywhere(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` on the background loop and await it, from whichever loop this is."""
    target = loop()
    if asyncio.get_running_loop() is target:
        return await work
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, target))
