"""The life of instances and their leases, on the fake engine: loads, evictions, unloads, drains, crashes."""

from __future__ import annotations

import asyncio
import math

import pytest
import studiolo_fake_engine as fake

from studiolo.config import LoadConfig, PredictionConfig
from studiolo.domain.models import ModelReference
from studiolo.errors import (
    EngineDiedError,
    EngineStartError,
    HostError,
    ModelNotFoundError,
    ModelUnloadedError,
    QuarantinedError,
    StoppingError,
)
from studiolo.host.host import Host
from studiolo.host.load_progress import LoadWatcher
from studiolo.host.on_demand import LoadRequest
from tests.support.fake_host import embed, load, predict, result_of, until
from tests.support.fake_models import add_model
from tests.support.running import PATIENCE_SEC


async def test_a_load_on_demand_waits_for_the_embeddings_of_the_model_that_it_evicts(fake_host: Host) -> None:
    gate = fake.models["vectors"].embed.gate = asyncio.Event()
    embedding = asyncio.create_task(embed(fake_host))
    await until(lambda: any(engine.active for engine in fake.running("vectors")))
    alpha = await load(fake_host, "alpha")
    assert [instance.state for instance in fake_host.instances.all()] == ["draining", "ready"]
    gate.set()
    assert await embedding
    await until(lambda: fake_host.instances.all() == [alpha])


async def test_a_draining_instance_serves_requests_that_name_it_and_any_model_means_another(fake_host: Host) -> None:
    gate = fake.models["alpha"].token.gate = asyncio.Event()
    first = asyncio.create_task(predict(fake_host, "alpha"))
    await until(lambda: any(engine.active for engine in fake.running("alpha")))
    beta = await load(fake_host, "beta")
    second = asyncio.create_task(predict(fake_host, "alpha"))
    await until(lambda: fake.running("alpha")[0].active == 2)
    assert await load(fake_host, None) is beta
    gate.set()
    assert (await first).stop_reason == (await second).stop_reason == "end_of_text"
    assert len(fake.engines) == 2
    await until(lambda: fake_host.instances.all() == [beta])


async def test_those_who_wait_for_a_load_get_an_error_when_the_model_is_unloaded(fake_host: Host) -> None:
    fake.models["alpha"].load.gate = asyncio.Event()
    waiters = [asyncio.create_task(load(fake_host, "alpha")) for _ in range(2)]
    await until(lambda: fake.running("alpha") and len(fake_host.instances.all()[0].leases) == 2)
    explicit = asyncio.create_task(fake_host.load(await fake_host.find_model("alpha"), LoadConfig(), identifier="own"))
    await until(lambda: len(fake.running("alpha")) == 2)
    await asyncio.gather(fake_host.unload("alpha"), fake_host.unload("own"))
    for waiter in [*waiters, explicit]:
        with pytest.raises(ModelUnloadedError, match="was unloaded"):
            async with asyncio.timeout(PATIENCE_SEC):
                await waiter
    assert fake.running() == []


async def test_a_load_that_is_unloaded_before_its_first_step_frees_its_name(fake_host: Host) -> None:
    model = await fake_host.find_model("alpha")
    first = asyncio.create_task(fake_host.load(model, LoadConfig(), identifier="own"))
    unload = asyncio.create_task(fake_host.unload("own"))
    with pytest.raises(ModelUnloadedError):
        await first
    await unload
    async with asyncio.timeout(PATIENCE_SEC):
        await fake_host.load(model, LoadConfig(), identifier="own")
    assert await load(fake_host, "own") is fake_host.instances.all()[0]


async def test_a_load_is_given_up_with_the_last_one_who_waits_for_it(fake_host: Host) -> None:
    fake.models["alpha"].load.gate = asyncio.Event()
    waiters = [asyncio.create_task(load(fake_host, "alpha")) for _ in range(3)]
    await until(lambda: fake.running("alpha") and len(fake_host.instances.all()[0].leases) == 3)
    for waiter in waiters:
        assert fake_host.instances.all()
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
    assert fake_host.instances.all() == [] and fake.running() == []


