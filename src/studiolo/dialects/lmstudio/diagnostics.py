"""The ``diagnostics`` namespace."""

from __future__ import annotations

from ...protocol import diagnostics as wire
from .context import Context, ServerChannel
from .registry import channel

BACKLOG = 100
"""Prompts, each of which may be long, that wait for a watcher who lags."""


@channel(wire.STREAM_LOGS, "diagnostics")
async def stream_logs(context: Context, _: None, channel: ServerChannel[wire.LogMessage]) -> None:
    with context.host.inputs.subscribe(BACKLOG) as inputs:
        async for each in inputs:
            data = wire.PredictionInputLog(
                model_path=each.model_path, model_identifier=each.identifier, input=each.text
            )
            await channel.send(wire.LogMessage(wire.LogEvent(each.time * 1000, data)))
