"""Predictions that name draft models, on the fake engine: whose engine is restarted, and when."""

from __future__ import annotations

import asyncio

import pytest
import studiolo_fake_engine as fake

from studiolo.config import LoadConfig, PredictionConfig
from studiolo.domain.models import ModelReference
from studiolo.errors import DraftModelNotFoundError
from studiolo.host.host import Host
from tests.support.fake_host import load, predict, until
from tests.support.fake_models import add_model


def drafts() -> list[str | None]:
    """The draft models of the engines of ``alpha`` that were started, in order."""
    return [engine.draft for engine in fake.engines if engine.key == "alpha"]


def no_memory_for_a_second_instance(host: Host) -> None:
    """Set a guardrail that grants one instance of ``alpha`` with a draft model, and not two."""
    text = host.home.settings.read_text()
    host.home.settings.write_text(text.replace('guardrail = "off"', "guardrail = 3000000"))


async def test_an_idle_instance_takes_the_draft_model_by_a_restart(fake_host: Host) -> None:
    alpha = await load(fake_host, "alpha")
    await predict(fake_host, "alpha", draft_model="beta")
    assert drafts() == [None, "beta"] and fake_host.instances.all() == [alpha]
    await predict(fake_host, "alpha", draft_model="fake/beta")  # the same by another name
    await predict(fake_host, "alpha")  # a prediction that names none uses it as it is
    assert drafts() == [None, "beta"]


async def test_requests_share_a_restart_that_is_under_way(fake_host: Host) -> None:
    fake.models["alpha"].stop.gate = asyncio.Event()
    alpha = await load(fake_host, "alpha")
    first = asyncio.create_task(predict(fake_host, "alpha", draft_model="beta"))
    await until(lambda: any(engine.stopping for engine in fake.engines))
    second = asyncio.create_task(predict(fake_host, "alpha", draft_model="beta"))
    await asyncio.sleep(0.05)
    fake.models["alpha"].stop.gate.set()
    assert (await first).stop_reason == (await second).stop_reason == "end_of_text"
    assert drafts() == [None, "beta"] and fake_host.instances.all() == [alpha]


async def test_a_prediction_does_not_end_what_others_have_on_an_engine(fake_host: Host) -> None:
    gate = fake.models["alpha"].token.gate = asyncio.Event()
    other = asyncio.create_task(predict(fake_host, "alpha"))
    await until(lambda: any(engine.active for engine in fake.running("alpha")))
    drafting = asyncio.create_task(predict(fake_host, "alpha", draft_model="beta"))
    await until(lambda: len([engine for engine in fake.running("alpha") if engine.active]) == 2)
    gate.set()
    assert (await other).stop_reason == (await drafting).stop_reason == "end_of_text"
    assert drafts() == [None, "beta"]
    assert [(each.identifier, each.evictable) for each in fake_host.instances.all()] == [
        ("alpha", True),
        ("alpha:2", True),
    ]


async def test_two_clients_with_different_draft_models_do_not_restart_the_engine_for_each_prediction(
    fake_host: Host,
) -> None:
    async def client(draft: str) -> None:
        for _ in range(10):
            await predict(fake_host, "alpha", draft, draft_model=draft)

    await asyncio.gather(client("beta"), client("gamma"))
    assert sorted(filter(None, drafts())) == ["beta", "gamma"]


async def test_requests_for_one_draft_model_share_the_load_of_an_instance(fake_host: Host) -> None:
    gate = fake.models["alpha"].token.gate = asyncio.Event()
    other = asyncio.create_task(predict(fake_host, "alpha"))
    await until(lambda: any(engine.active for engine in fake.running("alpha")))
    drafting = [asyncio.create_task(predict(fake_host, "alpha", draft_model="beta")) for _ in range(4)]
    await until(lambda: sum(engine.active for engine in fake.running("alpha")) == 5)
    gate.set()
    await asyncio.gather(other, *drafting)
    assert drafts() == [None, "beta"]


async def test_without_memory_for_another_instance_predictions_take_turns(fake_host: Host) -> None:
    no_memory_for_a_second_instance(fake_host)
    gate = fake.models["alpha"].token.gate = asyncio.Event()
    first = asyncio.create_task(predict(fake_host, "alpha", draft_model="beta"))
    await until(lambda: any(engine.active for engine in fake.running("alpha")))
    ends: list[str] = []

    async def run(name: str, **config: object) -> None:
        assert (await predict(fake_host, "alpha", **config)).stop_reason == "end_of_text"
        ends.append(name)

    second = asyncio.create_task(run("second", draft_model="gamma"))
    await asyncio.sleep(0.2)
    third = asyncio.create_task(run("third"))  # comes later, and does not overtake
    await asyncio.sleep(0.05)
    assert len(fake.running("alpha")) == 1 and fake.running("alpha")[0].active == 1
    gate.set()
    assert (await first).stop_reason == "end_of_text"
    await asyncio.gather(second, third)
    assert drafts()[-1] == "gamma" and len(fake_host.instances.all()) == 1
    assert ends[0] in ("second", "third") and len(fake.running("alpha")) == 1


async def test_an_instance_with_another_load_config_is_not_taken(fake_host: Host) -> None:
    model = await fake_host.find_model("alpha")
    await fake_host.load(model, LoadConfig(context_length=512), identifier="short")
    await predict(fake_host, "short", draft_model="beta")
    long = await fake_host.load(model, LoadConfig(context_length=1024), identifier="long")
    await predict(fake_host, "long", draft_model="beta")
    assert long.draft is not None and long.draft.key == "beta"


async def test_a_draft_model_is_loaded_ahead_by_a_request_that_names_it(fake_host: Host) -> None:
    async with (
        fake_host.lease(ModelReference(name="alpha"), "llm") as lease,
        lease.on_engine(PredictionConfig(draft_model="beta")),
    ):
        pass
    await predict(fake_host, "alpha", draft_model="beta")
    assert drafts() == [None, "beta"]


async def test_a_draft_model_that_does_not_exist_leaves_the_engine_as_it_is(fake_host: Host) -> None:
    await load(fake_host, "alpha")
    with pytest.raises(DraftModelNotFoundError):
        await predict(fake_host, "alpha", draft_model="none-such")
    assert drafts() == [None] and fake.running("alpha")


async def test_a_failed_restart_leaves_the_settings_as_they_were(fake_host: Host) -> None:
    alpha = await load(fake_host, "alpha")
    fake.models["alpha"].load_fails = True
    with pytest.raises(Exception, match="did not start"):
        await predict(fake_host, "alpha", draft_model="beta")
    fake.models["alpha"].load_fails = False
    assert alpha.draft is None and alpha.state == "crashed"
    assert (await predict(fake_host, "alpha")).stop_reason == "end_of_text"


async def test_draft_models_of_the_tests_share_a_vocabulary(fake_host: Host) -> None:
    add_model(fake_host.home, "delta")
    await predict(fake_host, "alpha", draft_model="delta")
    assert drafts()[-1] == "delta"
