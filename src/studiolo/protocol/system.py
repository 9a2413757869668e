"""Messages of the ``system`` namespace."""

from __future__ import annotations

from .endpoints import Channel, Rpc
from .models import ModelInfo
from .structs import Message, WireStruct


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
    """``loading``, ``idle``, ``busy`` or ``crashed``."""
    size_bytes: int
    context_length: int
    parallel: int
    running: int
    """Predictions under way."""
    ttl_sec: float | None
    """Seconds of idleness after which the instance is unloaded; null for never."""
    idle_sec: float
    pid: int | None


class HostInfo(WireStruct, frozen=True, kw_only=True):
    home: str
    models_folder: str
    uptime_sec: float
    instances: list[InstanceStatus]


class Alive(Message, frozen=True, tag="alive"):
    """Sent once, when the channel opens."""


LIST_DOWNLOADED_MODELS: Rpc[None, list[ModelInfo]] = Rpc("listDownloadedModels", None, list[ModelInfo])
VERSION: Rpc[None, Version] = Rpc("version", None, Version)
INFO: Rpc[None, SystemInfo] = Rpc("info", None, SystemInfo)
ALIVE: Channel[None, Alive] = Channel("alive", None, Alive)
