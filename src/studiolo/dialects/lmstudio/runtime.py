"""The ``runtime`` namespace: what engines there are, and what they find on this machine.

Which one is used is the user's choice in ``config.toml``: clients can look, and cannot choose, remove or fetch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ...engines.spec import Device
from ...errors import UnsupportedError
from ...host.machine import processor, total_memory
from ...host.runtimes import Runtime, runtimes
from ...protocol import runtime as wire
from .context import Context, ServerChannel
from .registry import channel, rpc

FORMATS = ["GGUF"]

_ARCHITECTURES = {"AMD64": "x86_64", "aarch64": "ARM64", "arm64": "ARM64"}
_SURVEYED_ARCHITECTURES = ("x86_64", "ARM64")
_EXTENSIONS = {"avx": "AVX", "avx2": "AVX2", "asimd": "AdvSIMD"}
"""The extensions that LM Studio's protocol has names for, by the system's."""


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
    raise _unsupported(
        f"A client cannot choose the engine {parameter.engine.name} {parameter.engine.version} "
        f"for {parameter.model_format_name}",
        "selectEngine",
        "Choose it in config.toml: [engine] name.",
    )


@rpc(wire.REMOVE_ENGINE, "runtime")
async def remove_engine(context: Context, parameter: wire.EngineSpecifier) -> None:
    raise _unsupported(
        f"A client cannot remove the engine {parameter.name}", "removeEngine", "Engines are installed with pip."
    )


@rpc(wire.SEARCH_EXTENSIONS, "runtime")
async def search_runtime_extensions(context: Context, _: None) -> wire.Extensions:
    """Return an empty list: engines are installed with pip."""
    return wire.Extensions([])


@channel(wire.DOWNLOAD_EXTENSION, "runtime")
async def download_runtime_extension(
    context: Context, _: None, channel: ServerChannel[wire.ExtensionDownloaded]
) -> None:
    raise _unsupported("studiolo fetches no engines", "downloadRuntimeExtension", "Engines are installed with pip.")


@rpc(wire.SURVEY_HARDWARE, "runtime")
async def survey_hardware(context: Context, scope: wire.SurveyScope | None) -> wire.Survey:
    scope = scope or wire.SurveyScope()
    engines = await _runtimes(context)
    if scope.type == "selected":
        engines = engines[:1]
    elif scope.type == "custom":
        engines = [each for each in engines if _specifier(each) in scope.engines]
    hardware, memory = _survey(await context.host.gpus())
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


def _survey(gpus: Sequence[Device]) -> tuple[wire.HardwareSurvey, wire.MemoryInfo]:
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
    result = wire.SurveyCode("success", "") if found else wire.SurveyCode("noDevicesFound", "The engine sees no GPU.")
    cpu = processor()
    extensions = [name for feature, name in _EXTENSIONS.items() if feature in cpu.features]
    cpu_info = wire.SurveyedCpu(
        name=cpu.name,
        architecture=_architecture() if _architecture() in _SURVEYED_ARCHITECTURES else "unknown",
        supported_instruction_set_extensions=extensions,
    )
    ram, vram = total_memory(), sum(gpu.total_memory_capacity_bytes for gpu in found)
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


def _unsupported(title: str, feature: str, suggestion: str) -> UnsupportedError:
    return UnsupportedError(title, suggestion=suggestion, feature=feature)
