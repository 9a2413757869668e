"""Options and callbacks that users give by name: checked when given, called safely later."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ConfigError

_log = logging.getLogger("studiolo.client")

CHOICES = frozenset({"on_mismatch"})
"""Options that are named like callbacks, and are not."""


def call(callback: Callable[..., Any] | None, *arguments: Any) -> None:
    """Call ``callback``, if there is one. An exception that it raises is logged and interrupts nothing."""
    if callback is None:
        return
    try:
        callback(*arguments)
    except Exception:
        _log.exception("the callback %r failed", callback)


def check_options(function: str, options: Mapping[str, Any], known: type) -> None:
    """Check what was given to ``function`` by name.

    Parameters:
        known: the :class:`TypedDict` of the options that it takes.

    Raises:
        TypeError: an option is unknown.
        ConfigError: a callback cannot be called, or is async.
    """
    for name, value in options.items():
        if name not in known.__annotations__:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
        if value is None or name in CHOICES or not name.startswith(("on_", "handle_")):
            continue
        if not callable(value):
            raise ConfigError(f"The callback {name} is a {type(value).__name__}, which cannot be called")
        if inspect.iscoroutinefunction(value):
            raise ConfigError(
                f"The callback {name} is async and would never be awaited",
                suggestion="Make it an ordinary function; it may start a task.",
            )
