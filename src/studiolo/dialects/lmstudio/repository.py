"""The ``repository`` namespace: getting models."""

from __future__ import annotations

import asyncio

from ...library.model import Model
from ...protocol import repository as wire
from .context import Context, ServerChannel
from .registry import channel


@channel(wire.DOWNLOAD_MODEL, "repository")
async def download_model(
    context: Context, parameter: wire.DownloadModelParameter, channel: ServerChannel[wire.DownloadMessage]
) -> None:
    messages: asyncio.Queue[wire.DownloadMessage | None] = asyncio.Queue()

    async def fetch() -> Model:
        try:
            return await context.host.library.fetch(
                parameter.download_identifier,
                lambda update: messages.put_nowait(wire.DownloadProgress(update=update)),
                lambda: messages.put_nowait(wire.StartFinalizing()),
            )
        finally:
            messages.put_nowait(None)

    task = asyncio.create_task(fetch())
    try:
        while (message := await messages.get()) is not None:
            await channel.send(message)
        model = await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
    await channel.send(wire.DownloadSuccess(default_identifier=model.key))
