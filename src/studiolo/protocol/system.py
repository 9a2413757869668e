"""Messages of the ``system`` namespace."""

from __future__ import annotations

from typing import Never

from .declarations import Channel, Rpc
from .models import ModelInfo
from .structs import WireStruct


class Version(WireStruct, frozen=True):
    version: str
    build: int


class SystemInfo(WireStruct, frozen=True, kw_only=True):
    """The process that answers.

    LM Studio's fields, and in ``studiolo`` what ``studiolo status`` shows beyond them.
    """

    pid: int
    is_daemon: bool
    version: str
    studiolo: HostInfo | None = None


class InstanceStatus(WireStruct, frozen=True, kw_only=True):
    """One instance, as ``studiolo ps`` lists it."""

    identifier: str
    model_key: str
    domain: str
    state: str
    """``loading``, ``idle``, ``busy``, ``crashed`` or ``quarantined``."""
    size_bytes: int
    context_length: int
    parallel: int
    running: int
    """Predictions that have a slot."""
    queue: list[QueuedStatus]
    """Predictions that wait for one, in the order of their turns."""
    ttl_sec: float | None
    """Seconds of idleness after which the instance is unloaded; null for never."""
    idle_sec: float
    pid: int | None
    engine: str | None = None
    """The engine that runs it, as it is registered."""
    note: str | None = None
    """What the user should know of how the engine was started."""
    memory_bytes: int | None = None
    """What it was estimated to take, when it was loaded."""


class QueuedStatus(WireStruct, frozen=True, kw_only=True):
    client: str
    waited_sec: float


class CrashReport(WireStruct, frozen=True, kw_only=True):
    """One end of an engine that nobody asked for.

    Parameters:
        time: when, in seconds since 1970.
        identifier: the instance.
        model_key: its model.
        pid: the engine's process, where there was one.
        reason: how it ended, such as ``signal SIGKILL``.
        log_tail: the last lines of its log.
        running: what ran on it, a line for each prediction.
    """

    time: float
    identifier: str
    model_key: str
    pid: int | None
    reason: str
    log_tail: str
    running: list[str]


class GpuInfo(WireStruct, frozen=True):
    name: str
    memory_bytes: int


class MachineInfo(WireStruct, frozen=True, kw_only=True):
    """The machine that the host runs on.

    Parameters:
        system: its operating system, with version.
        processor: the processor's name.
        architecture: the processor's kind, such as ``x86_64``.
        threads: how many it runs at a time.
        memory_bytes: main memory in all.
        gpus: those that the bundled engine can use.
    """

    system: str
    processor: str
    architecture: str
    threads: int
    memory_bytes: int
    gpus: list[GpuInfo]


class HostInfo(WireStruct, frozen=True, kw_only=True):
    home: str
    models_folder: str
    uptime_sec: float
    instances: list[InstanceStatus]
    crashes: list[CrashReport]
    machine: MachineInfo | None = None


class Notification(WireStruct, frozen=True):
    """Something to tell the user of the host."""

    title: str
    description: str | None = None
    no_auto_dismiss: bool | None = None


class ExperimentFlag(WireStruct, frozen=True):
    code: str
    value: bool


NOTIFY: Rpc[Notification, None] = Rpc("notify", Notification, None)
GET_EXPERIMENT_FLAGS: Rpc[None, list[str]] = Rpc("getExperimentFlags", None, list[str])
SET_EXPERIMENT_FLAG: Rpc[ExperimentFlag, None] = Rpc("setExperimentFlag", ExperimentFlag, None)
START_HTTP_SERVER: Rpc[None, None] = Rpc("startHttpServer", None, None)
REQUEST_SHUTDOWN: Rpc[None, None] = Rpc("requestShutdown", None, None)
STOP_HTTP_SERVER: Rpc[None, None] = Rpc("stopHttpServer", None, None)
LIST_DOWNLOADED_MODELS: Rpc[None, list[ModelInfo]] = Rpc("listDownloadedModels", None, list[ModelInfo])
VERSION: Rpc[None, Version] = Rpc("version", None, Version)
INFO: Rpc[None, SystemInfo] = Rpc("info", None, SystemInfo)
ALIVE: Channel[None, Never] = Channel("alive", None, None)
"""Open as long as the process lives; nothing is sent over it."""
