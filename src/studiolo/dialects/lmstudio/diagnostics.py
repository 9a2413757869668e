"""The ``diagnostics`` namespace: a stream of log events."""

from __future__ import annotations

from ...domain.events import EngineMessage, HostMessage, LogLevel, PredictionInput, PredictionOutput
from ...host.log_events import subscribed_log
from ...protocol import diagnostics as wire
from .context import Context, ServerChannel
from .predictions import stats
from .registry import channel

BACKLOG = 100
"""Events that wait for a client that reads slowly, at most; each may be long."""

_LEVELS: dict[LogLevel, wire.LogLevel] = {"debug": "debug", "info": "info", "warning": "warn", "error": "error"}


@channel(wire.STREAM_LOGS, "diagnostics")
async def stream_logs(context: Context, _: None, channel: ServerChannel[wire.LogMessage]) -> None:
    with subscribed_log(context.host.logs, BACKLOG) as events:
        async for event in events:
            if context.takes_all_logs or isinstance(event.entry, PredictionInput):
                await channel.send(wire.LogMessage(wire.LogEvent(event.time * 1000, _data(event.entry))))


def _data(entry: PredictionInput | PredictionOutput | HostMessage | EngineMessage) -> wire.LogData:
    match entry:
        case PredictionInput():
            return wire.PredictionInputLog(
                model_path=entry.model_path, model_identifier=entry.identifier, input=entry.text
            )
        case PredictionOutput():
            return wire.PredictionOutputLog(
                model_identifier=entry.identifier, output=entry.text, stats=stats(entry.result)
            )
        case HostMessage():
            return wire.ServerLog(content=entry.text, level=_LEVELS[entry.level])
        case EngineMessage():
            return wire.RuntimeLog(
                level=_LEVELS[entry.level],
                message=entry.text,
                engine_name=entry.engine,
                engine_version=entry.engine_version or "unknown",
                engine_type=entry.engine,
                model_identifier=entry.identifier,
                instance_reference=entry.instance,
                pid=entry.pid,
            )