async def test_two_requests_share_a_load_though_the_evicted_model_takes_longer_to_end(fake_host: Host) -> None:
    await load(fake_host, "beta")
    stop = fake.models["beta"].stop.gate = asyncio.Event()
    requests = [asyncio.create_task(load(fake_host, name)) for name in ("alpha", "alpha", "ALPHA", "fake/alpha")]
    await until(lambda: fake.running("beta")[0].stopping)
    later = asyncio.create_task(load(fake_host, "alpha"))
    await asyncio.sleep(0.02)
    stop.set()
    instances = await asyncio.gather(later, *requests)
    assert len(set(instances)) == 1
    assert [engine.key for engine in fake.engines] == ["beta", "alpha"]


async def test_the_next_model_is_loaded_when_the_evicted_one_has_ended(fake_host: Host) -> None:
    await load(fake_host, "beta")
    stop = fake.models["beta"].stop.gate = asyncio.Event()
    request = asyncio.create_task(load(fake_host, "alpha"))
    await until(lambda: fake.running("beta")[0].stopping)
    await asyncio.sleep(0.02)
    assert fake.running("alpha") == []
    stop.set()
    await request


async def test_a_drain_waits_for_embeddings_and_takes_no_new_work(fake_host: Host) -> None:
    gate = fake.models["vectors"].embed.gate = asyncio.Event()
    embedding = asyncio.create_task(embed(fake_host))
    await until(lambda: any(engine.active for engine in fake.running("vectors")))
    drain = asyncio.create_task(fake_host.drain(60))
    await asyncio.sleep(0.02)
    assert not drain.done()
    for request in (embed(fake_host), predict(fake_host, "alpha"), load(fake_host, "alpha")):
        with pytest.raises(StoppingError):
            await request
    gate.set()
    await drain
    assert embedding.done() and embedding.result()


async def test_a_drain_ends_what_takes_too_long(fake_host: Host) -> None:
    fake.models["vectors"].embed.gate = asyncio.Event()
    fake.models["alpha"].endless = True
    fake.models["alpha"].token.sec = 0.001
    fake_host.home.settings.write_text(fake_host.home.settings.read_text() + "auto_evict = false\n")
    embedding = asyncio.create_task(embed(fake_host))
    prediction = asyncio.create_task(predict(fake_host, "alpha", max_tokens=False))
    await until(lambda: len([engine for engine in fake.running() if engine.active]) == 2)
    await fake_host.drain(0.01)
    with pytest.raises(ModelUnloadedError):
        await embedding
    assert (await prediction).stop_reason == "unloaded"


