"""One call for each of many texts, a bounded number at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

R = TypeVar("R")

MAX_CONCURRENT_CALLS = 32
"""Enough to keep every slot of a model busy."""


async def gather(call: Callable[[str], Awaitable[R]], texts: Iterable[str]) -> list[R]:
    """Call ``call`` for each text, several at once; return the results in the order of the texts."""
    limit = asyncio.Semaphore(MAX_CONCURRENT_CALLS)

    async def call_limited(text: str) -> R:
        async with limit:
            return await call(text)

    tasks = [asyncio.ensure_future(call_limited(text)) for text in texts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
