"""The engines that this host can run models with."""

from __future__ import annotations

import asyncio

from msgspec import Struct

from ..engines.registry import EngineKinds
from ..errors import UnsupportedError
from ..settings import BUNDLED_ENGINE


class Runtime(Struct, frozen=True):
    """An engine that can be used: the name of its kind, and the version of the program behind it."""

    name: str
    version: str


async def runtimes(kinds: EngineKinds) -> list[Runtime]:
    """Return every engine that can be used: the one that runs models first, then the others by name."""
    versions = await asyncio.gather(*(_version(kinds, name) for name in kinds.names))
    found = {name: version for name, version in zip(kinds.names, versions, strict=True) if version is not None}
    chosen = kinds.node.settings().name or BUNDLED_ENGINE
    in_force = chosen if chosen in found else BUNDLED_ENGINE
    return [Runtime(name, found[name]) for name in sorted(found, key=lambda name: (name != in_force, name))]


async def _version(kinds: EngineKinds, name: str) -> str | None:
    try:
        return await kinds.kind(name).version()
    except UnsupportedError:
        return None
