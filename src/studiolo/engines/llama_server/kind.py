"""The engine kind that runs a user's own ``llama-server``, and the bundled engine where that cannot be run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ...config import LoadConfig
from ...domain.model_shape import ModelShape
from ...errors import EngineError
from ...platform.processes import died_of_illegal_instruction
from ..base import Engine
from ..llama_cpp.endpoint import Endpoint
from ..llama_cpp.engine import LlamaCppEngine
from ..llama_cpp.kind import CAPABILITIES, Emit, Launched, LlamaCppKind, connect, open_log
from ..llama_cpp.launch_template import LaunchTemplate
from ..llama_cpp.memory_estimate import estimate_memory
from ..llama_cpp.process import WorkerProcess
from ..llama_cpp.saved_prompts import SavedPrompts
from ..spec import Capabilities, Device, EngineSpec, Finding, MemoryNeed, Node
from .binary import NAME, Binary, UnusableBinaryError, devices, gpus, how_it_died, inspect, instruction_sets
from .options import options

if TYPE_CHECKING:
    from ..llama_cpp.client import LlamaServerClient

POLL_SEC = 0.05

SAVE_OPTION = "--slot-save-path"

_log = logging.getLogger("studiolo.engines")


class LlamaServerKind:
    """See :class:`studiolo.engines.base.EngineKind`. Engines listen on a Unix socket, or on loopback with a key."""

    name = NAME

    def __init__(self, node: Node) -> None:
        self.node = node
        self._bundled = LlamaCppKind(node)

    async def version(self) -> str | None:
        """Return the version of the binary that the settings choose or name."""
        settings = self.node.settings()
        if settings.name != NAME and settings.llama_server is None:
            return None
        try:
            return (await self._binary()).version
        except UnusableBinaryError:
            return None

    async def capabilities(self) -> Capabilities:
        """Return what the binary can do; if it cannot be used, what the bundled engine can do."""
        try:
            return capabilities_of(await self._binary())
        except UnusableBinaryError:
            return CAPABILITIES

    async def devices(self) -> Sequence[Device]:
        """See :meth:`studiolo.engines.base.EngineKind.devices`. Where there is no binary, those of the bundled engine.

        Raises:
            EngineError: the binary cannot list them.
        """
        try:
            binary = await self._binary()
        except UnusableBinaryError:
            return await self._bundled.devices()
        try:
            return await gpus(binary)
        except UnusableBinaryError as error:
            raise EngineError(
                "The GPUs cannot be listed", cause=str(error), suggestion="Run studiolo doctor: it examines the engine."
            ) from None

    async def instruction_sets(self) -> Sequence[str]:
        """See :class:`studiolo.engines.base.NamesInstructionSets`."""
        try:
            return await instruction_sets(await self._binary())
        except UnusableBinaryError:
            return []

    def estimate(self, model: ModelShape, config: LoadConfig, devices: Sequence[Device]) -> MemoryNeed:
        """See :meth:`studiolo.engines.base.EngineKind.estimate`."""
        return estimate_memory(model, config, devices)

    async def diagnose(self) -> Sequence[Finding]:
        """Run the binary that the settings choose or name; nothing where they do neither."""
        settings = self.node.settings()
        chosen = settings.name == NAME
        if settings.llama_server is None and not chosen:
            return []
        unused = "" if chosen else f"; it is not used, because engine.name is not {NAME}"
        try:
            binary = await self._binary()
            gpus = await devices(binary)
        except UnusableBinaryError as error:
            instead = "; the bundled engine runs instead" if chosen else unused
            remedy = f"Correct engine.llama_server in config.toml, or build {NAME} for this processor."
            return [Finding(what=NAME, found=f"{error}{instead}", remedy=remedy)]
        found = f"{binary.path}, version {binary.version}, starts and sets up its devices on this processor{unused}"
        more = [Finding(what=f"GPUs of {NAME}", found="; ".join(gpus))] if gpus else []
        return [Finding(what=NAME, found=found), *more]

    async def start(self, spec: EngineSpec, emit: Emit | None = None) -> Engine:
        """See :meth:`studiolo.engines.base.EngineKind.start`.

        Where the binary is missing, cannot be executed, is not a llama-server or dies of an illegal instruction, the
        bundled engine is started instead; the engine's ``note`` and the log say so.
        """
        try:
            return await self._start_binary(await self._binary(), spec, emit)
        except UnusableBinaryError as error:
            note = f"the bundled engine runs instead of a {NAME}: {error}"
            _log.warning("%s", note)
            engine = await self._bundled.start(spec, emit)
            engine.note = note if engine.note is None else f"{note}; {engine.note}"
            return engine

    async def _binary(self) -> Binary:
        return await inspect(self.node.settings().llama_server)

    async def _start_binary(self, binary: Binary, spec: EngineSpec, emit: Emit | None) -> Engine:
        saved: SavedPrompts | None = None
        if SAVE_OPTION in binary.options:
            saved = await asyncio.to_thread(SavedPrompts.of, self.node, spec, f"{NAME} {binary.version}")
        template = LaunchTemplate(spec, self.node.templates)
        try:
            launched = await self._launch(binary, spec, await template.override(), saved)

            async def ready(client: LlamaServerClient) -> None:
                await _wait_ready(launched.worker, client, binary, spec.start_limit_sec)
                await template.facts()
                await asyncio.to_thread(launched.worker.read_gpu_layers)

            client = await connect(launched, spec, self.node, ready, emit)
        finally:
            template.cancel()
        return LlamaCppEngine(
            launched.worker,
            client,
            launched.endpoint,
            NAME,
            binary.version,
            capabilities_of(binary),
            spec=spec,
            template=template,
            node=self.node,
            saved=saved,
        )

    async def _launch(
        self, binary: Binary, spec: EngineSpec, chat_template: str | None, saved: SavedPrompts | None
    ) -> Launched:
        endpoint = Endpoint.choose(self.node.run(), unix_sockets=binary.unix_sockets)
        command = [binary.path, *options(binary, spec, self.node.models, chat_template), "--host", endpoint.hostname]
        if saved is not None:
            command += [SAVE_OPTION, str(saved.folder)]
        environment: dict[str, str] = {}
        if endpoint.api_key is not None:
            command += ["--port", str(endpoint.port)]
            environment["LLAMA_API_KEY"] = endpoint.api_key  # other users can read a process's options
        worker = await WorkerProcess.spawn(
            {"command": command, "environment": environment},
            await open_log(self.node, spec),
            module="engines.llama_server.launch",
        )
        return Launched(worker, endpoint)


def capabilities_of(binary: Binary) -> Capabilities:
    """Return what ``binary`` can do."""
    return replace(
        CAPABILITIES,
        grammars=CAPABILITIES.grammars if binary.llguidance else frozenset({"gbnf", "json_schema"}),
        reasoning_budget="--reasoning-budget-message" in binary.options,
        lora="--lora" in binary.options,
    )


async def _wait_ready(worker: WorkerProcess, client: LlamaServerClient, binary: Binary, limit_sec: float) -> None:
    """Wait until the server answers that the model is loaded.

    Raises:
        UnusableBinaryError: it died of an illegal instruction, or could not be executed.
        EngineStartError: it ended otherwise, or took too long.
    """
    try:
        async with asyncio.timeout(limit_sec):
            while not worker.exited.is_set():
                try:
                    await client.health()
                    return
                except (OSError, EngineError):
                    await asyncio.sleep(POLL_SEC)
    except TimeoutError:
        raise worker.late(limit_sec) from None
    status = worker.exit_status
    if status is not None and (died_of_illegal_instruction(status) or status == 126):
        raise UnusableBinaryError(f"{binary.path} {how_it_died(status)}")
    raise worker.ended_early()
