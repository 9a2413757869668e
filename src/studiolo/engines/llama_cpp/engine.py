"""The engine that the host sees: a worker process and the client that talks to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from ...domain.generation import ToolCallEvent
from ...errors import EngineError, EngineStartError, PredictionError, UnsupportedError
from ..base import CompletionRequest, Engine, EngineEvent, EngineSpec, TemplateRequest, ToolChatRequest
from .params import worker_params
from .process import WorkerProcess
from .reading import following

if TYPE_CHECKING:
    from ..chat_template import ModelTemplate
    from .client import LlamaServerClient

DEATH_NOTICE_SEC = 1.0
"""How long after a broken connection the process's end is waited for, to tell how it ended."""


class LlamaCppEngine:
    """llama.cpp's server in a worker process, over a Unix socket."""

    name = "llama.cpp"
    version: str | None = None
    llguidance: bool = True
    note: str | None = None
    limits_reasoning = True

    def __init__(self, worker: WorkerProcess, client: LlamaServerClient, spec: EngineSpec) -> None:
        self._worker = worker
        self._client = client
        self._spec = spec
        self._template: ModelTemplate | None = None
        self.exited = worker.exited

    @classmethod
    async def start(cls, spec: EngineSpec) -> Engine:
        """See :meth:`studiolo.engines.base.Engine.start`."""
        if spec.config.num_experts:
            raise UnsupportedError(
                "The load config's field 'num_experts' is not supported by the bundled engine",
                cause="It takes the number of experts from the model.",
                suggestion="Leave it out, or use a llama-server of your own.",
                feature="num_experts",
            )
        spec.socket_path.unlink(missing_ok=True)  # the server will not start on one that exists
        worker = await WorkerProcess.spawn(
            {
                "model": str(spec.model_path),
                "socket": str(spec.socket_path),
                "params": worker_params(spec.config, spec.domain, spec.layers),
                "mmproj": str(spec.mmproj_path) if spec.mmproj_path else None,
                "layers": spec.layers,
                "draft": str(spec.draft_path) if spec.draft_path else None,
            },
            spec.log_path,
        )
        client: LlamaServerClient | None = None
        try:
            # The client's library takes its time to import: the worker is loading meanwhile.
            from .client import LlamaServerClient

            async with following(worker.pid, spec):
                await worker.wait_ready(spec.start_limit_sec)
            client = LlamaServerClient(spec.socket_path, spec.config.context_length)
            await check_drafting(client, spec)
        except BaseException:
            await give_up(worker, client, spec)
            raise
        return cls(worker, client, spec)

    @property
    def pid(self) -> int:
        return self._worker.pid

    @property
    def gpu_layers(self) -> int | None:
        return self._worker.gpu_layers

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[EngineEvent, None]:
        """See :meth:`studiolo.engines.base.Engine.complete`."""
        try:
            async with contextlib.aclosing(self._client.complete(request)) as events:
                async for event in events:
                    yield event
        except (OSError, PredictionError) as error:
            raise await self._explain(error) from None

    async def apply_template(self, chat: TemplateRequest) -> str:
        """See :meth:`studiolo.engines.base.Engine.apply_template`."""
        from ..chat_template import apply_template

        return await asyncio.to_thread(apply_template, chat, await self._model_template())

    async def knows_tools(self) -> bool:
        """See :meth:`studiolo.engines.base.Engine.knows_tools`."""
        return (await self._model_template()).takes_tools

    async def chat_with_tools(self, request: ToolChatRequest) -> AsyncGenerator[EngineEvent | ToolCallEvent, None]:
        """See :meth:`studiolo.engines.base.Engine.chat_with_tools`."""
        try:
            async with contextlib.aclosing(self._client.chat_with_tools(request)) as events:
                async for event in events:
                    yield event
        except (OSError, PredictionError) as error:
            raise await self._explain(error) from None

    async def _model_template(self) -> ModelTemplate:
        try:
            if self._template is None:
                self._template = await self._client.model_template()
        except OSError as error:
            raise await self._explain(error) from None
        return self._template

    async def tokenize(self, text: str) -> list[int]:
        """See :meth:`studiolo.engines.base.Engine.tokenize`."""
        try:
            return await self._client.tokenize(text)
        except OSError as error:
            raise await self._explain(error) from None

    async def embed(self, text: str) -> list[float]:
        """See :meth:`studiolo.engines.base.Engine.embed`."""
        try:
            return await self._client.embed(text)
        except OSError as error:
            raise await self._explain(error) from None

    async def health(self) -> None:
        """See :meth:`studiolo.engines.base.Engine.health`."""
        try:
            await self._client.health()
        except OSError as error:
            raise await self._explain(error) from None

    def abort(self, reason: str) -> None:
        """See :meth:`studiolo.engines.base.Engine.abort`."""
        self._worker.abort(reason)

    def death(self) -> EngineError:
        """See :meth:`studiolo.engines.base.Engine.death`."""
        return self._worker.death()

    async def stop(self) -> None:
        """See :meth:`studiolo.engines.base.Engine.stop`."""
        await self._worker.stop()
        await self._client.close()
        self._spec.socket_path.unlink(missing_ok=True)

    async def _explain(self, error: Exception) -> Exception:
        """A broken connection is most often a dead process; its end is noticed a moment later."""
        if isinstance(error, PredictionError):
            return error
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEATH_NOTICE_SEC):
                await self.exited.wait()
        if self.exited.is_set():
            return self._worker.death()
        return EngineError("The connection to the engine broke", cause=f"{type(error).__name__}: {error}")


async def give_up(worker: WorkerProcess, client: LlamaServerClient | None, spec: EngineSpec) -> None:
    """Leave nothing of a start that failed."""
    if client is not None:
        await client.close()
    await asyncio.shield(worker.stop())
    spec.socket_path.unlink(missing_ok=True)


async def check_drafting(client: LlamaServerClient, spec: EngineSpec) -> None:
    """The engine goes on without drafting where a draft model does not suit it. Raises :class:`EngineStartError`."""
    if spec.draft_path is not None and not await client.drafts():
        raise EngineStartError(
            f"The engine does not draft with {spec.draft_path.name}",
            cause="It is not made for the same vocabulary, or cannot be loaded; the engine's log tells more.",
            suggestion="Choose a smaller model of the same family as speculative_draft_model, or leave it out.",
        )
