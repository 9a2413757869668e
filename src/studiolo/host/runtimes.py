"""The engines that this host can run models with."""

from __future__ import annotations

import asyncio
import contextlib
from importlib.metadata import PackageNotFoundError, entry_points, version

from msgspec import Struct

from ..engines.llama_server.binary import NAME as LLAMA_SERVER
from ..engines.llama_server.binary import UnusableBinaryError, inspect
from ..engines.registry import DEFAULT, GROUP
from ..settings import EngineSettings


class Runtime(Struct, frozen=True):
    """An engine that can be used: its registered name, and the version of the program behind it."""

    name: str
    version: str


async def runtimes(settings: EngineSettings) -> list[Runtime]:
    """Every engine that can be used, the one in force first.

    A ``llama-server`` is looked for where the settings name one; where it cannot be used, the bundled engine is what
    runs in its place.
    """
    found = await asyncio.to_thread(_registered)
    if LLAMA_SERVER in found:
        del found[LLAMA_SERVER]
        if settings.name == LLAMA_SERVER or settings.llama_server is not None:
            with contextlib.suppress(UnusableBinaryError):
                found[LLAMA_SERVER] = (await inspect(settings.llama_server)).version
    in_force = settings.name if settings.name in found else DEFAULT
    names = sorted(found, key=lambda name: (name != in_force, name))
    return [Runtime(name, found[name]) for name in names]


def _registered() -> dict[str, str]:
    """The registered engines that are installed, with their versions."""
    found: dict[str, str] = {}
    for entry in entry_points(group=GROUP):
        try:
            own = entry.dist.version if entry.dist is not None else ""
            found[entry.name] = version("xllamacpp") if entry.name == DEFAULT else own
        except PackageNotFoundError:
            continue
    return found
