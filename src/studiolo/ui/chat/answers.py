"""The answers that come at the moment. They belong to the server, not to a page: a page can be closed and opened."""

from __future__ import annotations


async def stop_all_answers() -> None:
    """Stop every answer, and wait until what there is of it is stored."""
