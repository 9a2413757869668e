"""Messages of the ``system`` namespace: the host's process, its instances and its machine."""

from __future__ import annotations

from typing import Never

from .declarations import Channel, Rpc
from .models import ModelInfo
from .structs import WireStruct


class Version(WireStruct, frozen=True):
    version: str
    build: int


class SystemInfo(WireStruct, frozen=True, kw_only=True):
    """The host's process.

    LM Studio's fields; ``studiolo`` holds what ``studiolo status`` prints beyond them.
    """

    pid: int
    is_daemon: bool
    version: str
    studiolo: HostInfo | None = None


class InstanceStatus(WireStruct, frozen=True, kw_only=True):
    """An instance, as ``studiolo ps`` prints it."""

    identifier: str
    model_key: str
    domain: str
    state: str
    """``loading``, ``idle``, ``busy``, ``crashed`` or ``quarantined``."""
    size_bytes: int
    context_length: int
    parallel: int
    running: int
    """The number of predictions that have a slot."""
    queue: list[QueuedStatus]
    """Predictions that wait for a slot, in the order in which they will get one."""
    ttl_sec: float | None
    """Idle time in seconds after which the instance is unloaded; null for never."""
    idle_sec: float
    pid: int | None
    engine: str | None = None
    """The registered name of its engine."""
    note: str | None = None
    """A remark on how the engine was started."""
    memory_bytes: int | None = None
    """The memory estimated for it when it was loaded."""
    generated_tokens: int = 0
    """Tokens of text that it has generated since it was loaded."""


class QueuedStatus(WireStruct, frozen=True, kw_only=True):
    client: str
    waited_sec: float


class CrashReport(WireStruct, frozen=True, kw_only=True):
    """A crash of an engine.

    Parameters:
        time: Unix time in seconds.
        identifier: the instance.
        model_key: its model.
        pid: the engine's process id, if it had a process.
        reason: how it ended, such as ``signal SIGKILL``.
        log_tail: the last lines of the engine's log.
        running: the predictions that ran on it, one line each.
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
        system: the operating system and its version.
        processor: the processor's name.
        architecture: the processor's architecture, such as ``x86_64``.
        threads: the number of hardware threads.
        memory_bytes: total main memory.
        gpus: the GPUs that the bundled engine can use.
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
    """A message to the host's user."""

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
"""Open as long as the host's process lives; no message is sent."""
