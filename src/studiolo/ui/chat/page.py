"""The chat page."""

from __future__ import annotations

from ..elements import heading


async def build(conversation_id: str | None = None) -> None:
    """Make the elements of the page."""
    heading("Chat", 1)
