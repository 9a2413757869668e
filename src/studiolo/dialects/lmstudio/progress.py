"""Send the progress of work over a channel."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from ...merging_queue import MergingQueue

M = TypeVar("M")
T = TypeVar("T")


async def reporting(
    work: Callable[[Callable[[M], None]], Coroutine[Any, Any, T]],
    send: Callable[[M], Awaitable[None]],
    *,
    heartbeat_sec: float | None = None,
    repeatable: Callable[[M], bool] = lambda _: True,
) -> T:
    """Run ``work``, send its reports, and return its result. Cancelling the call cancels ``work``.

    Parameters:
        work: called with a function that emits a report. If the client reads slowly, only the newest of the unsent
            reports of one type is kept.
        send: sends a report.
        heartbeat_sec: seconds without a report after which the latest one is sent again; ``None`` for never.
        repeatable: returns whether a report may be sent again.
    """
    reports: MergingQueue[M] = MergingQueue(_newest)
    latest: M | None = None
    task = asyncio.ensure_future(work(reports.put))
    task.add_done_callback(lambda _: reports.close())
    try:
        while True:
            try:
                async with asyncio.timeout(heartbeat_sec):
                    waiting = await reports.get_all()
            except TimeoutError:
                if latest is not None and repeatable(latest):
                    await send(latest)
                continue
            if not waiting:
                return await task
            for latest in waiting:
                await send(latest)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


@contextlib.asynccontextmanager
async def heartbeats(send: Callable[[M], Awaitable[None]], message: M, interval_sec: float) -> AsyncGenerator[None]:
    """Send ``message`` at intervals for the length of the block, so that a long wait does not look like a dead host."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(interval_sec)
            await send(message)

    task = asyncio.create_task(repeat(), name="heartbeats")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _newest(last: M, new: M) -> M | None:
    return new if type(new) is type(last) else None
