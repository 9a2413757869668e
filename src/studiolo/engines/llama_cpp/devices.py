"""The GPUs that the bundled engine can use, listed by the native library in a process of its own."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence

import msgspec

from ...errors import EngineError
from ...platform.gpus import may_have_gpus
from ...platform.processes import kill, start_child
from ..spec import Device

LIMIT_SEC = 20.0
"""How long the native library may take to list the GPUs."""

MODULE = "studiolo.engines.llama_cpp.device_worker"


async def list_gpus() -> Sequence[Device]:
    """Return the GPUs in the engine's order, with the memory that is free now.

    Raises:
        EngineError: they cannot be listed.
    """
    if not may_have_gpus():  # starting the process takes 0.2 s
        return ()
    try:
        process = await start_child(sys.executable, "-P", "-m", MODULE, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    except OSError as error:
        raise _failed(error.strerror or str(error)) from None
    try:
        async with asyncio.timeout(LIMIT_SEC):
            answer, log = await process.communicate()
    except TimeoutError:
        raise _failed(f"The native library did not answer within {LIMIT_SEC:g} s") from None
    finally:
        kill(process)
        await process.wait()
    if process.returncode:
        last = (log.decode(errors="replace").strip().splitlines() or ["no log"])[-1]
        raise _failed(f"The native library ended with exit status {process.returncode}: {last}")
    try:
        return msgspec.json.decode(answer, type=list[Device])
    except msgspec.DecodeError as error:
        raise _failed(f"The native library's answer is malformed: {error}") from None


def _failed(cause: str) -> EngineError:
    return EngineError(
        "The GPUs cannot be listed", cause=cause, suggestion="Run studiolo doctor: it examines the engine."
    )
