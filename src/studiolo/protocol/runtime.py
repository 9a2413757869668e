"""Messages of the ``runtime`` namespace: the engines of a host, and the hardware that they detect."""

from __future__ import annotations

from typing import Any

from .declarations import Channel, Rpc
from .structs import Message, WireStruct


class EngineSpecifier(WireStruct, frozen=True):
    name: str
    version: str


class EngineCpu(WireStruct, frozen=True):
    architecture: str


class EngineInfo(WireStruct, frozen=True, kw_only=True):
    """An installed engine."""

    name: str
    version: str
    engine: str
    platform: str
    cpu: EngineCpu
    supported_model_format_names: list[str]


class SuperJson(WireStruct, frozen=True, omit_defaults=False):
    """A value that JSON cannot express, such as a map, with its type in ``meta`` (the npm package ``superjson``)."""

    json: Any
    meta: dict[str, Any]


class SelectEngineParameter(WireStruct, frozen=True):
    engine: EngineSpecifier
    model_format_name: str


class SurveyScope(WireStruct, frozen=True):
    """The engines to survey: ``selected``, ``all``, or ``custom`` for those listed in ``engines``."""

    type: str = "selected"
    engines: tuple[EngineSpecifier, ...] = ()


class SurveyCode(WireStruct, frozen=True):
    code: str
    message: str


class SurveyedCpu(WireStruct, frozen=True, kw_only=True):
    name: str | None = None
    architecture: str
    supported_instruction_set_extensions: list[str]


class CpuSurvey(WireStruct, frozen=True):
    result: SurveyCode
    cpu_info: SurveyedCpu


class SurveyedGpu(WireStruct, frozen=True, kw_only=True, omit_defaults=False):
    name: str
    device_id: int
    total_memory_capacity_bytes: int
    dedicated_memory_capacity_bytes: int
    integration_type: str = "unknown"
    detection_platform: str = "unknown"
    detection_platform_version: str = ""
    other_info: dict[str, str]


class GpuSurvey(WireStruct, frozen=True, omit_defaults=False):
    result: SurveyCode
    gpu_info: list[SurveyedGpu]


class HardwareSurvey(WireStruct, frozen=True):
    gpu_survey_result: GpuSurvey
    cpu_survey_result: CpuSurvey


class MemoryInfo(WireStruct, frozen=True, kw_only=True):
    ram_capacity: int
    vram_capacity: int
    total_memory: int


class Compatibility(WireStruct, frozen=True, omit_defaults=False):
    status: str = "compatible"


class SurveyedEngine(WireStruct, frozen=True, kw_only=True, omit_defaults=False):
    name: str
    version: str
    engine: str
    platform: str
    compatibility: Compatibility = Compatibility()
    supported_model_format_names: list[str]
    hardware_survey: HardwareSurvey
    memory_info: MemoryInfo


class Survey(WireStruct, frozen=True, omit_defaults=False):
    """The hardware that each engine detects; memory in bytes."""

    status: str
    engines: list[SurveyedEngine]


class Extensions(WireStruct, frozen=True, omit_defaults=False):
    extensions: list[EngineInfo]


class ExtensionDownloaded(Message, frozen=True, tag="success"):
    pass


LIST_ENGINES: Rpc[None, list[EngineInfo]] = Rpc("listEngines", None, list[EngineInfo])
GET_ENGINE_SELECTIONS: Rpc[None, SuperJson] = Rpc("getEngineSelections", None, SuperJson)
SELECT_ENGINE: Rpc[SelectEngineParameter, None] = Rpc("selectEngine", SelectEngineParameter, None)
REMOVE_ENGINE: Rpc[EngineSpecifier, None] = Rpc("removeEngine", EngineSpecifier, None)
SURVEY_HARDWARE: Rpc[SurveyScope | None, Survey] = Rpc("surveyHardware", SurveyScope | None, Survey)
SEARCH_EXTENSIONS: Rpc[None, Extensions] = Rpc("searchRuntimeExtensions", None, Extensions)
DOWNLOAD_EXTENSION: Channel[None, ExtensionDownloaded] = Channel("downloadRuntimeExtension", None, ExtensionDownloaded)
