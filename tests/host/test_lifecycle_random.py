"""Random programs of loads, requests, cancels, unloads, deaths and expiry on the fake engine, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import studiolo_fake_engine as fake
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from studiolo.config import LoadConfig
from studiolo.domain.models import ModelReference
from studiolo.errors import StudioloError
from studiolo.host.host import Host
from studiolo.host.on_demand import LoadRequest
from studiolo.paths import Home
from tests.support.fake_host import SETTINGS, embed, load, predict
from tests.support.fake_models import add_model
from tests.support.virtual_time import VirtualLoop

pytestmark = pytest.mark.slow

LLMS = st.sampled_from(["alpha", "beta", "gamma"])
SECONDS = st.sampled_from([0.0, 0.1, 0.7, 3.0, 40.0, 700.0])
CLIENTS = st.sampled_from(["one", "two", "three"])
LIVES = {"ready", "draining", "loading", "crashed", "quarantined"}


class Lifecycle(RuleBasedStateMachine):
    """One host. Each request is a task; after each step the invariants hold, and in the end nothing is left."""

    def __init__(self) -> None:
        super().__init__()
        fake.reset()
        self.loop = VirtualLoop()
        self.folder = TemporaryDirectory()
        self.home = Home(Path(self.folder.name) / "home")
        self.home.root.mkdir()
        for name in ("alpha", "beta", "gamma"):
            add_model(self.home, name)
        add_model(self.home, "vectors", architecture="bert")
        self.tasks: dict[asyncio.Task[Any], bool] = {}
        """The requests, and whether they were cancelled."""
        self.numbers = itertools.count()

    @initialize(
        guardrail=st.sampled_from(['"off"', "2500000", "4500000"]),
        auto_evict=st.booleans(),
        slots=st.integers(1, 2),
        stop_sec=st.sampled_from([0.0, 0.2, 5.0]),
        load_sec=st.sampled_from([0.0, 1.0]),
    )
    def start(self, guardrail: str, auto_evict: bool, slots: int, stop_sec: float, load_sec: float) -> None:
        text = SETTINGS.replace('"off"', f"{guardrail}\nauto_evict = {str(auto_evict).lower()}\njit_ttl_sec = 60")
        for name in ("alpha", "beta", "gamma", "vectors"):
            text += f'[models."{name}".load]\nmax_parallel_predictions = {slots}\n'
            fake.models[name].stop.sec = stop_sec
            fake.models[name].load.sec = load_sec
            fake.models[name].token.sec = fake.models[name].embed.sec = fake.models[name].tokenize.sec = 0.2
        self.home.settings.write_text(text)
        self.host: Host = self.run(self.make_host())

    async def make_host(self) -> Host:
        return Host(self.home)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        self.tasks[self.loop.create_task(work)] = False
        self.run(asyncio.sleep(0))

    @rule(name=LLMS, client=CLIENTS, draft=st.none() | LLMS)
    def request_a_prediction(self, name: str, client: str, draft: str | None) -> None:
        settings = {} if draft in (None, name) else {"draft_model": draft}
        self.begin(predict(self.host, name, client, **settings))

    @rule(name=LLMS, draft=LLMS)
    def request_drafted_predictions_of_two_clients(self, name: str, draft: str) -> None:
        others = [each for each in ("alpha", "beta", "gamma") if each != name]
        for client in others:
            self.begin(predict(self.host, name, client, draft_model=client))

    @rule()
    def request_an_embedding(self) -> None:
        self.begin(embed(self.host))

    @rule(name=LLMS)
    def request_tokens(self, name: str) -> None:
        async def tokenize() -> list[int]:
            async with self.host.lease(ModelReference(name=name), "llm") as lease, lease.on_engine() as engine:
                return await engine.tokenize("a b")

        self.begin(tokenize())

    @rule(name=st.none() | LLMS, ttl_sec=st.none() | st.just(0.5))
    def request_a_load_on_demand(self, name: str | None, ttl_sec: float | None) -> None:
        self.begin(load(self.host, name, request=LoadRequest(ttl_sec=ttl_sec, explicit=True)))

    @rule(name=LLMS, ttl_sec=st.none() | st.just(2.0))
    def load_explicitly(self, name: str, ttl_sec: float | None) -> None:
        async def begin() -> None:
            await self.host.load(await self.host.find_model(name), LoadConfig(), ttl_sec=ttl_sec)

        self.begin(begin())

    @rule(index=st.integers(0, 20))
    def cancel(self, index: int) -> None:
        unfinished = [task for task in self.tasks if not task.done()]
        if unfinished:
            task = unfinished[index % len(unfinished)]
            self.tasks[task] = True
            task.cancel()
            self.run(asyncio.sleep(0))

    @rule(index=st.integers(0, 5))
    def unload(self, index: int) -> None:
        if instances := self.host.instances.all():
            self.begin(self.host.unload(instances[index % len(instances)].identifier))

    @rule(index=st.integers(0, 5))
    def kill_an_engine(self, index: int) -> None:
        if engines := [engine for engine in fake.running() if not engine.stopping]:
            engines[index % len(engines)].kill()
            self.run(asyncio.sleep(0))

    @rule(name=LLMS, fails=st.booleans())
    def let_starts_fail(self, name: str, fails: bool) -> None:
        fake.models[name].load_fails = fails

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @invariant()
    def everything_is_in_order(self) -> None:
        if hasattr(self, "host"):
            self.run(self.check())

    async def check(self) -> None:
        instances = self.host.instances.all()
        unfinished = [task for task in self.tasks if not task.done()]
        assert {instance.state for instance in instances} <= LIVES
        leases = [lease for instance in instances for lease in instance.leases]
        assert len(leases) <= 2 * len(unfinished)  # one more while it moves to an instance with a draft model
        for instance in instances:
            assert 0 <= instance.slots.running <= instance.slots.count
            assert all(lease.instance is instance for lease in instance.leases)
            waited_for = instance.leases or instance._start_cancelled
            assert instance.state != "loading" or waited_for, "a load that nobody waits for is not ended"
            assert instance.state != "draining" or instance.leases, "an idle instance is kept from its end"
        on_demand = Counter((instance.model.key, instance.draft_path) for instance in instances if instance.evictable)
        assert all(count == 1 for count in on_demand.values()), f"loaded twice: {on_demand}"
        assert all(engine.most_in_slots <= engine.slots for engine in fake.engines)
        starting_or_running = [engine for engine in fake.running() if not engine.stopping]
        assert len(starting_or_running) <= len(instances) + len(self.host.instances._unloading)
        for task in self.tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                assert isinstance(error, StudioloError), repr(error)
            assert not task.done() or not task.cancelled() or self.tasks[task], "cancelled by nobody"

    def teardown(self) -> None:
        try:
            if hasattr(self, "host"):
                self.run(self.finish())
        finally:
            self.loop.close()
            self.folder.cleanup()

    async def finish(self) -> None:
        if self.tasks:
            async with asyncio.timeout(3_000):
                await asyncio.wait(self.tasks)
        await self.check()
        for instance in self.host.instances.all():
            assert not instance.leases and instance.gate.users == 0
            assert (instance.slots.running, instance.slots.waiting) == (0, 0)
        await self.host.stop()
        assert self.host.instances.all() == [] and fake.running() == []
        assert asyncio.all_tasks() == {asyncio.current_task()}


def test_random_programs() -> None:
    run_state_machine_as_test(
        Lifecycle,
        settings=settings(
            max_examples=100,
            stateful_step_count=25,
            derandomize=True,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
        ),
    )
