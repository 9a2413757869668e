"""Text that may be the beginning of a marker: what must be held back until more of it is known."""

from __future__ import annotations


def overlap(text: str, marker: str) -> int:
    """Return how many characters at the end of ``text`` may be the beginning of ``marker``."""
    for length in range(min(len(text), len(marker) - 1), 0, -1):
        if marker.startswith(text[-length:]):
            return length
    return 0
