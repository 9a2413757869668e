"""The engine kind that is bundled: llama.cpp's server, from xllamacpp's wheel."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...config import LoadConfig
from ...domain.model_shape import ModelShape
from ...errors import EngineStartError, UnsupportedError
from ..log_file import LogFile, log_name, prune
from ..spec import Capabilities, Device, EngineSpec, Finding, LoadProgress, MemoryNeed, Node
from .devices import list_gpus
from .diagnosis import diagnose, list_instruction_sets
from .endpoint import Endpoint
from .engine import LlamaCppEngine
from .launch_template import LaunchTemplate
from .load_progress import following
from .memory_estimate import estimate_memory
from .params import scaled_adapters, worker_params
from .process import WorkerProcess
from .saved_prompts import SavedPrompts

if TYPE_CHECKING:
    from .client import LlamaServerClient

NAME = "llama.cpp"
PACKAGE = "xllamacpp"

CAPABILITIES = Capabilities(
    embeddings=True,
    rerank=True,
    decisions=True,
    tools=True,
    vision=True,
    audio=True,
    grammars=frozenset({"llguidance", "gbnf", "json_schema"}),
    log_probabilities=True,
    drafts=True,
    lora=True,
    reasoning_budget=True,
)

Emit = Callable[[LoadProgress], None]


@dataclass(frozen=True)
class Launched:
    """A process that has been started, and where it will listen."""

    worker: WorkerProcess
    endpoint: Endpoint


class LlamaCppKind:
    """See :class:`studiolo.engines.base.EngineKind`."""

    name = NAME

    def __init__(self, node: Node) -> None:
        self.node = node

    async def version(self) -> str | None:
        """Return the version of the wheel."""
        try:
            return version(PACKAGE)
        except PackageNotFoundError:
            return None

    async def capabilities(self) -> Capabilities:
        """See :meth:`studiolo.engines.base.EngineKind.capabilities`."""
        return CAPABILITIES

    async def devices(self) -> Sequence[Device]:
        """See :meth:`studiolo.engines.base.EngineKind.devices`."""
        return await list_gpus()

    async def instruction_sets(self) -> Sequence[str]:
        """See :class:`studiolo.engines.base.NamesInstructionSets`."""
        return await list_instruction_sets()

    def estimate(self, model: ModelShape, config: LoadConfig, devices: Sequence[Device]) -> MemoryNeed:
        """See :meth:`studiolo.engines.base.EngineKind.estimate`."""
        return estimate_memory(model, config, devices)

    async def diagnose(self) -> Sequence[Finding]:
        """See :meth:`studiolo.engines.base.EngineKind.diagnose`."""
        return await diagnose(await self.version(), in_force=self.node.settings().is_bundled)

    async def start(self, spec: EngineSpec, emit: Emit | None = None) -> LlamaCppEngine:
        """See :meth:`studiolo.engines.base.EngineKind.start`."""
        installed = await self.version() or "unknown"
        if spec.config.num_experts:
            raise UnsupportedError(
                "The load config's field 'num_experts' is not supported by the bundled engine",
                cause="It takes the number of experts from the model.",
                suggestion="Leave it out, or use a llama-server of your own.",
                feature="num_experts",
                engine=NAME,
                engine_version=installed,
            )
        if spec.is_stretched:
            raise UnsupportedError(
                f"A context of {spec.config.context_length} tokens is not supported by the bundled engine",
                cause=f"It gives no prediction more than the {spec.trained_context} that the model was made for, "
                "whatever the RoPE settings.",
                suggestion="Ask for less, or use a llama-server of your own.",
                feature="context_length",
                engine=NAME,
                engine_version=installed,
            )
        saved = await asyncio.to_thread(SavedPrompts.of, self.node, spec, f"{NAME} {installed}")
        template = LaunchTemplate(spec, self.node.templates)
        try:
            launched = await self._launch(spec, await template.override(), saved)

            async def ready(_: LlamaServerClient) -> None:
                await launched.worker.wait_ready(spec.start_limit_sec)
                await template.facts()

            client = await connect(launched, spec, self.node, ready, emit)
        finally:
            template.cancel()
        return LlamaCppEngine(
            launched.worker,
            client,
            launched.endpoint,
            NAME,
            installed,
            CAPABILITIES,
            spec=spec,
            template=template,
            node=self.node,
            saved=saved,
        )

    async def _launch(self, spec: EngineSpec, chat_template: str | None, saved: SavedPrompts | None) -> Launched:
        endpoint = Endpoint.choose(self.node.run())
        models, files = self.node.models, spec.files
        worker_spec: dict[str, Any] = {
            "model": str(files.model.locate(models)),
            "hostname": endpoint.hostname,
            "port": endpoint.port,
            "api_key": endpoint.api_key,
            "chat_template": chat_template,
            "params": worker_params(spec.config, spec.domain, spec.layers),
            "mmproj": str(files.projector.locate(models)) if files.projector else None,
            "layers": spec.layers,
            "draft": str(files.draft.locate(models)) if files.draft else None,
            "saved_prompts": f"{saved.folder}{os.sep}" if saved else None,
            "lora": [[str(path), scale] for path, scale in scaled_adapters(spec, models)],
        }
        return Launched(await WorkerProcess.spawn(worker_spec, await open_log(self.node, spec)), endpoint)


async def open_log(node: Node, spec: EngineSpec) -> LogFile:
    """Open the log of a new engine, and delete the oldest logs of others."""
    await asyncio.to_thread(prune, node.logs)
    name = log_name(spec.identifier)
    return LogFile(node.logs / name, otherwise=node.run() / name)


async def connect(
    launched: Launched,
    spec: EngineSpec,
    node: Node,
    ready: Callable[[LlamaServerClient], Any],
    emit: Emit | None,
) -> LlamaServerClient:
    """Return a client of a process that has been started, when it has loaded the model. A failure ends the process.

    Parameters:
        ready: returns an awaitable that ends when the model is loaded, and raises if it is not.
        emit: called with the progress.
    """
    client: LlamaServerClient | None = None
    try:
        from .client import LlamaServerClient  # late: it takes a while to import; the process is loading meanwhile

        client = LlamaServerClient(launched.endpoint, spec.config.context_length, spec.config.adapters)
        async with following(launched.worker.pid, spec.files.model.locate(node.models), emit):
            await ready(client)
        if spec.files.draft is not None and not await client.drafts():
            raise _does_not_draft(spec.files.draft.path)
    except BaseException:
        if client is not None:
            await client.close()
        await asyncio.shield(launched.worker.stop())
        launched.endpoint.remove()
        raise
    return client


def _does_not_draft(path: str) -> EngineStartError:
    return EngineStartError(
        f"The engine does not draft with {Path(path).name}",
        cause="It is not made for the same vocabulary, or cannot be loaded; the engine's log says more.",
        suggestion="Choose a smaller model of the same family as speculative_draft_model, or leave it out.",
    )
