"""The GPUs that the bundled engine can use, listed by the native library in a process of its own."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ...children import send_signal
from ...errors import EngineError
from ..spec import Device

LIMIT_SEC = 20.0
"""How long the native library may take to list the GPUs."""

MODULE = "studiolo.engines.llama_cpp.device_worker"

# Where none of these exists, there is no GPU that the engine could use. Starting the process takes 0.2 s.
GPU_SIGNS = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dri/renderD128", "/dev/dxg")


async def list_gpus() -> Sequence[Device]:
    """Return the GPUs in the engine's order, with the memory that is free now.

    Raises:
        EngineError: they cannot be listed.
    """
    if sys.platform != "darwin" and not any(Path(sign).exists() for sign in GPU_SIGNS):
        return ()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", MODULE), stdin=DEVNULL, stdout=PIPE, stderr=PIPE, start_new_session=True
        )
    except OSError as error:
        raise _failed(error.strerror or str(error)) from None
    try:
        async with asyncio.timeout(LIMIT_SEC):
            answer, log = await process.communicate()
    except TimeoutError:
        raise _failed(f"The native library did not answer within {LIMIT_SEC:g} s") from None
    finally:
        send_signal(process, signal.SIGKILL)
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
