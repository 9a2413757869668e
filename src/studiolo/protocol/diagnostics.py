"""Messages of the ``diagnostics`` namespace: what models are given, for those who watch."""

from __future__ import annotations

from .endpoints import Channel
from .structs import Message, WireStruct


class PredictionInputLog(Message, frozen=True, tag="llm.prediction.input", kw_only=True):
    """The text that a model was given."""

    model_path: str
    model_identifier: str
    input: str


class LogEvent(WireStruct, frozen=True):
    timestamp: float
    """Milliseconds since the epoch."""
    data: PredictionInputLog


class LogMessage(Message, frozen=True, tag="log"):
    log: LogEvent


STREAM_LOGS: Channel[None, LogMessage] = Channel("streamLogs", None, LogMessage)
