"""Start an engine for a model: what it is started with, and once more without a projector that it refuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace

from ..config import LoadConfig
from ..domain.vocabulary import Vocabulary
from ..engines.base import Engine, EngineKind
from ..engines.spec import EngineSpec, LoadProgress, ModelFile, ModelFiles
from ..errors import EngineStartError
from ..library.adapters import Adapter
from ..library.model import Model

_log = logging.getLogger("studiolo.instances")


def engine_spec(
    identifier: str,
    model: Model,
    config: LoadConfig,
    draft: Model | None,
    adapters: Sequence[Adapter],
    vocabulary: Vocabulary,
    folder: Path,
    start_limit_sec: float,
) -> EngineSpec:
    """Return what the engine of an instance is started with.

    Parameters:
        folder: the folder that file references are relative to.

    Raises:
        ModelFileError: a file is gone.
    """
    return EngineSpec(
        identifier=identifier,
        domain=model.domain or "llm",
        config=config,
        files=ModelFiles(
            model=ModelFile.of(model.path, folder),
            projector=ModelFile.of(model.mmproj, folder) if model.mmproj else None,
            draft=ModelFile.of(draft.path, folder) if draft else None,
            adapters=[ModelFile.of(adapter.path, folder) for adapter in adapters],
        ),
        architecture=model.metadata.architecture if model.metadata else "",
        trained_context=(model.metadata.max_context_length if model.metadata else None) or 0,
        layers=(model.metadata.block_count or 0) if model.metadata else 0,
        vocabulary=vocabulary,
        start_limit_sec=start_limit_sec,
    )


async def start_engine(
    kind: EngineKind, spec: EngineSpec, model: Model, emit: Callable[[LoadProgress], None]
) -> tuple[Engine, Model]:
    """Start an engine for ``model``; if it refuses the model with its projector, start it once more without.

    Returns:
        The engine, and the model as it was loaded: without vision and audio if the projector was left out.

    Raises:
        EngineStartError: it does not start, with the projector or without.
    """
    if model.note is not None:
        _log.warning("%s: %s", spec.identifier, model.note)
    clock = asyncio.get_running_loop().time
    begun = clock()
    try:
        return await kind.start(spec, emit), model
    except EngineStartError as error:
        if model.mmproj is None or clock() - begun >= spec.start_limit_sec:
            raise
        refusal = error
    engine = await kind.start(replace(spec, files=replace(spec.files, projector=None)), emit)
    note = (
        f"{model.mmproj} is not used, so that the model takes no images or audio with it."
        f" The engine does not start with it: {refusal.title}."
    )
    _log.warning("%s: %s The engine's log: %s", spec.identifier, note, refusal.cause)
    return engine, replace(model, mmproj=None, vision=False, audio=False, note=note)
