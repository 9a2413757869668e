"""Messages of the ``diagnostics`` namespace: log events of a host, its models and its engines."""

from __future__ import annotations

from typing import ClassVar, Literal

from .declarations import Channel
from .llm import PredictionStats
from .structs import Message, WireStruct

LogLevel = Literal["debug", "info", "warn", "error"]
LogKind = Literal["llm.prediction.input", "llm.prediction.output", "server.log", "runtime.log"]


class PredictionInputLog(Message, frozen=True, tag="llm.prediction.input", kw_only=True):
    """The prompt of a prediction, as text."""

    type: ClassVar[LogKind] = "llm.prediction.input"

    model_path: str
    model_identifier: str
    input: str


class PredictionOutputLog(Message, frozen=True, tag="llm.prediction.output", kw_only=True):
    """The text that a model generated, reasoning and tool calls included."""

    type: ClassVar[LogKind] = "llm.prediction.output"

    model_identifier: str
    output: str
    stats: PredictionStats | None = None


class ServerLog(Message, frozen=True, tag="server.log", kw_only=True):
    """A line of the host's own log."""

    type: ClassVar[LogKind] = "server.log"

    content: str
    level: LogLevel


class RuntimeLog(Message, frozen=True, tag="runtime.log", kw_only=True):
    """An event of an engine, such as its start or crash."""

    type: ClassVar[LogKind] = "runtime.log"

    level: LogLevel
    message: str
    engine_name: str
    engine_version: str
    engine_type: str
    model_identifier: str | None = None
    instance_reference: str | None = None
    pid: int | None = None


LogData = PredictionInputLog | PredictionOutputLog | ServerLog | RuntimeLog


class LogEvent(WireStruct, frozen=True):
    """A log event; ``data.type`` is its kind. LM Studio's SDK 1.5.0 accepts only ``llm.prediction.input``."""

    timestamp: float
    """Unix time in milliseconds."""
    data: LogData


class LogMessage(Message, frozen=True, tag="log"):
    log: LogEvent


STREAM_LOGS: Channel[None, LogMessage] = Channel("streamLogs", None, LogMessage)
