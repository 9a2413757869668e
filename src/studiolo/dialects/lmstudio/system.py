"""The ``system`` namespace: the host's process and its instances."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import time
from typing import Never

from ..._version import __version__
from ...errors import UnsupportedError
from ...host.host import Host
from ...host.machine import processor
from ...protocol import system as wire
from .context import Context, ServerChannel
from .encoding import crash_report, instance_status
from .registry import channel, rpc

_log = logging.getLogger("studiolo.lmstudio")


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
            crashes=[crash_report(report) for report in host.instances.crashes.reports],
            machine=await _machine(host),
        ),
    )


async def _machine(host: Host) -> wire.MachineInfo:
    return wire.MachineInfo(
        system=platform.platform(),
        processor=processor().name,
        architecture=processor().architecture,
        threads=os.cpu_count() or 1,
        memory_bytes=host.devices.main_memory(),
        gpus=[wire.GpuInfo(gpu.name, gpu.total_bytes) for gpu in await host.gpus()],
    )


@rpc(wire.NOTIFY, "system")
async def notify(context: Context, parameter: wire.Notification) -> None:
    """Log a client's message to the user: the host has no window to show it in."""
    _log.warning(
        "Notification of %s: %s%s",
        _printable(context.client),
        _printable(parameter.title),
        f": {_printable(parameter.description)}" if parameter.description else "",
    )


@rpc(wire.GET_EXPERIMENT_FLAGS, "system")
async def get_experiment_flags(context: Context, _: None) -> list[str]:
    return []


@rpc(wire.SET_EXPERIMENT_FLAG, "system")
async def set_experiment_flag(context: Context, parameter: wire.ExperimentFlag) -> None:
    if not parameter.value:
        return  # it is off already
    raise UnsupportedError(f"There is no experiment flag {parameter.code!r}", feature="experiment flags")


@rpc(wire.START_HTTP_SERVER, "system")
async def start_http_server(context: Context, _: None) -> None:
    raise UnsupportedError(
        "A client cannot start the host's HTTP server",
        feature="startHttpServer",
        suggestion="Start one: studiolo server start",
    )


@rpc(wire.STOP_HTTP_SERVER, "system")
async def stop_http_server(context: Context, _: None) -> None:
    raise UnsupportedError(
        "A client cannot stop the host's HTTP server",
        feature="stopHttpServer",
        suggestion="Stop it: studiolo server stop",
    )


@rpc(wire.REQUEST_SHUTDOWN, "system")
async def request_shutdown(context: Context, _: None) -> None:
    raise UnsupportedError(
        "A client cannot stop the host", feature="requestShutdown", suggestion="Stop it: studiolo server stop"
    )


def _printable(text: str) -> str:
    """Return ``text`` on one line, without control characters, cut to 1,000 characters."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:1000])


@channel(wire.ALIVE, "system")
async def alive(context: Context, _: None, channel: ServerChannel[Never]) -> None:
    await asyncio.get_running_loop().create_future()  # the channel stays open as long as the process lives
