"""The lock of an engine: shared by many, or held by one alone."""

from __future__ import annotations

import asyncio

import pytest

from studiolo.host.engine_gate import EngineGate
from tests.support.running import PATIENCE_SEC


@pytest.mark.parametrize("alone", [False, True])
async def test_a_waiter_that_is_cancelled_as_its_turn_comes_holds_nothing(alone: bool) -> None:
    gate = EngineGate()
    await gate.enter(alone=True)
    waiter = asyncio.create_task(gate.enter(alone=alone))
    behind = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    waiter.cancel()
    gate.leave()  # before the cancelled task runs
    with pytest.raises(asyncio.CancelledError):
        await waiter
    await behind
    assert gate.users == 1
    gate.leave()
    async with asyncio.timeout(PATIENCE_SEC):
        await gate.enter(alone=True)


async def test_one_alone_waits_for_those_before_it_and_goes_before_those_behind_it() -> None:
    gate = EngineGate()
    order: list[str] = []

    async def use(name: str, *, alone: bool = False) -> None:
        await gate.enter(alone=alone)
        order.append(name)
        await asyncio.sleep(0)
        assert not alone or gate.users == 1
        gate.leave()

    await asyncio.gather(use("a"), use("b"), use("alone", alone=True), use("c"))
    assert order == ["a", "b", "alone", "c"] and gate.users == 0
