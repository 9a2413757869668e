"""The ``system`` namespace: the process that answers, and what is on its disk."""

from __future__ import annotations

import asyncio
import os
import time

from ..._version import __version__
from ...protocol import system as wire
from .context import Context, ServerChannel
from .convert import instance_status
from .registry import channel, rpc


@rpc(wire.VERSION, "system")
async def version(context: Context, _: None) -> wire.Version:
    return wire.Version(version=__version__, build=0)


@rpc(wire.INFO, "system")
async def info(context: Context, _: None) -> wire.SystemInfo:
    host = context.host
    return wire.SystemInfo(
        pid=os.getpid(),
        is_daemon=context.is_daemon,
        version=__version__,
        studiolo=wire.HostInfo(
            home=str(host.home.root),
            models_folder=str(host.home.models),
            uptime_sec=time.time() - host.started_at,
            instances=[instance_status(instance) for instance in host.instances.all()],
            crashes=list(host.instances.crashes.reports),
        ),
    )


@channel(wire.ALIVE, "system")
async def alive(context: Context, _: None, channel: ServerChannel[wire.Alive]) -> None:
    await channel.send(wire.Alive())
    await asyncio.get_running_loop().create_future()  # the channel stays open as long as the process lives
