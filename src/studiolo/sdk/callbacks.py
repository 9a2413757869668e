"""Calling what users hand in."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_log = logging.getLogger("studiolo.client")


def call(callback: Callable[..., Any] | None, *arguments: Any) -> None:
    """Call ``callback``, if there is one. What it raises is logged: it must not end what it is told about."""
    if callback is None:
        return
    try:
        callback(*arguments)
    except Exception:
        _log.exception("the callback %r failed", callback)


def check_callbacks(callbacks: DataclassInstance) -> None:
    """Raise :class:`ConfigError` where a field of ``callbacks`` is neither ``None`` nor an ordinary function."""
    for field in fields(callbacks):
        callback = getattr(callbacks, field.name)
        if callback is not None and not callable(callback):
            raise ConfigError(f"The callback {field.name} cannot be called: it is a {type(callback).__name__}")
        if inspect.iscoroutinefunction(callback):
            raise ConfigError(
                f"The callback {field.name} is async, and would never be awaited",
                suggestion="Make it an ordinary function; it may start a task.",
            )