async def test_closing_a_prediction_does_not_swallow_the_callers_cancellation(fake_host: Host) -> None:
    fake.models["alpha"].token.gate = asyncio.Event()
    async with fake_host.lease(ModelReference(name="alpha"), "llm") as lease:
        prediction = fake_host.predict(lease, "prompt", PredictionConfig())
        await until(lambda: any(engine.active for engine in fake.running("alpha")))

        async def close() -> str:
            await prediction.close()
            return "continued"

        closing = asyncio.create_task(close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
    assert (await result_of(prediction)).stop_reason == "cancelled"


async def test_an_unload_ends_running_predictions_with_a_result_and_calls_with_an_error(fake_host: Host) -> None:
    fake.models["alpha"].token.gate = asyncio.Event()
    fake.models["alpha"].tokenize.gate = asyncio.Event()
    running = [asyncio.create_task(predict(fake_host, "alpha", str(number))) for number in range(6)]

    async def tokenize() -> list[int]:
        async with fake_host.lease(ModelReference(name="alpha"), "llm") as lease, lease.on_engine() as engine:
            return await engine.tokenize("a b")

    call = asyncio.create_task(tokenize())
    await until(lambda: any(engine.active == 5 for engine in fake.running("alpha")))
    await fake_host.unload("alpha")
    assert {(await each).stop_reason for each in running} == {"unloaded"}
    with pytest.raises(ModelUnloadedError):
        await call


async def test_an_unload_that_its_caller_gives_up_is_carried_through(fake_host: Host) -> None:
    alpha = await load(fake_host, "alpha")
    stop = fake.models["alpha"].stop.gate = asyncio.Event()
    unload = asyncio.create_task(fake_host.unload("alpha"))
    await until(lambda: fake.running("alpha")[0].stopping)
    unload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await unload
    assert alpha.state == "gone" and fake_host.instances.all() == []
    stop.set()
    await alpha.unloaded()
    assert fake.running() == []


async def test_a_cancelled_request_stays_cancelled_when_its_instance_is_unloaded_at_once(fake_host: Host) -> None:
    fake.models["vectors"].embed.gate = asyncio.Event()
    embedding = asyncio.create_task(embed(fake_host))
    await until(lambda: any(engine.active for engine in fake.running("vectors")))
    embedding.cancel()
    await fake_host.unload("vectors")
    with pytest.raises(asyncio.CancelledError):
        await embedding


async def test_a_lease_that_comes_to_an_instance_as_it_is_unloaded_gets_an_error(fake_host: Host) -> None:
    alpha = await load(fake_host, "alpha")
    lease = alpha.lease()
    await fake_host.unload("alpha")  # nobody holds the lease yet, so that its revocation ends nothing
    with pytest.raises(ModelUnloadedError):
        async with asyncio.timeout(PATIENCE_SEC), lease.on_engine():
            pass
    lease.release()


async def test_a_cancelled_load_returns_when_its_engine_has_ended(fake_host: Host) -> None:
    fake.models["alpha"].load.gate = asyncio.Event()
    fake.models["alpha"].stop.sec = 0.05
    loading = asyncio.create_task(load(fake_host, "alpha"))
    await until(lambda: fake.running("alpha"))
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert not fake.running("alpha") and not fake_host.instances.all()


async def test_a_death_fails_what_runs_and_the_next_request_restarts_the_engine_once(fake_host: Host) -> None:
    fake.models["alpha"].token.gate = asyncio.Event()
    running = [asyncio.create_task(predict(fake_host, "alpha", on_engine_failure="error")) for _ in range(4)]
    await until(lambda: any(engine.active == 4 for engine in fake.running("alpha")))
    fake.models["alpha"].token.gate = None
    fake.engines[0].kill()
    for each in running:
        with pytest.raises(EngineDiedError, match="SIGKILL"):
            await each
    (alpha,) = fake_host.instances.all()
    assert alpha.state == "crashed" and len(fake_host.instances.crashes.reports[0].running) == 4
    results = await asyncio.gather(*(predict(fake_host, "alpha") for _ in range(4)))
    assert {result.stop_reason for result in results} == {"end_of_text"}
    assert alpha.state == "ready" and len(fake.engines) == 2


async def test_a_death_is_noticed_without_a_request(fake_host: Host) -> None:
    alpha = await load(fake_host, "alpha")
    fake.engines[0].kill()
    await until(lambda: alpha.state == "crashed")
    assert fake_host.instances.loaded() == [alpha]


async def test_a_model_that_keeps_dying_is_quarantined_until_it_is_loaded_explicitly(fake_host: Host) -> None:
    fake_host.home.settings.write_text(fake_host.home.settings.read_text() + "[limits]\ncrash_limit = 2\n")
    fake.models["alpha"].dies_after = 1
    for _ in range(2):
        with pytest.raises(EngineDiedError):
            await predict(fake_host, "alpha", on_engine_failure="error")
    (alpha,) = fake_host.instances.all()
    await until(lambda: alpha.state == "quarantined")
    with pytest.raises(QuarantinedError):
        await predict(fake_host, "alpha")
    await fake_host.unload("alpha")
    with pytest.raises(QuarantinedError):
        await predict(fake_host, "alpha")
    fake.models["alpha"].dies_after = None
    again = await fake_host.load(alpha.model, LoadConfig())
    assert again.state == "ready" and (await predict(fake_host, "alpha")).stop_reason == "end_of_text"


async def test_a_failed_load_fails_all_who_wait_for_it_and_leaves_nothing(fake_host: Host) -> None:
    fake.models["alpha"].load_fails = True
    gate = fake.models["alpha"].load.gate = asyncio.Event()
    waiters = [asyncio.create_task(load(fake_host, "alpha")) for _ in range(3)]
    await until(lambda: fake.running("alpha") and len(fake_host.instances.all()[0].leases) == 3)
    gate.set()
    requests = await asyncio.gather(*waiters, return_exceptions=True)
    assert [type(error) for error in requests] == [EngineStartError] * 3
    assert fake_host.instances.all() == [] and len(fake.engines) == 1
    fake.models["alpha"].load_fails = False
    assert (await load(fake_host, "alpha")).state == "ready"


async def test_an_idle_instance_is_unloaded_after_its_time_to_live_and_a_busy_one_is_not(fake_host: Host) -> None:
    gate = fake.models["vectors"].embed.gate = asyncio.Event()
    request = LoadRequest(ttl_sec=0.05)
    async with fake_host.lease(ModelReference(name="vectors"), "embedding", "", request):
        embedding = asyncio.create_task(embed(fake_host))
        await until(lambda: any(engine.active for engine in fake.running("vectors")))
    await asyncio.sleep(0.15)
    assert len(fake_host.instances.all()) == 1
    gate.set()
    await embedding
    await until(lambda: not fake_host.instances.all())
    forever = await load(fake_host, "vectors", "embedding", LoadRequest(ttl_sec=math.inf))
    await asyncio.sleep(0.05)
    assert fake_host.instances.all() == [forever]


async def test_a_taken_identifier_is_refused_and_a_second_instance_is_numbered(fake_host: Host) -> None:
    model = await fake_host.find_model("alpha")
    one, two = await asyncio.gather(*(fake_host.load(model, LoadConfig()) for _ in range(2)))
    assert {one.identifier, two.identifier} == {"alpha", "alpha:2"}
    with pytest.raises(HostError, match="already exists"):
        await fake_host.load(model, LoadConfig(), identifier="alpha:2")


async def test_any_model_with_vision_is_one_that_sees(fake_host: Host) -> None:
    add_model(fake_host.home, "eyes", vision=True)
    for vision, expected in ((True, "eyes"), (False, "alpha")):
        async with fake_host.lease(ModelReference(vision=vision), "llm") as lease:
            assert lease.instance.model.key == expected
    async with fake_host.lease(ModelReference(vision=True, name="eyes"), "llm") as lease:
        assert lease.instance.model.vision
    for reference in (ModelReference(vision=True, name="alpha"), ModelReference(domain="embedding", name="alpha")):
        with pytest.raises(ModelNotFoundError):
            async with fake_host.lease(reference, "llm"):
                pass


async def test_one_who_joins_a_load_sees_how_far_it_is(fake_host: Host) -> None:
    gate = fake.models["alpha"].load.gate = asyncio.Event()
    await load(fake_host, "beta")
    happened: list[tuple[str, str, object]] = []

    def watcher(who: str) -> LoadWatcher:
        return LoadWatcher(
            on_evict=lambda instance: happened.append((who, "evict", instance.identifier)),
            on_start=lambda model: happened.append((who, "start", model.key)),
            on_progress=lambda ratio: happened.append((who, "progress", ratio)),
        )

    first = asyncio.create_task(load(fake_host, "alpha", request=LoadRequest(watcher=watcher("first"))))
    await until(lambda: fake.running("alpha"))
    second = asyncio.create_task(load(fake_host, "alpha", request=LoadRequest(watcher=watcher("second"))))
    await asyncio.sleep(0.01)
    gate.set()
    await asyncio.gather(first, second)
    own = [what[1:] for what in happened if what[0] == "first"]
    assert own[:2] == [("evict", "beta"), ("start", "alpha")] and own[-1] == ("progress", 1.0)
    joined = [what[1:] for what in happened if what[0] == "second"]
    assert joined[0] == ("start", "alpha") and joined[-1] == ("progress", 1.0)


async def test_requests_for_any_model_wait_for_the_one_that_is_loaded_at_startup(fake_host: Host) -> None:
    gate = fake.models["beta"].load.gate = asyncio.Event()
    startup = fake_host.load_at_startup("beta")
    await until(lambda: fake.running("beta"))
    request = asyncio.create_task(load(fake_host, None))
    await asyncio.sleep(0.01)
    assert not request.done()
    gate.set()
    assert await request is await startup
    assert not startup.result().evictable and len(fake.engines) == 1
