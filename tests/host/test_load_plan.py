"""What a load may take: limits of the model and the machine, the estimate, and the guardrail."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import psutil
import pytest

from studiolo.config import LoadConfig, load_config
from studiolo.domain.models import ModelReference
from studiolo.engines.llama_cpp.kind import LlamaCppKind
from studiolo.engines.spec import Device
from studiolo.errors import ConfigError, ModelNotFoundError, NotEnoughMemoryError
from studiolo.host.devices import Loaded
from studiolo.host.host import Host
from studiolo.host.load_plan import MIB, checked_settings, largest_context, plan_load, require
from studiolo.host.load_progress import LoadWatcher
from studiolo.library.gguf_file import Metadata
from studiolo.library.model import Model
from studiolo.library.model_shape import read_shape
from studiolo.paths import Home
from tests.support.engines import node_in
from tests.support.homes import DEFAULT_MODEL, link_model
from tests.support.running import children

MODEL = Model(
    key="small",
    group="small",
    origin="home",
    path=Path("/none/small.gguf"),
    relative_path="small.gguf",
    display_name="small",
    publisher="",
    size_bytes=1,
    metadata=Metadata(architecture="llama", max_context_length=2048),
)


def test_a_context_beyond_the_model_is_refused_unless_rope_stretches_it() -> None:
    with pytest.raises(ConfigError, match=r"'context_length' is 4096.*2048"):
        checked_settings(LoadConfig(context_length=4096), MODEL)
    assert checked_settings(LoadConfig(context_length=4096, rope_frequency_scale=0.5), MODEL).context_length == 4096


@pytest.mark.parametrize("field", ["cpu_thread_pool_size", "batch_threads"])
def test_more_threads_than_processors_are_refused(field: str) -> None:
    processors = os.cpu_count() or 1
    assert checked_settings(LoadConfig(**{field: processors}), MODEL)
    with pytest.raises(ConfigError, match=f"{field!r} is {processors + 1}"):
        checked_settings(LoadConfig(**{field: processors + 1}), MODEL)


@pytest.fixture
async def model(home: Home) -> Model:
    host = Host(home)
    try:
        return await host.find_model(DEFAULT_MODEL)
    finally:
        await host.stop()


ROOM = 100_000
"""MiB of main memory, where a test does not say otherwise: enough for anything."""

KIND = LlamaCppKind(node_in(Path("/none")))


def settled(
    model: Model,
    guardrail: Any = "off",
    loaded: list[Loaded] | None = None,
    free: int = ROOM,
    gpus: tuple[Device, ...] = (),
    **config: Any,
) -> Any:
    """The settings in force and the estimate of a load, with ``free`` MiB of main memory."""
    checked = checked_settings(load_config(config), model)
    devices = [Device(name="main memory", free_bytes=free * MIB, total_bytes=ROOM * MIB, gpu=False), *gpus]
    return plan_load(model, read_shape(model), checked, guardrail, KIND, devices, loaded or [])


def gpu(name: str, free: int) -> Device:
    return Device(name=name, free_bytes=free, total_bytes=8 << 30)


def test_the_parts_of_an_estimate_are_the_engines_own(model: Model) -> None:
    _, estimate = settled(model, context_length=4096, max_parallel_predictions=4, prompt_cache_mib=0)
    # What the engine logs of this load: model buffer 92.10 MiB, KV buffer 360.00 MiB, compute 18.64 + output 0.75 MiB.
    assert estimate.weights_bytes == pytest.approx(92.10 * MIB, rel=0.001)
    assert estimate.kv_cache_bytes == 360 * MIB
    assert estimate.compute_bytes == pytest.approx(19.4 * MIB, rel=0.05)
    assert estimate.total_bytes == estimate.devices[0].needed_bytes


@pytest.mark.parametrize(
    ("config", "kv_mib"),
    [
        ({"max_parallel_predictions": 1}, 90),
        ({"max_parallel_predictions": 4, "use_unified_kv_cache": True}, 90),
        ({"max_parallel_predictions": 1, "use_fp16_for_kv_cache": False}, 180),
        (
            {
                "max_parallel_predictions": 1,
                "llama_k_cache_quantization_type": "q8_0",
                "llama_v_cache_quantization_type": "q8_0",
            },
            47.8125,
        ),
    ],
)
def test_the_kv_cache_is_estimated_exactly(model: Model, config: dict[str, Any], kv_mib: float) -> None:
    assert settled(model, context_length=4096, **config)[1].kv_cache_bytes == kv_mib * MIB


def test_the_longest_context_that_fits_is_found() -> None:
    assert largest_context(lambda context: context <= 5000, 4000) == 4000
    assert largest_context(lambda context: context <= 5000, 100000) == 4864
    assert largest_context(lambda context: False, 4000) is None


def test_a_context_that_nobody_asked_for_is_what_fits(model: Model) -> None:
    assert settled(model, "balanced", free=100_000)[0].context_length == 8192
    config, estimate = settled(model, "relaxed", free=2000)
    assert 4096 < config.context_length < 8192
    assert estimate.total_bytes + estimate.kv_cache_bytes == pytest.approx(2000 * MIB, rel=0.05)
    assert settled(model, "off", free=2000)[0].context_length < config.context_length, (
        "no guardrail, and yet no more than fits"
    )
    assert settled(model, "relaxed", free=2000, auto_fit=True)[0].context_length == config.context_length
    assert settled(model, "relaxed", free=2000, auto_fit_min_context_length=7500)[0].context_length == 7500
    assert (
        settled(model, "relaxed", free=2000, auto_fit_min_context_length=100)[0].context_length == config.context_length
    )
    assert settled(model, "relaxed", free=2000, auto_fit=False)[0].context_length == 4096
    assert settled(model, "relaxed", free=700)[0].context_length == 4096
    config, estimate = settled(model, "relaxed", free=450)
    assert 1024 < config.context_length < 4096 and estimate.fits
    require(estimate)
    for asked in ({"auto_fit_min_context_length": 4000}, {"auto_fit": False}):
        with pytest.raises(NotEnoughMemoryError, match=r"context_length of [1-3]"):
            require(settled(model, "relaxed", free=450, **asked)[1])
    with pytest.raises(ConfigError, match=r"auto_fit_min_context_length.*at most 8192"):
        settled(model, "relaxed", free=450, auto_fit_min_context_length=9000)


def test_the_prompt_cache_gets_what_is_left(model: Model) -> None:
    assert settled(model, "balanced", free=100_000)[0].prompt_cache_mib == 720
    config, estimate = settled(model, "relaxed", free=600, context_length=4096)
    assert 0 < config.prompt_cache_mib < 100
    assert estimate.fits and estimate.total_bytes <= 600 * MIB
    assert settled(model, "relaxed", free=600, context_length=4096, prompt_cache_mib=7)[0].prompt_cache_mib == 7


def test_what_does_not_fit_is_refused_with_the_figures_and_the_context_that_would(model: Model) -> None:
    _, estimate = settled(model, "balanced", free=500, context_length=8192)
    with pytest.raises(NotEnoughMemoryError, match=r"8192 tokens.*guardrail \(balanced\) grants 446 MB") as caught:
        require(estimate)
    largest = int(re.findall(r"context_length of (\d+) would fit", str(caught.value))[0])
    assert largest == estimate.largest_context_length
    require(settled(model, "balanced", free=500, context_length=largest)[1])
    with pytest.raises(NotEnoughMemoryError):
        require(settled(model, "balanced", free=500, context_length=largest + 256)[1])
    require(settled(model, "off", free=500, context_length=8192)[1])


def test_the_levels_of_the_guardrail_are_shares_of_what_is_free(model: Model) -> None:
    granted = {
        level: settled(model, level, free=1000)[1].granted_bytes for level in ("relaxed", "balanced", "strict", "off")
    }
    assert granted == {"relaxed": 1000 * MIB, "balanced": 850 * MIB, "strict": 700 * MIB, "off": None}


def test_a_guardrail_in_bytes_counts_all_loaded_models(model: Model) -> None:
    assert settled(model, 700 * MIB, context_length=4096)[1].fits
    loaded = [Loaded(None, Path("other.gguf"), 300 * MIB)]
    _, estimate = settled(model, 700 * MIB, loaded, context_length=4096)
    assert estimate.granted_bytes == 400 * MIB and not estimate.fits


def test_a_model_that_is_too_large_for_any_context_is_refused_with_that_reason(model: Model) -> None:
    with pytest.raises(NotEnoughMemoryError, match="No context is short enough"):
        require(settled(model, 1 * MIB)[1])


def test_a_gpu_takes_its_share_with_gpus_that_are_made_up(model: Model) -> None:
    two = (gpu("one", 4 << 30), gpu("two", 4 << 30))
    whole = settled(model, gpus=two, context_length=4096)[1]
    main, *others = whole.devices
    assert [device.name for device in others] == ["one", "two"]
    assert main.needed_bytes < 150 * MIB + whole.prompt_cache_bytes
    assert sum(device.needed_bytes for device in whole.devices) == pytest.approx(whole.total_bytes, abs=2)
    assert len(settled(model, gpus=two, gpu={"ratio": "off"})[1].devices) == 1
    assert len(settled(model, gpus=two, gpu={"disabled_gpus": [1]})[1].devices) == 2
    tiny = (gpu("tiny", 100 * MIB),)
    with pytest.raises(NotEnoughMemoryError, match="of tiny"):
        require(settled(model, "relaxed", gpus=tiny, context_length=4096, gpu={"ratio": "max"})[1])
    require(
        settled(model, "relaxed", gpus=tiny, context_length=4096, gpu={"ratio": "max"}, gpu_strict_vram_cap=True)[1]
    )


async def test_the_guardrail_of_the_settings_stops_a_load_before_a_process_starts(home: Home) -> None:
    home.settings.write_text("[loading]\nguardrail = 300000000\n")
    before = children()
    host = Host(home)
    try:
        model = await host.find_model(DEFAULT_MODEL)
        with pytest.raises(NotEnoughMemoryError, match="guardrail"):
            await host.load(model, LoadConfig(context_length=8192))
        assert children() <= before
        assert not host.instances.all()
        instance = await host.load(model, LoadConfig(max_parallel_predictions=1))
        assert instance.estimate is not None and instance.estimate.total_bytes <= 300_000_000
        assert 256 <= instance.context_length <= 4096
        with pytest.raises(NotEnoughMemoryError):  # the first one has it all
            await host.load(model, LoadConfig(max_parallel_predictions=1))
    finally:
        await host.stop()


async def test_the_models_own_settings_give_way_to_a_request(home: Home) -> None:
    home.settings.write_text(
        f'[models."{DEFAULT_MODEL}"]\nload = {{ context_length = 1024, max_parallel_predictions = 2 }}'
    )
    host = Host(home)
    try:
        model = await host.find_model(DEFAULT_MODEL)
        own = await host.estimate(model, LoadConfig())
        assert (own.context_length, own.max_parallel_predictions) == (1024, 2)
        assert (await host.estimate(model, LoadConfig(context_length=512))).context_length == 512
        assert (await host.estimate(model, LoadConfig(auto_fit=True))).context_length == 8192
    finally:
        await host.stop()


async def test_a_draft_model_of_the_library_is_loaded_and_counted(home: Home) -> None:
    host = Host(home)
    try:
        model = await host.find_model(DEFAULT_MODEL)
        plain = await host.estimate(model, LoadConfig(context_length=512))
        config = LoadConfig(context_length=512, speculative_draft_model=DEFAULT_MODEL)
        drafting = await host.estimate(model, config)
        assert drafting.weights_bytes == 2 * plain.weights_bytes
        instance = await host.load(model, config)
        assert instance.draft == model
        async with host.lease(ModelReference(name=instance.identifier), "llm") as lease:
            assert lease.instance is instance
    finally:
        await host.stop()


async def test_ways_to_draft_that_the_model_does_not_have_are_refused_by_name(
    home: Home, embedding_model: Path
) -> None:
    link_model(embedding_model, home)
    host = Host(home)
    try:
        model = await host.find_model(DEFAULT_MODEL)
        with pytest.raises(ConfigError, match="'speculative_draft_mtp'"):
            await host.load(model, LoadConfig(speculative_draft_mtp=True))
        with pytest.raises(ConfigError, match=r"'speculative_draft_model' is text-embedding-all-minilm.*vocabular"):
            await host.load(model, LoadConfig(speculative_draft_model="all-minilm-l6-v2"))
        with pytest.raises(ModelNotFoundError, match="none-such"):
            await host.load(model, LoadConfig(speculative_draft_model="none-such"))
        assert not host.instances.all()
    finally:
        await host.stop()


async def test_progress_is_reported_as_the_file_is_read(home: Home) -> None:
    host = Host(home)
    try:
        model = await host.find_model(DEFAULT_MODEL)
        reported: list[float] = []
        await host.load(
            model, LoadConfig(context_length=512, try_mmap=False), watcher=LoadWatcher(on_progress=reported.append)
        )
        assert reported == sorted(reported)
        assert reported[0] == 0.0 and reported[-1] == 1.0
    finally:
        await host.stop()


async def test_progress_stands_still_with_an_engine_that_does_not_read(home: Home) -> None:
    host = Host(home)
    try:
        model = await host.find_model(DEFAULT_MODEL)
        for number in range(5):
            reported: list[float] = []
            before = children()
            watcher = LoadWatcher(on_progress=reported.append)
            config = LoadConfig(context_length=512)
            load = asyncio.create_task(host.load(model, config, identifier=f"n{number}", watcher=watcher))
            while not (fresh := children() - before):  # noqa: ASYNC110 - a process is seen by looking
                await asyncio.sleep(0.002)
            engine = psutil.Process(fresh.pop())
            engine.suspend()
            heard: list[float] | None = None
            while heard != reported:  # until what was on its way has come
                heard = list(reported)
                await asyncio.sleep(0.5)
            is_late = load.done() or max(reported, default=0) >= 0.9  # this test, to stop it
            engine.resume()
            await load
            assert reported[-1] == 1.0
            if not is_late:
                break
        assert not is_late
    finally:
        await host.stop()


@pytest.mark.parametrize("after_sec", [0.0, 0.02, 0.05, 0.1])
async def test_a_load_can_be_cancelled_at_any_time_and_leaves_nothing(home: Home, after_sec: float) -> None:
    before = children()
    host = Host(home)
    try:
        model = await host.find_model(DEFAULT_MODEL)
        load = asyncio.create_task(host.load(model, LoadConfig(context_length=4096)))
        await asyncio.sleep(after_sec)
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        assert children() <= before
        assert not host.instances.all()
    finally:
        await host.stop()


async def test_an_unload_that_its_caller_gives_up_is_carried_through(home: Home) -> None:
    before = children()
    host = Host(home)
    try:
        instance = await host.load(await host.find_model(DEFAULT_MODEL), LoadConfig(context_length=256))
        assert children() - before
        unload = asyncio.create_task(host.unload(instance.identifier))
        await asyncio.sleep(0)
        unload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await unload
    finally:
        await host.stop()
    assert children() <= before
