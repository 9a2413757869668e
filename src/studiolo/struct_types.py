"""Types that msgspec decodes: examined before their first use, by one thread at a time."""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import Any, TypeVar

import msgspec

from .platform.fork import after_fork_in_child

K = TypeVar("K")

KEPT = 1024
"""So many types are known to be examined; those of users may come and go."""

_lock = threading.RLock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()


after_fork_in_child(_renew_lock)


def examined(kind: K) -> K:
    """Return ``kind``, once msgspec has examined it. Every type that values are decoded or converted to passes here.

    msgspec examines a class when it is first used, keeps what it finds with it, and has two faults while it does so:
    the process crashes where another thread uses the class meanwhile, and what a signal's handler raises is dropped, so
    that Ctrl-C would be lost. Hence the lock, and another thread than the main one, where alone handlers run.
    """
    try:
        _examine(kind)
    except TypeError:  # it has no hash
        _examine.__wrapped__(kind)
    return kind


@functools.lru_cache(KEPT)
def _examine(kind: Any) -> None:
    if threading.current_thread() is threading.main_thread():
        thread = threading.Thread(target=_examine_here, args=(kind,), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the program is ending
            _examine_here(kind)
        else:
            thread.join()
    else:
        _examine_here(kind)


def _examine_here(kind: Any) -> None:
    with _lock, contextlib.suppress(Exception):  # its use will raise the same
        msgspec.json.Decoder(kind)
