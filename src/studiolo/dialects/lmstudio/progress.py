"""Work that tells how far it is, over a channel."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
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
    """Run ``work`` and send on what it reports, until it ends; returns its result. Ended with it when it is cancelled.

    Parameters:
        work: is given a function to report with. Of reports of one kind that wait for a client to read, beyond a
            slack, only the newest is kept.
        send: sends a report.
        heartbeat_sec: where it is silent for so long, the latest report is sent again.
        repeatable: whether a report may be sent again.
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


def _newest(last: M, new: M) -> M | None:
    return new if type(new) is type(last) else None
