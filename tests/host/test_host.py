"""The host's rules: what is loaded when, what makes way, whose settings apply."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from studiolo.config import LoadConfig, PredictionConfig
from studiolo.domain.generation import PredictionResult
from studiolo.domain.models import ModelReference
from studiolo.errors import HostError, ModelNotFoundError, UnsupportedError
from studiolo.host.host import Host
from studiolo.host.instance import Instance
from studiolo.host.load_progress import LoadWatcher
from studiolo.host.machine import device_name
from studiolo.host.on_demand import LoadRequest
from studiolo.paths import Home
from tests.support.running import wait_until

pytestmark = pytest.mark.quick_model

MODEL = "smollm2-135m-instruct"
SMALL = LoadConfig(context_length=256, max_parallel_predictions=1)


@pytest.fixture
async def host(home: Home) -> AsyncIterator[Host]:
    """A host with three models: the default one, and the same file under two other names."""
    weights = next(path for path in home.models.rglob("*.gguf") if path.name.startswith("SmolLM2"))
    for name in ("twin", "third"):
        twin = home.models / "test" / name / f"{name}.gguf"
        twin.parent.mkdir(parents=True)
        twin.symlink_to(weights.resolve().parent / weights.resolve().name)
    small = "context_length = 256\nmax_parallel_predictions = 1\n"
    home.settings.write_text("".join(f'[models."{name}".load]\n{small}' for name in (MODEL, "twin", "third")))
    host = Host(home)
    yield host
    await host.stop()


async def lease(host: Host, name: str, request: LoadRequest | None = None) -> Instance:
    """Use the instance called ``name`` for a moment, as a request does."""
    async with host.lease(ModelReference(name=name), "llm", "", request or LoadRequest()) as lease:
        return lease.instance


async def get_or_load(host: Host, name: str, **request: Any) -> Instance:
    return await lease(host, name, LoadRequest(explicit=True, **request))


def identifiers(host: Host) -> list[str]:
    return [instance.identifier for instance in host.instances.all()]


async def run(host: Host, instance: Instance, prompt: str, **config: object) -> PredictionResult:
    prediction = host.predict(instance.lease(), prompt, PredictionConfig(**config))  # type: ignore[arg-type]
    events = [event async for event in prediction.events()]
    assert isinstance(events[-1], PredictionResult)
    return events[-1]


async def test_a_model_loaded_just_in_time_makes_way_for_the_next(host: Host) -> None:
    host.home.settings.write_text("[loading]\njit_ttl_sec = 77\n")
    by_hand = await host.load(await host.find_model("third"), SMALL, identifier="by-hand")
    first = await lease(host, "twin")
    assert (first.evictable, first.ttl_sec) == (True, 77)
    assert (by_hand.evictable, by_hand.ttl_sec) == (False, None)
    second = await lease(host, MODEL)
    assert second.evictable
    assert identifiers(host) == ["by-hand", MODEL]
    assert first.pid is None


async def test_what_a_client_gets_on_demand_makes_way_too_and_is_called_as_asked(host: Host) -> None:
    gone: list[str] = []
    first = await get_or_load(host, "test/twin")
    assert (first.identifier, first.evictable, first.ttl_sec) == ("test/twin", True, 3600)
    assert await get_or_load(host, "test/twin") is first
    assert await get_or_load(host, "twin") is first  # the same model by another name
    watcher = LoadWatcher(on_evict=lambda each: gone.append(each.identifier))
    second, again = await asyncio.gather(
        get_or_load(host, MODEL, ttl_sec=60, watcher=watcher),
        get_or_load(host, MODEL.upper()),
    )
    assert second is again and second.ttl_sec in (60, 3600)
    assert gone in ([], ["test/twin"]) and identifiers(host) == [second.identifier]
    third = await get_or_load(host, "third", stays=True)
    assert (third.evictable, third.ttl_sec) == (False, None)
    assert identifiers(host) == [second.identifier, "third"]


async def test_queries(host: Host) -> None:
    one = await host.load(await host.find_model(MODEL), SMALL, identifier="one")
    two = await host.load(await host.find_model("twin"), SMALL, identifier="two")
    model = one.model

    async def find(**query: object) -> Instance | None:
        return await host.find_loaded(ModelReference(**query), "llm")  # type: ignore[arg-type]

    for name in (MODEL, MODEL.upper(), model.relative_path, str(model.path), model.relative_path.rpartition("/")[0]):
        assert await find(name=name) is one, name
        assert await find(path=name) is one, name
    assert await find(name="two") is two
    assert await find(name="two", path=MODEL) is None
    assert await find(path="test/twin") is two and await find(path="two") is None
    assert await find() is one
    assert await find(domain="llm", vision=False) is one
    assert await find(domain="embedding") is None and await find(vision=True) is None
    assert await find(name="one", vision=True) is None
    assert await find(device=device_name()) is one
    with pytest.raises(UnsupportedError, match="'elsewhere'"):
        await find(device="elsewhere")
    for query in (
        ModelReference(domain="embedding"),
        ModelReference(vision=True),
        ModelReference(name="third", vision=True),
    ):
        with pytest.raises(ModelNotFoundError, match="is loaded"):  # and nothing of another kind is loaded for it
            async with host.lease(query, "llm"):
                pass


async def test_a_busy_model_makes_way_when_it_is_idle(host: Host) -> None:
    first = await lease(host, "twin")
    prediction = host.predict(first.lease(), "1 2 3 4 5 6 7", PredictionConfig(temperature=0, repeat_penalty=False))
    stream = prediction.events()
    await anext(stream)
    await lease(host, MODEL)
    events = [event async for event in stream]
    assert isinstance(events[-1], PredictionResult)
    assert events[-1].stop_reason == "context_full"  # to its own end
    await asyncio.to_thread(wait_until, lambda: identifiers(host) == [MODEL], "the first model to go")


async def test_without_auto_evict_both_stay(host: Host) -> None:
    host.home.settings.write_text("[loading]\nauto_evict = false\n")
    await lease(host, "twin")
    await lease(host, MODEL)
    assert identifiers(host) == ["twin", MODEL]


async def test_just_in_time_loading_can_be_switched_off(host: Host) -> None:
    host.home.settings.write_text("[loading]\njit = false\n")
    with pytest.raises(ModelNotFoundError, match="No model is loaded as"):
        await lease(host, MODEL)
    await host.load(await host.find_model(MODEL), SMALL)
    assert (await lease(host, MODEL)).identifier == MODEL


async def test_a_second_instance_is_numbered_and_a_taken_identifier_refused(host: Host) -> None:
    model = await host.find_model(MODEL)
    await host.load(model, SMALL)
    assert (await host.load(model, SMALL)).identifier == f"{MODEL}:2"
    with pytest.raises(HostError, match=r"^A model with the identifier .* already exists"):
        await host.load(model, SMALL, identifier=f"{MODEL}:2")


async def test_a_prediction_that_is_stopped_before_its_first_step_has_an_end(host: Host) -> None:
    instance = await lease(host, MODEL)
    prediction = host.predict(instance.lease(), "Once upon a time", PredictionConfig())
    prediction.stop()
    async with asyncio.timeout(20):
        (result,) = [event async for event in prediction.events()]
    assert isinstance(result, PredictionResult) and result.stop_reason == "cancelled"


async def test_settings_of_a_model_go_between_the_request_and_the_defaults(host: Host) -> None:
    host.home.settings.write_text(
        f"""
        [models."{MODEL}"]
        load = {{ context_length = 320, max_parallel_predictions = 2 }}
        prediction = {{ temperature = 0, max_tokens = 5 }}
        """
    )
    model = await host.find_model(MODEL)
    instance = await host.load(model, LoadConfig(max_parallel_predictions=1))
    assert (instance.config.context_length, instance.config.max_parallel_predictions) == (320, 1)
    prediction = host.predict(instance.lease(), "Once upon a time", PredictionConfig())
    *_, first = [event async for event in prediction.events()]
    in_force = prediction.config
    assert (in_force.temperature, in_force.max_tokens, in_force.top_k) == (0, 5, 40)
    assert first.usage.predicted_tokens == 5
    assert (await run(host, instance, "Once upon a time", max_tokens=2)).usage.predicted_tokens == 2


async def test_a_crash_is_an_event(host: Host) -> None:
    instance = await host.load(await host.find_model(MODEL), SMALL)
    with host.instances.events.subscribe() as events:
        assert instance.pid is not None
        os.kill(instance.pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            report = await anext(aiter(events))
    assert (report.identifier, report.running) == (MODEL, [])
    assert "SIGKILL" in report.reason
    assert report in host.instances.crashes.reports
