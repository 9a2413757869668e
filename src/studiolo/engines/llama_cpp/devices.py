"""The GPUs that the bundled engine can use, listed by the native library in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...errors import EngineError
from ...platform.gpus import may_have_gpus
from ...platform.interpreter import python_command
from ...platform.processes import run_child
from ...struct_types import examined
from ..spec import Device

LIMIT_SEC = 20.0
"""How long the native library may take to list the GPUs."""

MODULE = "engines.llama_cpp.device_worker"


async def list_gpus() -> Sequence[Device]:
    """Return the GPUs in the engine's order, with the memory that is free now.

    Raises:
        EngineError: they cannot be listed.
    """
    if not may_have_gpus():  # starting the process takes 0.2 s
        return ()
    try:
        status, answer, log = await run_child(*python_command(MODULE), limit_sec=LIMIT_SEC)
    except TimeoutError:
        raise _failed(f"The native library did not answer within {LIMIT_SEC:g} s") from None
    except OSError as error:
        raise _failed(error.strerror or str(error)) from None
    if status:
        last = (log.decode(errors="replace").strip().splitlines() or ["no log"])[-1]
        raise _failed(f"The native library ended with exit status {status}: {last}")
    try:
        return msgspec.json.decode(answer, type=examined(list[Device]))
    except msgspec.DecodeError as error:
        raise _failed(f"The native library's answer is malformed: {error}") from None


def _failed(cause: str) -> EngineError:
    return EngineError(
        "The GPUs cannot be listed", cause=cause, suggestion="Run studiolo doctor: it examines the engine."
    )
