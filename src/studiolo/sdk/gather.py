"""One call for each of many texts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from ..errors import ConfigError

R = TypeVar("R")

AT_ONCE = 32
"""Calls under way at a time: enough to keep every slot of a model busy."""


async def each(work: Callable[[str], Awaitable[R]], texts: Iterable[str]) -> list[R]:
    """Do ``work`` for each text, several at a time; the results are in the texts' order.

    Raises:
        ConfigError: one of them is no text.
    """
    wanted = list(texts)
    for text in wanted:
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"The input has a {type(text).__name__} in it, not only str")
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(text: str) -> R:
        async with limit:
            return await work(text)

    tasks = [asyncio.ensure_future(one(text)) for text in wanted]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
