"""Items that a task of its own produces, as a generator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

_END = object()


async def produced(
    produce: Callable[[asyncio.Queue[T]], Awaitable[object]], at_most: int = 0
) -> AsyncGenerator[T, None]:
    """Yield what ``produce`` puts into a queue, and raise what it raises.

    It runs in a task of its own, which ends when the generator is closed.

    Parameters:
        at_most: items that wait; 0 for any number.
    """
    queue: asyncio.Queue[Any] = asyncio.Queue(at_most)
    is_closed = False

    async def run() -> None:
        try:
            await produce(queue)
        finally:
            if not is_closed:  # a task that has failed in a task group counts as cancelled to itself in Python 3.11
                await queue.put(_END)

    task = asyncio.create_task(run(), name="producer of a stream")
    try:
        while (item := await queue.get()) is not _END:
            yield item
        await task
    finally:
        is_closed = True
        task.cancel()
        await asyncio.wait([task])
