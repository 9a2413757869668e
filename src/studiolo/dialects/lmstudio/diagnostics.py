"""The ``diagnostics`` namespace."""

from __future__ import annotations

from ...host.watching import watching
from ...protocol import diagnostics as wire
from .context import Context, ServerChannel
from .registry import channel

BACKLOG = 100
"""Events, each of which may be long, that wait for a watcher who lags."""


@channel(wire.STREAM_LOGS, "diagnostics")
async def stream_logs(context: Context, _: None, channel: ServerChannel[wire.LogMessage]) -> None:
    with watching(context.host.logs, BACKLOG) as events:
        async for event in events:
            if context.takes_all_logs or isinstance(event.data, wire.PredictionInputLog):
                await channel.send(wire.LogMessage(event))
