"""How long a model stays loaded after a request: the field ``keep_alive``."""

from __future__ import annotations

import math
import re
from typing import Any

from ...host.instance import Instance
from ..http.fields import wrong

KeepAliveValue = float | str | None

FOREVER = math.inf

_UNITS = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")
_DURATION = re.compile(rf"[-+]?(?:{_PART.pattern})+")


def seconds(value: Any) -> float | None:
    """Return the seconds that ``keep_alive`` means: a number of them, or a duration as the language Go writes it.

    :data:`FOREVER` for a negative one; ``None`` where the request says nothing.

    Raises:
        InvalidRequestError: it is neither.
    """
    if value is None:
        return None
    if isinstance(value, str):
        found = _parsed(value.strip())
        if found is None:
            raise wrong(
                "keep_alive",
                f"{value[:40]!r} is no duration",
                'Send a number with a unit, such as "10m", or seconds as a number; -1 for ever, 0 to unload.',
            )
        value = found
    return FOREVER if value < 0 else float(value)


def keep(instance: Instance, keep_sec: float | None) -> None:
    """Set how long ``instance`` stays loaded, for the holder of a lease."""
    if keep_sec is not None:
        instance.keep_for(None if keep_sec == FOREVER else keep_sec)


def _parsed(text: str) -> float | None:
    if text in ("0", "+0", "-0"):
        return 0.0
    if _DURATION.fullmatch(text) is None:
        return None
    total = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return -total if text.startswith("-") else total
