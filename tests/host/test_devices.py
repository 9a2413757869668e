"""The memory that is free for models is read when it is needed, and what is promised to loads is not free."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
import studiolo_fake_engine as fake

from studiolo.config import LoadConfig
from studiolo.engines.llama_cpp import devices as listing
from studiolo.engines.llama_cpp.kind import LlamaCppKind
from studiolo.engines.spec import Device, ProcessRef
from studiolo.errors import EngineError, NotEnoughMemoryError
from studiolo.host import machine
from studiolo.host.devices import MAIN_MEMORY, Devices, Loaded
from studiolo.host.host import Host
from studiolo.paths import Home
from studiolo.platform import control_groups, gpus
from tests.support.engines import node_in
from tests.support.fake_host import SETTINGS, until


class ScriptedKind(LlamaCppKind):
    """The bundled kind with a GPU whose free bytes, or the failure to read them, are given in advance."""

    def __init__(self, *answers: int | EngineError) -> None:
        super().__init__(node_in(Path("/none")))
        self.answers = list(answers)

    async def devices(self) -> Sequence[Device]:
        answer = self.answers.pop(0)
        if isinstance(answer, EngineError):
            raise answer
        return [Device(name="gpu", free_bytes=answer, total_bytes=1000)]


async def test_free_gpu_memory_is_read_again_for_each_load_with_a_scripted_kind() -> None:
    devices, kind = Devices(), ScriptedKind(900, 300)
    assert [gpu.free_bytes for gpu in await devices.gpus(kind, 0.0)] == [900]
    assert [gpu.free_bytes for gpu in await devices.gpus(kind, 0.0)] == [300]
    assert [gpu.free_bytes for gpu in await devices.gpus(kind, 60.0)] == [300], "an estimate may be seconds old"
    with pytest.raises(IndexError):
        await devices.gpus(kind, 0.0)


async def test_a_failure_to_list_gpus_is_a_warning_and_the_next_call_tries_again_with_a_scripted_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    devices, kind = Devices(), ScriptedKind(EngineError("The GPUs cannot be listed", cause="driver busy"), 700)
    with caplog.at_level(logging.WARNING, "studiolo.devices"):
        assert not await devices.gpus(kind)
    assert "driver busy" in caplog.text
    assert [gpu.free_bytes for gpu in await devices.gpus(kind)] == [700]


async def test_what_a_load_under_way_was_granted_of_a_gpu_is_not_free_with_a_scripted_kind() -> None:
    loading = Loaded(None, Path("a"), 0, {"gpu": 400}, loading=True)
    ready = Loaded(ProcessRef("elsewhere", 1), Path("b"), 0, {"gpu": 100})
    main, gpu = await Devices().free(ScriptedKind(900), [loading, ready], 0.0)
    assert gpu.free_bytes == 500, "the ready one is in the figure that was read"
    assert (main.name, main.gpu) == (MAIN_MEMORY, False)


async def test_an_engine_on_another_machine_takes_nothing_here() -> None:
    await Devices().free(ScriptedKind(1))
    far = Loaded(ProcessRef("elsewhere", 1), Path("a"), 1 << 60)
    main, _ = await Devices().free(ScriptedKind(1), [far])
    assert main.free_bytes > 0


async def test_a_library_that_fails_to_list_gpus_is_an_error_that_is_a_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = LlamaCppKind(node_in(tmp_path))
    monkeypatch.setattr(gpus, "DEVICE_FILES", (str(tmp_path),))
    monkeypatch.setattr(listing, "MODULE", "studiolo.no_such_module")
    with pytest.raises(EngineError, match=r"cannot be listed.*no_such_module"):
        await kind.devices()
    monkeypatch.setattr(listing, "MODULE", "engines.llama_cpp.device_worker")
    assert isinstance(await kind.devices(), list), "the real library lists what there is"


def test_what_loaded_engines_are_yet_to_fill_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, own = psutil.virtual_memory(), psutil.Process()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)  # other tests take and free memory meanwhile
    plain = machine.available_memory()
    reserved = machine.available_memory([(own.pid, Path("a"), own.memory_info().rss + (1 << 30))])
    assert plain - reserved > (1 << 30) * 0.9
    assert machine.available_memory([(None, Path("a"), 1 << 50)]) == 0


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("memory.max", "9000000"), ("memory.current", "5000000"), ("memory.stat", "inactive_file 7\n")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(control_groups, "ROOT", tmp_path)
    assert machine.available_memory() == 4000007
    assert machine.total_memory() == 9000000


GIB = 1 << 30


async def test_a_load_is_not_granted_gpu_memory_that_others_took_meanwhile(fake_home: Home) -> None:
    fake_home.settings.write_text(SETTINGS.replace('"off"', '"relaxed"'))
    for name in ("alpha", "beta", "gamma"):
        fake.models[name].memory_bytes = 3 * GIB
    fake.gpus.append(Device(name="gpu", free_bytes=8 * GIB, total_bytes=8 * GIB))
    host = Host(fake_home)
    try:
        await host.load(await host.find_model("alpha"), LoadConfig())
        fake.gpus[0] = Device(name="gpu", free_bytes=2 * GIB, total_bytes=8 * GIB)  # with another program's share
        with pytest.raises(NotEnoughMemoryError, match=r"3\.22 GB of gpu, and .* grants 2\.15 GB"):
            await host.load(await host.find_model("beta"), LoadConfig())
        fake.gpus[0] = Device(name="gpu", free_bytes=5 * GIB, total_bytes=8 * GIB)
        gate = fake.models["beta"].load.gate = asyncio.Event()
        loading = asyncio.create_task(host.load(await host.find_model("beta"), LoadConfig()))
        await until(lambda: fake.running("beta"))
        with pytest.raises(NotEnoughMemoryError):  # what beta was granted is not free, though it is not yet filled
            await host.load(await host.find_model("gamma"), LoadConfig())
        gate.set()
        await loading
    finally:
        await host.stop()
