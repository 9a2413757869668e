"""A prediction that is alive is never silent for long: before its first token, after it, and in the queue."""

from __future__ import annotations

import asyncio

import pytest
import studiolo_fake_engine as fake

from studiolo.config import PredictionConfig
from studiolo.domain.generation import Fragment, PredictionResult
from studiolo.domain.models import ModelReference
from studiolo.domain.progress import Queued
from studiolo.host.host import Host
from studiolo.host.prompt_progress import PromptReport
from tests.support.fake_host import load, predict, until


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studiolo.host.predictions.HEARTBEAT_SEC", 0.03)
    monkeypatch.setattr("studiolo.host.predictions.PLACE_INTERVAL_SEC", 0.01)


async def test_progress_is_repeated_before_and_after_the_first_token(fake_host: Host) -> None:
    gate = fake.models["alpha"].token.gate = asyncio.Event()
    fake.models["alpha"].stalls_after = 1
    async with fake_host.lease(ModelReference(name="alpha"), "llm") as lease:
        prediction = fake_host.predict(lease, "prompt", PredictionConfig())
        events = prediction.events()
        before = [await anext(events) for _ in range(4)]
        assert all(isinstance(event, PromptReport) for event in before)
        gate.set()
        while not isinstance(await anext(events), Fragment):
            pass
        after = [await anext(events) for _ in range(2)]
        assert [event.ratio for event in after if isinstance(event, PromptReport)] == [1.0, 1.0]
        await prediction.close()


async def test_one_that_waits_for_a_slot_reports_its_place(fake_host: Host) -> None:
    settings = fake_host.home.settings
    settings.write_text(settings.read_text() + '[models."alpha".load]\nmax_parallel_predictions = 1\n')
    await load(fake_host, "alpha")
    gate = fake.models["alpha"].token.gate = asyncio.Event()
    first = asyncio.create_task(predict(fake_host, "alpha"))
    await until(lambda: fake.running("alpha")[0].active)
    async with fake_host.lease(ModelReference(name="alpha"), "llm") as lease:
        events = fake_host.predict(lease, "prompt", PredictionConfig()).events()
        assert [await anext(events) for _ in range(3)] == [Queued(1)] * 3
        gate.set()
        rest = [event async for event in events]
    assert isinstance(rest[-1], PredictionResult)
    await first
