"""Questions of several lines, between two fences."""

from __future__ import annotations

FENCE = '"""'


def is_open(text: str) -> bool:
    """Return whether a text begins with a fence and does not end with another one."""
    text = text.strip()
    return text.startswith(FENCE) and not (len(text) >= 2 * len(FENCE) and text.endswith(FENCE))


def without_fences(text: str) -> str:
    """Return the text between two fences; a text without them stays as it is."""
    stripped = text.strip()
    if not stripped.startswith(FENCE):
        return text
    return stripped.removeprefix(FENCE).removesuffix(FENCE).strip("\n")
