"""Calling what users hand in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

_log = logging.getLogger("studiolo.client")


def call(callback: Callable[..., Any] | None, *arguments: Any) -> None:
    """Call ``callback``, if there is one. What it raises is logged: it must not end what it is told about."""
    if callback is None:
        return
    try:
        callback(*arguments)
    except Exception:
        _log.exception("the callback %r failed", callback)
