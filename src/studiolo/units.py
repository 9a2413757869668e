"""Sizes and times as texts for people."""

from __future__ import annotations


def size(count: float) -> str:
    """Return a number of bytes, such as ``"1.21 GB"``."""
    for unit, letters in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.{2 if unit > 1e6 else 0}f} {letters}"
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """Return a time span, such as ``"3 min"``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
