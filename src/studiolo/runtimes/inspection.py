"""Look at a llama-server before it becomes a runtime: its version, instruction sets and devices."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ..engines.llama_server.binary import UnusableBinaryError, devices, inspect, instruction_sets
from ..errors import EngineError
from .record import Runtime


async def inspected(name: str, path: Path, folder: Path | None = None) -> Runtime:
    """Return the runtime called ``name`` with the llama-server at ``path``, which is run for its version and devices.

    Parameters:
        folder: the runtime's folder, if the binary lies in it.

    Raises:
        EngineError: it is not a llama-server, or does not run on this machine.
    """
    try:
        binary = await inspect(str(path))
        sets, found = await asyncio.gather(instruction_sets(binary), devices(binary))
        status = await asyncio.to_thread(Path(binary.path).stat)
    except (UnusableBinaryError, OSError) as error:
        raise EngineError(
            f"{path} cannot be used as an engine",
            cause=str(error),
            suggestion="Name a llama-server that is built for this machine.",
        ) from None
    return Runtime(
        name=name,
        binary=Path(binary.path).relative_to(folder).as_posix() if folder else binary.path,
        version=binary.version,
        instruction_sets=sets,
        devices=found,
        llguidance=binary.llguidance,
        size_bytes=status.st_size,
        changed_ns=status.st_mtime_ns,
    )
