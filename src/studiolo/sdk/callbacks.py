"""Options and callbacks that users give by name: checked when given, called safely later."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from .arguments import callback

_log = logging.getLogger("studiolo.client")

CHOICES = frozenset({"on_mismatch"})
"""Options that are named like callbacks, and are not."""


def call(function: Callable[..., Any] | None, *arguments: Any) -> None:
    """Call ``function``, if there is one. An exception that it raises is logged and interrupts nothing."""
    if function is None:
        return
    try:
        function(*arguments)
    except Exception:
        _log.exception("the callback %r failed", function)


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
        if name.startswith(("on_", "handle_")) and name not in CHOICES:
            callback(value, name)
