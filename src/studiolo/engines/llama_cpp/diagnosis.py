"""Examine whether the bundled engine runs on this machine, in processes of its own, so that it may die."""

from __future__ import annotations

import asyncio
import re
from asyncio.subprocess import DEVNULL

from ...errors import EngineError
from ...platform.gpus import find_gpu_hardware
from ...platform.interpreter import interpreter
from ...platform.processes import died_of_illegal_instruction, run_child, signal_name
from ..spec import Finding
from .devices import list_gpus
from .gpu_wheels import PACKAGE, advise

PROBE_LIMIT_SEC = 60.0

_ILLEGAL_INSTRUCTION = "illegal instruction"

_PROBE = "import xllamacpp; xllamacpp.get_device_info()"


_SYSTEM = "import xllamacpp; print(xllamacpp.get_system_info())"


async def list_instruction_sets() -> list[str]:
    """Return the instruction sets that the native library uses; none where it does not start."""
    try:
        status, output, _ = await run_child(interpreter(), "-P", "-c", _SYSTEM, limit_sec=PROBE_LIMIT_SEC)
    except (TimeoutError, OSError):
        return []
    return [] if status else instruction_sets_in(output.decode(errors="replace"))


def instruction_sets_in(text: str) -> list[str]:
    """Return the instruction sets in the line of llama.cpp about its system: those after ``CPU :`` with a 1."""
    said = re.search(r"CPU : (.+)", text)
    return re.findall(r"(\w+) = 1\b", said[1]) if said else []


async def diagnose(version: str | None, *, in_force: bool = True) -> list[Finding]:
    """Start the native library, and list the GPUs that it finds.

    Parameters:
        version: of the installed wheel; ``None`` where it is not installed.
        in_force: whether it runs models, so that a GPU that it does not use is one that is not used.
    """
    if version is None:
        return [Finding(what="engine", found="xllamacpp is not installed", remedy="pip install xllamacpp")]
    package = f"xllamacpp {version}"
    fault = await _fault()
    if fault == _ILLEGAL_INSTRUCTION:
        return [
            Finding(
                what="engine",
                found=f"{package} dies of an instruction that this processor does not have",
                remedy="Build an engine for this processor: studiolo runtime build --select always",
            )
        ]
    if fault is not None:
        reinstall = "Install it again: pip install --force-reinstall xllamacpp"
        return [Finding(what="engine", found=f"{package} does not start: {fault}", remedy=reinstall)]
    return [Finding(what="engine", found=f"{package} starts"), await _gpus(version, in_force)]


async def _fault() -> str | None:
    """Return why the native library does not start; ``None`` where it does."""
    try:
        status, _, log = await run_child(interpreter(), "-P", "-c", _PROBE, limit_sec=PROBE_LIMIT_SEC, stdout=DEVNULL)
    except TimeoutError:
        return f"it did not answer within {PROBE_LIMIT_SEC:g} s"
    except OSError as error:
        return str(error)
    if died_of_illegal_instruction(status):
        return _ILLEGAL_INSTRUCTION
    if (name := signal_name(status)) is not None:
        return name
    lines = log.decode(errors="replace").strip().splitlines()
    return (lines or [f"exit status {status}"])[-1] if status else None


async def _gpus(version: str, in_force: bool) -> Finding:
    try:
        gpus = await list_gpus()
    except EngineError as error:
        return Finding(what="GPUs", found=f"{error.title}: {error.cause}", remedy="Check the GPU's driver.")
    found = "; ".join(f"{gpu.name}, {gpu.total_bytes / 1e9:.1f} GB" for gpu in gpus)
    if found:
        return Finding(what="GPUs", found=found)
    hardware = await asyncio.to_thread(find_gpu_hardware)
    advice = advise(hardware, version)
    if advice is None:
        return Finding(what="GPUs", found="none that the engine sees: models run on the processor")
    seen = f"{advice.found}, which the installed {PACKAGE} is not built for"
    return Finding(what="GPUs", found=seen, remedy=advice.remedy if in_force else None)
