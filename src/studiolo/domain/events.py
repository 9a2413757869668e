"""What happens in a host, for subscribers: crashes of engines, and the events of its log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from .generation import PredictionResult

LogLevel = Literal["debug", "info", "warning", "error"]


class CrashReport(Struct, frozen=True, kw_only=True):
    """The unexpected end of an engine.

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
    running: Sequence[str]


class PredictionInput(Struct, frozen=True, kw_only=True):
    """The text that a model was given.

    Parameters:
        model_path: the model's, relative to the models folder.
        identifier: the instance's.
        text: cut to a limit.
    """

    model_path: str
    identifier: str
    text: str


class PredictionOutput(Struct, frozen=True, kw_only=True):
    """The text that a model answered with, reasoning and tool calls included."""

    identifier: str
    text: str
    result: PredictionResult


class HostMessage(Struct, frozen=True, kw_only=True):
    """A line of the host's own log."""

    level: LogLevel
    text: str


class EngineMessage(Struct, frozen=True, kw_only=True):
    """Something that happened to the engine of an instance.

    Parameters:
        engine: the engine kind's name.
        engine_version: the version of the program behind it; ``None`` where it is not known.
        identifier, instance: the instance's identifier and reference.
    """

    level: LogLevel
    text: str
    engine: str
    engine_version: str | None
    identifier: str
    instance: str
    pid: int | None


class LogEvent(Struct, frozen=True):
    """An entry of the host's log and its time, in seconds since 1970."""

    time: float
    entry: PredictionInput | PredictionOutput | HostMessage | EngineMessage
