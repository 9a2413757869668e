"""Find a ``llama-server`` binary, and read its version and options before it is used."""

from __future__ import annotations

import asyncio
import mmap
import os
import re
import shutil
import tempfile
from asyncio.subprocess import STDOUT
from dataclasses import dataclass
from pathlib import Path

from ...platform.processes import died_of_illegal_instruction, run_child, signal_name
from ..llama_cpp.diagnosis import instruction_sets_in
from ..spec import Device

NAME = "llama-server"

ANSWER_LIMIT_SEC = 20.0
"""How long it may take to print its version: one that is built for GPUs initialises them first."""


class UnusableBinaryError(Exception):
    """A binary cannot be used; the message says why."""


@dataclass(frozen=True)
class Binary:
    """A binary that answers.

    Parameters:
        options: the names of all its options.
        unix_sockets: whether it can listen on one.
        llguidance: whether it is built with llguidance. One that is not ends its process on such a grammar.
    """

    path: str
    version: str
    options: frozenset[str]
    unix_sockets: bool
    llguidance: bool


_LLGUIDANCE_SIGN = b"llg error: %s"
"""A message of llama.cpp's that only builds with llguidance contain."""

_LIBRARY = re.compile(r"lib(llama|common|server).*\.(so|dylib|dll)").match

_known: dict[tuple[str, int, int], Binary] = {}


async def inspect(named: str | None) -> Binary:
    """Return the binary that the settings name, or the one on ``PATH``, after running it.

    Raises:
        UnusableBinaryError: it is missing, cannot be executed, dies, or is not a llama-server.
    """
    path = shutil.which(str(Path(named).expanduser()) if named else NAME)
    if path is None:
        if named is None:
            raise UnusableBinaryError(f"there is no {NAME} on PATH")
        there = Path(named).expanduser().exists()
        raise UnusableBinaryError(f"{named} is not executable" if there else f"there is no {named}")
    path = str(Path(path).absolute())
    status = Path(path).stat()
    key = (path, status.st_mtime_ns, status.st_size)
    if key not in _known:
        version = re.search(r"version: *(.+)", await _ask(path, "--version"))
        if version is None:
            raise UnusableBinaryError(f"{path} is not a {NAME}: it prints no version")
        text = await _ask(path, "--help")
        options = frozenset(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", text))
        if not {"--model", "--host", "--ctx-size", "--parallel"} <= options:
            raise UnusableBinaryError(f"{path} is not a {NAME}: it lacks the options of one")
        sockets = "unix socket" in text.lower()
        llguidance = await asyncio.to_thread(_has_llguidance, Path(path))
        _known[key] = Binary(path, version[1].strip(), options, sockets, llguidance)
    return _known[key]


def _has_llguidance(binary: Path) -> bool:
    """Return whether the binary, or a library beside it or in the ``lib`` next to its folder, contains the sign."""
    folder = binary.resolve().parent
    libraries = [file for place in (folder, folder.parent / "lib") for file in place.glob("*") if _LIBRARY(file.name)]
    return any(_contains_sign(file) for file in [binary, *libraries])


def _contains_sign(file: Path) -> bool:
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(_LLGUIDANCE_SIGN) != -1
    except (OSError, ValueError):  # it cannot be read, or is empty
        return False


async def devices(binary: Binary) -> list[str]:
    """Return the devices beside the processor that the binary finds, in its words. It sets up all its backends.

    Raises:
        UnusableBinaryError: it dies of that, as one does that is built for another processor.
    """
    if "--list-devices" not in binary.options:
        return []
    _, _, listed = (await _ask(binary.path, "--list-devices")).partition("Available devices:")
    lines = [line.strip() for line in listed.splitlines()]
    return [line for line in lines if line and line != "(none)"]


async def gpus(binary: Binary) -> list[Device]:
    """Return the devices beside the processor that the binary finds, with the memory that is free now.

    A binary that found none is not asked again with the same environment: one for the processor alone never finds any.

    Raises:
        UnusableBinaryError: see :func:`devices`.
    """
    asked = (binary, frozenset((name, value) for name, value in os.environ.items() if name.startswith(_GPU_VARIABLES)))
    if asked in _without_gpus:
        return []
    found: list[Device] = []
    for line in await devices(binary):
        if (match := _DEVICE.fullmatch(line)) is not None:
            name, description, total, free = match.groups()
            label = f"{name} ({description})"
            found.append(Device(name=label, free_bytes=int(free) << 20, total_bytes=int(total) << 20))
    if not found:
        _without_gpus.add(asked)
    return found


_DEVICE = re.compile(r"(\w+): (.+) \((\d+) MiB, (\d+) MiB free\)")

_GPU_VARIABLES = ("CUDA_", "GGML_", "HIP_", "MESA_", "ROCR_", "VK_")
"""Beginnings of the names of variables that hide or show GPUs."""

_without_gpus: set[tuple[Binary, frozenset[tuple[str, str]]]] = set()

NO_MODEL = "studiolo-no-model.gguf"


async def instruction_sets(binary: Binary) -> list[str]:
    """Return the instruction sets that the binary uses, in its words, such as ``AVX2``; none where it does not say.

    It says so when it begins to load a model: here one that does not exist.

    Raises:
        UnusableBinaryError: it does not end, or cannot be executed.
    """
    if "--verbosity" not in binary.options:
        return []
    with tempfile.TemporaryDirectory(prefix="studiolo-") as folder:
        missing = str(Path(folder, NO_MODEL))
        options = ("--model", missing, "--host", "127.0.0.1", "--port", "0", "--verbosity", "5")
        _, text = await _run(binary.path, *options)
    return instruction_sets_in(text)


def how_it_died(status: int) -> str:
    """Return how a process with this exit status ended, in words."""
    if died_of_illegal_instruction(status):
        return "died with an illegal instruction: it is built for another processor"
    name = signal_name(status)
    return f"ended with exit status {status}" if name is None else f"died of {name}"


async def _ask(path: str, option: str) -> str:
    status, output = await _run(path, option)
    if status:
        raise UnusableBinaryError(f"{path} {how_it_died(status)}")
    return output


async def _run(path: str, *options: str) -> tuple[int, str]:
    """Run a binary to its end; return its exit status, and what it wrote."""
    try:
        status, output, _ = await run_child(path, *options, limit_sec=ANSWER_LIMIT_SEC, stderr=STDOUT)
    except TimeoutError:
        raise UnusableBinaryError(f"{path} did not answer {options[0]} within {ANSWER_LIMIT_SEC:g} s") from None
    except OSError as error:
        raise UnusableBinaryError(f"{path} cannot be executed: {error.strerror or error}") from None
    return status, output.decode(errors="replace")
