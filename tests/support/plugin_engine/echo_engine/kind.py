"""The engine kind that is registered."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable, Sequence

from studiolo.config import LoadConfig
from studiolo.domain.model_shape import ModelShape
from studiolo.engines.log_file import LogFile, log_name
from studiolo.engines.spec import Capabilities, Device, EngineSpec, Finding, LoadProgress, MemoryNeed, Node
from studiolo.errors import EngineDiedError

from .engine import CAPABILITIES, NAME, VERSION, EchoEngine

ENGINE_BYTES = 20 << 20
BYTES_PER_TOKEN = 64


class EchoKind:
    """See :class:`studiolo.engines.base.EngineKind`."""

    name = NAME

    def __init__(self, node: Node) -> None:
        self.node = node

    async def version(self) -> str | None:
        return VERSION

    async def capabilities(self) -> Capabilities:
        return CAPABILITIES

    async def devices(self) -> Sequence[Device]:
        return []

    def estimate(self, model: ModelShape, config: LoadConfig, devices: Sequence[Device]) -> MemoryNeed:
        return MemoryNeed(weights=0, kv_cache=BYTES_PER_TOKEN * (config.context_length or 0), engine=ENGINE_BYTES)

    async def diagnose(self) -> Sequence[Finding]:
        return [Finding(what=f"engine {NAME}", found=f"version {VERSION}, needs nothing")]

    async def start(self, spec: EngineSpec, emit: Callable[[LoadProgress], None] | None = None) -> EchoEngine:
        name = log_name(spec.identifier)
        log = LogFile(self.node.logs / name, otherwise=self.node.run() / name)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "echo_engine.worker", str(spec.files.model.locate(self.node.models))),
            stdin=PIPE,
            stdout=PIPE,
            stderr=log.fileno(),
            start_new_session=True,
        )
        engine = EchoEngine(process, log, spec, self.node.name)
        try:
            async with asyncio.timeout(spec.start_limit_sec):
                async for done in engine.starting():
                    if emit is not None:
                        emit(LoadProgress(done))
        except BaseException as error:
            failure = engine.start_error() if isinstance(error, EngineDiedError) else None
            await asyncio.shield(engine.stop())
            raise failure or error from None
        return engine
