"""The ``runtime`` namespace: the installed engines, and the hardware that they detect.

Users select the engine in ``config.toml``. Clients can list engines, but not select, remove or download them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ...engines.spec import Device
from ...errors import UnsupportedError
from ...host.machine import processor
from ...host.runtimes import Runtime, runtimes
from ...protocol import runtime as wire
from .context import Context, ServerChannel
from .registry import channel, rpc

FORMATS = ["GGUF"]

_ARCHITECTURES = {"AMD64": "x86_64", "aarch64": "ARM64", "arm64": "ARM64"}
_SURVEYED_ARCHITECTURES = ("x86_64", "ARM64")
_EXTENSIONS = {"avx": "AVX", "avx2": "AVX2", "asimd": "AdvSIMD"}
"""CPU features by the system's name, with the name in LM Studio's protocol."""


@rpc(wire.LIST_ENGINES, "runtime")
async def list_engines(context: Context, _: None) -> list[wire.EngineInfo]:
    cpu = wire.EngineCpu(_architecture())
    return [
        wire.EngineInfo(
            name=each.name,
            version=each.version,
            engine=each.name,
            platform=sys.platform,
            cpu=cpu,
            supported_model_format_names=FORMATS,
        )
        for each in await _runtimes(context)
    ]


@rpc(wire.GET_ENGINE_SELECTIONS, "runtime")
async def get_engine_selections(context: Context, _: None) -> wire.SuperJson:
    selected = _specifier((await _runtimes(context))[0])
    return wire.SuperJson([[name, selected] for name in FORMATS], {"values": ["map"]})


@rpc(wire.SELECT_ENGINE, "runtime")
async def select_engine(context: Context, parameter: wire.SelectEngineParameter) -> None:
    if parameter.model_format_name in FORMATS and parameter.engine == _specifier((await _runtimes(context))[0]):
        return
    raise UnsupportedError(
        f"A client cannot select the engine {parameter.engine.name} {parameter.engine.version} "
        f"for {parameter.model_format_name}",
        feature="selectEngine",
        suggestion="Set it in config.toml: [engine] name.",
    )


@rpc(wire.REMOVE_ENGINE, "runtime")
async def remove_engine(context: Context, parameter: wire.EngineSpecifier) -> None:
    raise UnsupportedError(
        f"A client cannot remove the engine {parameter.name}",
        feature="removeEngine",
        suggestion="Remove it with pip uninstall.",
    )


@rpc(wire.SEARCH_EXTENSIONS, "runtime")
async def search_runtime_extensions(context: Context, _: None) -> wire.Extensions:
    """Return none: engines are installed with pip."""
    return wire.Extensions([])


@channel(wire.DOWNLOAD_EXTENSION, "runtime")
async def download_runtime_extension(
    context: Context, _: None, channel: ServerChannel[wire.ExtensionDownloaded]
) -> None:
    raise UnsupportedError(
        "A client cannot download engines",
        feature="downloadRuntimeExtension",
        suggestion="Install engines with pip.",
    )


@rpc(wire.SURVEY_HARDWARE, "runtime")
async def survey_hardware(context: Context, scope: wire.SurveyScope | None) -> wire.Survey:
    scope = scope or wire.SurveyScope()
    engines = await _runtimes(context)
    if scope.type == "selected":
        engines = engines[:1]
    elif scope.type == "custom":
        engines = [each for each in engines if _specifier(each) in scope.engines]
    hardware, memory = _survey(await context.host.gpus(), context.host.devices.main_memory())
    surveyed = [
        wire.SurveyedEngine(
            name=each.name,
            version=each.version,
            engine=each.name,
            platform=sys.platform,
            supported_model_format_names=FORMATS,
            hardware_survey=hardware,
            memory_info=memory,
        )
        for each in engines
    ]
    return wire.Survey("ok" if surveyed else "noCompatibleBackends", surveyed)


def _survey(gpus: Sequence[Device], ram: int) -> tuple[wire.HardwareSurvey, wire.MemoryInfo]:
    found = [
        wire.SurveyedGpu(
            name=gpu.name,
            device_id=number,
            total_memory_capacity_bytes=gpu.total_bytes,
            dedicated_memory_capacity_bytes=gpu.total_bytes,
            other_info={},
        )
        for number, gpu in enumerate(gpus)
    ]
    result = wire.SurveyCode("success", "") if found else wire.SurveyCode("noDevicesFound", "No GPU was detected.")
    cpu = processor()
    extensions = [name for feature, name in _EXTENSIONS.items() if feature in cpu.features]
    cpu_info = wire.SurveyedCpu(
        name=cpu.name,
        architecture=_architecture() if _architecture() in _SURVEYED_ARCHITECTURES else "unknown",
        supported_instruction_set_extensions=extensions,
    )
    vram = sum(gpu.total_memory_capacity_bytes for gpu in found)
    return (
        wire.HardwareSurvey(wire.GpuSurvey(result, found), wire.CpuSurvey(wire.SurveyCode("success", ""), cpu_info)),
        wire.MemoryInfo(ram_capacity=ram, vram_capacity=vram, total_memory=ram + vram),
    )


def _architecture() -> str:
    return _ARCHITECTURES.get(processor().architecture, processor().architecture)


async def _runtimes(context: Context) -> list[Runtime]:
    return await runtimes(context.host.engine_kinds)


def _specifier(runtime: Runtime) -> wire.EngineSpecifier:
    return wire.EngineSpecifier(runtime.name, runtime.version)
