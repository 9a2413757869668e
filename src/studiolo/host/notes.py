"""What the user should know of a model, from several places, as one text."""

from __future__ import annotations


def joined(*notes: str | None) -> str | None:
    """Return the notes that there are, as one; ``None`` for none."""
    return "; ".join(note.removesuffix(".") for note in notes if note is not None) or None
