"""Engines without a host: the node that they run on, and what they are started with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studiolo.config import load_config
from studiolo.domain.models import Domain
from studiolo.engines.base import EngineKind
from studiolo.engines.registry import EngineKinds
from studiolo.engines.spec import EngineSpec, ModelFile, ModelFiles, Node
from studiolo.library.vocabulary import read_vocabulary
from studiolo.settings import EngineSettings

SETTINGS = {"context_length": 512, "max_parallel_predictions": 2, "prompt_cache_mib": 0}


_nodes: list[Node] = []


def node_in(folder: Path, prompts: Path | None = None, **settings: Any) -> Node:
    """A node whose models, logs and sockets all lie in ``folder``, with ``[engine]`` settings.

    Prompts are written to the folder ``prompts``.
    """
    chosen = EngineSettings(**settings)
    _nodes.append(
        Node(name="here", models=folder, logs=folder, run=lambda: folder, settings=lambda: chosen, prompts=prompts)
    )
    return _nodes[-1]


async def close_nodes() -> None:
    """End what the nodes of a test keep running."""
    while _nodes:
        await _nodes.pop().templates.close()


def kind_in(folder: Path, name: str = "llama.cpp", binary: Path | None = None) -> EngineKind:
    """An engine kind by its name, on a node of its own."""
    node = node_in(folder, name=name, llama_server=str(binary) if binary else None)
    return EngineKinds(node).chosen


def spec_of(
    model: Path,
    *,
    domain: Domain = "llm",
    identifier: str = "engine",
    projector: Path | None = None,
    draft: Path | None = None,
    adapters: Sequence[Path] = (),
    **config: Any,
) -> EngineSpec:
    """What starts ``model`` with a small context and the given load settings; files are named by absolute paths."""
    root = Path("/none")
    return EngineSpec(
        identifier=identifier,
        domain=domain,
        config=load_config({**SETTINGS, **config}),
        files=ModelFiles(
            model=ModelFile.of(model, root),
            projector=ModelFile.of(projector, root) if projector else None,
            draft=ModelFile.of(draft, root) if draft else None,
            adapters=[ModelFile.of(adapter, root) for adapter in adapters],
        ),
        architecture="llama",
        layers=30,
        vocabulary=read_vocabulary(model),
    )


def socket_in(folder: Path) -> Path:
    """The socket of the one engine that listens in ``folder``."""
    (socket,) = folder.glob("*.sock")
    return socket
