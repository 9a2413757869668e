"""Load settings that are asked for, and are not in force on an instance that is loaded already."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator, Sequence

import pytest
import studiolo_fake_engine as fake

import studiolo as lm
from studiolo.config import GpuSetting, LoadConfig
from studiolo.config.mismatch import Mismatch, described, mismatches
from studiolo.domain.models import ModelReference
from studiolo.errors import LoadMismatchError, LoadMismatchWarning
from studiolo.host.host import Host
from studiolo.host.instance import Instance
from studiolo.host.load_progress import LoadWatcher
from studiolo.host.on_demand import MAX_LOGGED_MISMATCHES, LoadRequest
from studiolo.paths import Home
from studiolo.sdk import background
from studiolo.sdk.transports.embedded import close_hosts
from tests.support.fake_host import load, until


@pytest.mark.parametrize(
    ("asked", "in_force", "expected"),
    [
        (LoadConfig(), LoadConfig(context_length=512), []),
        (LoadConfig(context_length=512), LoadConfig(context_length=512), []),
        (LoadConfig(context_length=256), LoadConfig(context_length=512), [("context_length", 256, 512)]),
        (LoadConfig(seed=7), LoadConfig(), [("seed", 7, None)]),
        (LoadConfig(seed=False), LoadConfig(seed=-1), []),
        (LoadConfig(try_mmap=True, use_unified_kv_cache=False, auto_fit=True), LoadConfig(context_length=512), []),
        (LoadConfig(try_mmap=False), LoadConfig(), [("try_mmap", False, None)]),
        (LoadConfig(eval_batch_size=64), LoadConfig(eval_batch_size=32), [("eval_batch_size", 64, 32)]),
        (LoadConfig(llama_k_cache_quantization_type=False), LoadConfig(llama_k_cache_quantization_type="f16"), []),
        (LoadConfig(auto_fit_min_context_length=300), LoadConfig(context_length=512), []),
        (LoadConfig(auto_fit_min_context_length=600), LoadConfig(context_length=512), [("context_length", 600, 512)]),
        (LoadConfig(gpu=GpuSetting(ratio="max")), LoadConfig(gpu=GpuSetting(ratio="max", main_gpu=1)), []),
        (LoadConfig(gpu=GpuSetting(ratio=0.5, split_strategy="evenly")), LoadConfig(), [("gpu.ratio", 0.5, None)]),
        (LoadConfig(gpu=GpuSetting(split_strategy="evenly", disabled_gpus=[])), LoadConfig(), []),
    ],
)
def test_what_differs(asked: LoadConfig, in_force: LoadConfig, expected: list[tuple[object, ...]]) -> None:
    assert mismatches(asked, in_force) == [Mismatch(*each) for each in expected]  # type: ignore[arg-type]


def test_a_sentence_has_each_field_and_both_values() -> None:
    found = [Mismatch("context_length", 256, 512), Mismatch("flash_attention", True, None), Mismatch("ttl", 5, None)]
    assert described("m", found) == (
        "m is already loaded with other settings: context_length is 512, not 256;"
        " flash_attention is the default, not True; ttl is None, not 5"
    )


async def get(host: Host, name: str, **request: object) -> tuple[Instance, list[str]]:
    """Ask for a model, as a client does; return the instance and the settings that are not in force."""
    seen: list[str] = []

    def note(_: Instance, found: Sequence[Mismatch]) -> None:
        seen.extend(each.name for each in found)

    watcher = LoadWatcher(on_mismatch=note)
    return await load(host, name, "llm", LoadRequest(explicit=True, watcher=watcher, **request)), seen  # type: ignore[arg-type]


async def test_a_loaded_instance_is_kept_and_the_differences_are_reported(fake_host: Host) -> None:
    config = LoadConfig(context_length=512)
    first, seen = await get(fake_host, "alpha", config=config, ttl_sec=60.0)
    assert seen == []
    assert await get(fake_host, "alpha", config=config, ttl_sec=60.0, compares_ttl=True) == (first, [])
    other = LoadConfig(context_length=256, max_parallel_predictions=2, seed=1)
    assert await get(fake_host, "alpha", config=other, ttl_sec=9.0) == (
        first,
        ["context_length", "max_parallel_predictions", "seed"],
    )
    assert await get(fake_host, "alpha", ttl_sec=9.0, compares_ttl=True) == (first, ["ttl"])


async def test_the_log_has_each_difference_once_for_an_instance(
    fake_host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    await get(fake_host, "alpha", config=LoadConfig(context_length=512))
    for _ in range(3):
        for seed in (1, 2):
            assert (await get(fake_host, "alpha", config=LoadConfig(seed=seed)))[1] == ["seed"]
    logged = [each.message for each in caplog.records if each.levelname == "WARNING"]
    assert logged == [f"alpha is already loaded with other settings: seed is the default, not {n}" for n in (1, 2)]
    caplog.clear()
    for seed in range(2 * MAX_LOGGED_MISMATCHES):
        await get(fake_host, "alpha", config=LoadConfig(seed=seed))
    assert sum(each.levelname == "WARNING" for each in caplog.records) == MAX_LOGGED_MISMATCHES - 2
    await get(fake_host, "alpha", config=LoadConfig(context_length=512, seed=3), on_mismatch="reload")
    caplog.clear()
    await get(fake_host, "alpha", config=LoadConfig(seed=1))
    assert "seed is 3, not 1" in caplog.text


async def test_defaults_of_the_settings_file_are_not_asked_for(fake_host: Host) -> None:
    first, _ = await get(fake_host, "alpha", config=LoadConfig(context_length=512))
    with fake_host.home.settings.open("a") as file:
        file.write("[models.alpha.load]\nseed = 5\n")
    assert await get(fake_host, "alpha") == (first, [])


async def test_a_request_that_shares_the_load_of_another_gets_the_differences_too(fake_host: Host) -> None:
    fake.models["alpha"].load.gate = asyncio.Event()
    first = asyncio.create_task(get(fake_host, "alpha", config=LoadConfig(context_length=512)))
    await until(fake_host.instances.all)
    second = asyncio.create_task(get(fake_host, "alpha", config=LoadConfig(context_length=256)))
    await asyncio.sleep(0.01)
    fake.models["alpha"].load.gate.set()
    assert (await first)[1] == [] and (await second)[1] == ["context_length"]


async def test_error_refuses_and_reload_loads_again(fake_host: Host) -> None:
    mine = await fake_host.load(await fake_host.find_model("alpha"), LoadConfig(context_length=512), identifier="mine")
    other = LoadConfig(context_length=256)
    with pytest.raises(LoadMismatchError, match=r"mine is already loaded.*context_length is 512, not 256") as refused:
        await get(fake_host, "alpha", config=other, on_mismatch="error")
    assert refused.value.data["mismatches"] == [{"name": "context_length", "asked": 256, "in_force": 512}]
    assert await get(fake_host, "alpha", config=LoadConfig(context_length=512), on_mismatch="reload") == (mine, [])
    again, seen = await get(fake_host, "alpha", config=other, on_mismatch="reload")
    assert (again.identifier, again.context_length, again.evictable, again.ttl_sec) == ("mine", 256, False, None)
    assert seen == [] and again is not mine and fake_host.instances.all() == [again]


async def test_a_reload_waits_for_those_who_use_the_instance(fake_host: Host) -> None:
    await get(fake_host, "alpha", config=LoadConfig(context_length=512))
    async with fake_host.lease(ModelReference(name="alpha"), "llm") as lease:
        other = LoadConfig(context_length=256)
        reload = asyncio.create_task(get(fake_host, "alpha", config=other, on_mismatch="reload"))
        await until(lambda: lease.instance.state == "draining")
        assert not reload.done()
    assert (await reload)[0].context_length == 256


@pytest.fixture
def client(fake_home: Home) -> Iterator[lm.Client]:
    with lm.Client("embedded") as client:
        yield client
    background.run(close_hosts())


def test_the_sync_api_warns_once_at_the_place_of_the_call(client: lm.Client) -> None:
    first = client.llm.model("alpha", config={"context_length": 512})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):
            assert client.llm.model("alpha", config={"contextLength": 256}, ttl=5) == first
        client.llm.model("alpha", config={"contextLength": 256}, ttl=5)
        client.llm.model(config={"contextLength": 256})
        next(each for each in client.llm.list_downloaded() if each.model_key == "alpha").model(config={"seed": 4})
        client.llm.model("alpha", config={"contextLength": 512})
        client.llm.model("alpha")
    assert [each.category for each in caught] == [LoadMismatchWarning] * 4
    assert {each.filename for each in caught} == {__file__}
    lines = [each.lineno for each in caught]
    assert lines == [lines[0], lines[0] + 1, lines[0] + 2, lines[0] + 3]
    assert str(caught[0].message).endswith("context_length is 512, not 256; ttl is 3600.0, not 5.0")
    with pytest.raises(LoadMismatchError, match="seed"):
        client.llm.model("alpha", config={"seed": 4}, on_mismatch="error")
    with pytest.raises(lm.ConfigError, match="'on_mismatch' is 'never'"):
        client.llm.model("alpha", on_mismatch="never")  # type: ignore[arg-type]
    again = client.llm.model("alpha", config={"contextLength": 256}, on_mismatch="reload")
    assert again.get_context_length() == 256
    named = client.llm.load_new_instance("alpha", "named", config={"contextLength": 128})
    assert named.get_load_config().context_length == 128


def test_the_async_api_warns_at_the_place_of_the_call(fake_home: Home) -> None:
    async def main() -> None:
        async with lm.AsyncClient("embedded") as client:
            await client.llm.model("alpha", config={"context_length": 512})
            with pytest.warns(LoadMismatchWarning, match="not 256") as caught:
                await client.llm.model("alpha", config={"contextLength": 256})
            assert [each.filename for each in caught] == [__file__]

    asyncio.run(main())
    background.run(close_hosts())


def test_a_warning_that_is_an_error_is_raised_by_the_call(client: lm.Client) -> None:
    client.llm.model("alpha", config={"context_length": 512})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(LoadMismatchWarning):
            client.llm.model("alpha", config={"contextLength": 256})
