"""The queue for an instance's slots: order, fairness, bounds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from studiolo.errors import BusyError
from studiolo.host.slots import Slots
from studiolo.settings import LimitSettings
from tests.support.running import PATIENCE_SEC

LIMITS = LimitSettings()


class Work:
    """Predictions that hold a slot until they are ended."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.began: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, name: str, limits: LimitSettings = LIMITS) -> None:
        self.ends[name] = asyncio.Event()

        async def run() -> None:
            async with self.slots.slot(name[0], name, limits):
                self.began.append(name)
                await self.ends[name].wait()

        self.tasks[name] = asyncio.create_task(run())
        await asyncio.sleep(0)

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await self.tasks[name]
        await asyncio.sleep(0)


async def test_clients_take_turns() -> None:
    work = Work(Slots("model", 1))
    for name in ("a1", "a2", "a3", "a4", "b1", "b2", "c1"):
        await work.start(name)
    assert work.began == ["a1"]
    assert [ticket.owner for ticket in work.slots.queue()] == ["a2", "b1", "c1", "a3", "b2", "a4"]
    assert work.slots.place("a2") == 1
    assert work.slots.place("c1") == 3
    assert work.slots.place("a1") is None
    while len(work.began) < 7:
        await work.end(work.began[-1])
    assert work.began == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]
    await work.end("a4")
    assert (work.slots.running, work.slots.waiting) == (0, 0)


async def test_a_full_queue_answers_busy_with_figures() -> None:
    work = Work(Slots("model", 1))
    limits = LimitSettings(queue_length=1)
    await work.start("a1", limits)
    await work.start("a2", limits)
    with pytest.raises(BusyError, match=r"model is busy.*1 predictions run and 1 wait") as caught:
        async with work.slots.slot("b", "b1", limits):
            pass
    assert caught.value.data == {"running": 1, "waiting": 1, "parallel": 1}
    await work.end("a1")
    await work.end("a2")


async def test_a_wait_beyond_the_limit_answers_busy() -> None:
    work = Work(Slots("model", 1))
    await work.start("a1")
    with pytest.raises(BusyError, match=r"No slot came free within 0\.05 s"):
        async with work.slots.slot("b", "b1", LimitSettings(queue_wait_sec=0.05)):
            pass
    assert work.slots.waiting == 0
    await work.end("a1")
    assert work.slots.running == 0


async def test_who_gives_up_waiting_leaves_no_trace() -> None:
    work = Work(Slots("model", 1))
    for name in ("a1", "a2", "b1"):
        await work.start(name)
    work.tasks["a2"].cancel()
    await asyncio.wait([work.tasks["a2"]])
    assert [ticket.owner for ticket in work.slots.queue()] == ["b1"]
    await work.end("a1")
    assert work.began == ["a1", "b1"]
    await work.end("b1")


async def test_a_slot_granted_at_the_moment_of_giving_up_goes_to_the_next() -> None:
    work = Work(Slots("model", 1))
    for name in ("a1", "b1", "c1"):
        await work.start(name)
    work.ends["a1"].set()
    await asyncio.sleep(0)  # a1 ends and b1 is granted its slot, and has not run yet
    work.tasks["b1"].cancel()
    await asyncio.wait([work.tasks["a1"], work.tasks["b1"]])
    await asyncio.sleep(0)
    assert work.began[-1] == "c1"
    await work.end("c1")
    assert (work.slots.running, work.slots.waiting) == (0, 0)


async def test_slots_are_neither_lost_nor_made_under_random_cancelling() -> None:
    choose = random.Random(7)
    slots = Slots("model", 3)
    most = 0

    async def one(client: str) -> None:
        nonlocal most
        async with slots.slot(client, object(), LIMITS):
            most = max(most, slots.running)
            await asyncio.sleep(choose.random() / 500)

    tasks = [asyncio.create_task(one(choose.choice("abcde"))) for _ in range(300)]
    for task in choose.sample(tasks, 150):
        await asyncio.sleep(choose.random() / 1000)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 3
    assert (slots.running, slots.waiting, slots.queue()) == (0, 0, [])


async def test_with_a_free_slot_nobody_waits() -> None:
    async def soon(work: Callable[[], Awaitable[None]]) -> None:
        async with asyncio.timeout(PATIENCE_SEC):
            await work()

    slots = Slots("model", 2)

    async def use() -> None:
        async with slots.slot("a", 1, LimitSettings(queue_length=0)), slots.slot("b", 2, LimitSettings(queue_length=0)):
            assert slots.running == 2

    await soon(use)
    assert slots.running == 0
