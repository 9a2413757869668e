"""One call for each of many texts, a bounded number at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from ..errors import PredictionError, RequestTimeoutError, TimeLimitError

R = TypeVar("R")

MAX_CONCURRENT_CALLS = 32
"""Enough to keep every slot of a model busy."""


async def gather(call: Callable[[str], Awaitable[R]], texts: Iterable[str]) -> list[R]:
    """Call ``call`` for each text, several at once; return the results in the order of the texts.

    All calls are one piece of work: one that times out is repeated if others were answered meanwhile.

    Raises:
        PredictionError: of the same class as the call's, with the position of the text, counted from 1.
    """
    items = list(texts)
    limit = asyncio.Semaphore(MAX_CONCURRENT_CALLS)
    answered = 0

    async def call_limited(index: int) -> R:
        nonlocal answered
        async with limit:
            while True:
                before = answered
                try:
                    result = await call(items[index])
                except TimeLimitError:
                    raise
                except RequestTimeoutError:
                    if answered == before:
                        raise
                except PredictionError as error:
                    raise _at(error, index, len(items)) from None
                else:
                    answered += 1
                    return result

    tasks = [asyncio.ensure_future(call_limited(index)) for index in range(len(items))]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _at(error: PredictionError, index: int, count: int) -> PredictionError:
    """Return ``error`` with the position of its text."""
    title = f"Text {index + 1} of {count}: {error.title}"
    data = {**error.data, "index": index}
    return type(error)(title, cause=error.cause, suggestion=error.suggestion, data=data)
