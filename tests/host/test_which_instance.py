"""Which instance answers, and what is said of one that is no longer loaded."""

from __future__ import annotations

import asyncio
import re

import pytest

from studiolo.config import LoadConfig
from studiolo.domain.models import ModelReference
from studiolo.errors import IdentifierNotFoundError, ModelNotFoundError, ModelUnloadedError
from studiolo.host.departed import KEPT, Departure, Departures
from studiolo.host.host import Host
from studiolo.host.instance import Instance
from studiolo.host.on_demand import LoadRequest
from tests.support.fake_host import load, predict, until

SMALL = LoadConfig(context_length=256)
EXPLICIT = LoadRequest(explicit=True)


async def load_as(host: Host, name: str, identifier: str, ttl_sec: float | None = None) -> Instance:
    return await host.load(await host.find_model(name), SMALL, identifier=identifier, ttl_sec=ttl_sec)


@pytest.mark.parametrize("name", ["alpha", "ALPHA", "fake/alpha", "fake/alpha/alpha.gguf", "alph", "mine"])
async def test_a_model_under_an_identifier_of_its_own_is_found_by_its_names(fake_host: Host, name: str) -> None:
    mine = await load_as(fake_host, "alpha", "mine")
    other = LoadRequest(explicit=True, config=LoadConfig(context_length=512))
    assert await load(fake_host, name, request=EXPLICIT) is mine
    assert await load(fake_host, name, request=other) is mine
    assert await load(fake_host, str(mine.model_path), request=EXPLICIT) is mine
    assert fake_host.instances.all() == [mine]


async def test_one_that_is_being_loaded_is_found_too(fake_host: Host) -> None:
    loading = asyncio.create_task(load_as(fake_host, "alpha", "mine"))
    await until(fake_host.instances.all)
    assert await load(fake_host, "alpha", request=EXPLICIT) is await loading


async def test_of_several_the_one_of_that_identifier_else_the_one_used_last_answers(fake_host: Host) -> None:
    first, second = await load_as(fake_host, "alpha", "first"), await load_as(fake_host, "alpha", "second")
    await predict(fake_host, "first", max_tokens=1)
    assert await load(fake_host, "alpha") is first
    await predict(fake_host, "second", max_tokens=1)
    assert await load(fake_host, "alpha") is second
    plain = await load_as(fake_host, "alpha", "alpha")
    await predict(fake_host, "second", max_tokens=1)
    assert await load(fake_host, "alpha") is plain


async def refusals(host: Host, instance: Instance) -> list[str]:
    """Return what the errors of all who ask for an instance that is gone say."""
    name = instance.identifier
    texts: list[str] = []
    with pytest.raises(ModelNotFoundError) as used:
        await predict(host, name)
    with pytest.raises(ModelNotFoundError) as asked_for:
        await load(host, name, request=EXPLICIT)
    with pytest.raises(IdentifierNotFoundError) as unloaded:
        await host.unload(name)
    with pytest.raises(ModelUnloadedError) as by_reference:
        await host.find_loaded(ModelReference(instance=instance.reference), "llm")
    texts = [str(each.value) for each in (used, asked_for, unloaded, by_reference)]
    assert used.value.data["query"] == {"identifier": name}
    return texts


async def test_the_error_says_that_the_idle_time_ended_it(fake_host: Host) -> None:
    instance = await load_as(fake_host, "alpha", "e", ttl_sec=0.02)
    await asyncio.sleep(0.1)
    for text in await refusals(fake_host, instance):
        assert "'e' (model alpha) was unloaded after 0.02 s of idleness (its ttl)" in text
        assert "studiolo load alpha --identifier e" in text and "load_new_instance('alpha', 'e')" in text


async def test_the_error_says_that_a_client_unloaded_it(fake_host: Host) -> None:
    instance = await load_as(fake_host, "alpha", "e")
    await fake_host.unload("e")
    for text in await refusals(fake_host, instance):
        assert re.search(r"'e' \(model alpha\) was unloaded by a client, \d+ s ago", text)


async def test_the_error_says_that_it_made_room_for_another(fake_host: Host) -> None:
    instance = await load(fake_host, "fake/alpha", request=EXPLICIT)
    await load(fake_host, "beta", request=EXPLICIT)
    await until(lambda: instance.state == "gone")
    with pytest.raises(ModelUnloadedError, match=r"to make room for beta \(loading.auto_evict\)"):
        await fake_host.find_loaded(ModelReference(instance=instance.reference), "llm")
    assert (await load(fake_host, "fake/alpha")).state == "ready", "a model's own name loads it again"


async def test_a_use_that_is_cut_short_says_why(fake_host: Host) -> None:
    instance = await load_as(fake_host, "alpha", "e")
    lease = instance.lease()
    await fake_host.unload("e")
    with pytest.raises(ModelUnloadedError, match="The model e was unloaded by a client"):
        async with lease.held():
            pass


async def test_after_a_restart_the_error_says_that_there_was_one(fake_host: Host) -> None:
    with pytest.raises(ModelNotFoundError, match=r"host started \d+ s ago; what was loaded before its start is gone"):
        await predict(fake_host, "mine")
    with pytest.raises(ModelNotFoundError) as asked_for:
        await load(fake_host, "mine", request=EXPLICIT)
    assert "started" not in str(asked_for.value), "a load by name is not about what was loaded"


def test_a_bounded_number_is_remembered() -> None:
    departures = Departures()
    for number in range(KEPT + 10):
        departures.note(Departure(f"e{number}", "m", "by a client"), f"reference-{number}")
    assert departures.of("e0") is None and departures.of(f"reference-{KEPT + 9}") is departures.of(f"e{KEPT + 9}")
    assert departures.of("e10") is not None


async def test_an_empty_name_or_path_is_no_model_and_never_any_model(fake_host: Host) -> None:
    await load(fake_host, "alpha")
    for reference in (
        ModelReference(name=""),
        ModelReference(path=""),
        ModelReference(path="", vision=False),
        ModelReference(name=" "),
    ):
        with pytest.raises(ModelNotFoundError):
            async with fake_host.lease(reference, "llm", ""):
                pass
