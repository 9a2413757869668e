"""The engines of this machine, as ``studiolo runtime ls`` lists them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from ..engines.registry import EngineKinds
    from ..engines.spec import Node
    from ..paths import Home
    from ..settings import EngineSettings


class Listed(Struct, kw_only=True):
    """An engine.

    Parameters:
        name: what ``studiolo runtime select`` takes.
        kind: ``bundled``, ``built``, ``added``, ``named`` (by config.toml alone, or on ``PATH``) or ``registered`` by
            another package.
        selected: whether it runs models.
        version: in its own words; ``None`` where it cannot be run.
        backend: what it was built for here; ``None`` for others.
        devices: those beside the processor that it can use.
        instruction_sets: those that it uses.
        binary: its path.
        problem: why it cannot be used.
    """

    name: str
    kind: str
    selected: bool = False
    version: str | None = None
    backend: str | None = None
    devices: Sequence[str] = ()
    instruction_sets: Sequence[str] = ()
    binary: str | None = None
    problem: str | None = None


def node_of(home: Home, engine: EngineSettings | None = None) -> Node:
    """Return this machine, to ask engine kinds about. Nothing is started there."""
    from ..engines.spec import Node
    from ..host.machine import device_name
    from ..settings import EngineSettings

    chosen = engine or EngineSettings()
    return Node(
        name=device_name(),
        models=home.models,
        logs=home.engine_logs,
        run=lambda: home.root,
        settings=lambda: chosen,
    )


def list_engines(home: Home) -> list[Listed]:
    """Return the engines, the bundled one first.

    Raises:
        ConfigError: config.toml is wrong.
    """
    return asyncio.run(_list(home))


async def _list(home: Home) -> list[Listed]:
    from ..engines.registry import EngineKinds
    from ..runtimes.record import binary_of, recorded
    from ..settings import BUNDLED_ENGINE, read_settings

    engine = read_settings(home.settings).engine
    kinds = EngineKinds(node_of(home, engine))
    chosen = engine.name or BUNDLED_ENGINE
    runtimes = recorded(home)
    places = {str(binary_of(home, each)): each for each in runtimes}
    ours = places.get(str(Path(engine.llama_server).expanduser())) if engine.llama_server else None
    found = [await _registered(kinds, BUNDLED_ENGINE, "bundled", selected=chosen == BUNDLED_ENGINE)]
    for each in runtimes:
        found.append(_recorded(home, each, selected=chosen == "llama-server" and each is ours))
    if ours is None and (engine.llama_server is not None or chosen == "llama-server"):
        named = await _registered(kinds, "llama-server", "named", selected=chosen == "llama-server")
        named.binary = engine.llama_server or "llama-server on PATH"
        found.append(named)
    for name in kinds.names:
        if name not in (BUNDLED_ENGINE, "llama-server"):
            found.append(await _registered(kinds, name, "registered", selected=chosen == name))
    return found


def _recorded(home: Home, runtime: object, *, selected: bool) -> Listed:
    from ..runtimes.record import Runtime, binary_of, has_changed

    assert isinstance(runtime, Runtime)
    changed = has_changed(home, runtime)
    problem = None
    if changed is None:
        problem = "its binary is gone"
    elif changed:
        problem = "its binary has changed since: remove it, and add it again"
    return Listed(
        name=runtime.name,
        kind="built" if runtime.build else "added",
        selected=selected,
        version=runtime.version,
        backend=runtime.build.backend if runtime.build else None,
        devices=runtime.devices,
        instruction_sets=runtime.instruction_sets,
        binary=str(binary_of(home, runtime)),
        problem=problem,
    )


async def _registered(kinds: EngineKinds, name: str, sort: str, *, selected: bool) -> Listed:
    from ..engines.base import NamesInstructionSets
    from ..errors import StudioloError

    listed = Listed(name=name, kind=sort, selected=selected)
    try:
        kind = kinds.kind(name)
        listed.version = await kind.version()
        if listed.version is None:
            findings = await kind.diagnose()
            listed.problem = next((each.found for each in findings if each.remedy), "it is not installed")
            return listed
        listed.devices = [device.name for device in await kind.devices()]
        if isinstance(kind, NamesInstructionSets):
            listed.instruction_sets = await kind.instruction_sets()
    except StudioloError as error:
        listed.problem = error.title
    return listed
