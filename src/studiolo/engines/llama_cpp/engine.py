"""A running engine: a worker process and the client that talks to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from ...domain.embeddings import Embeddings, Relevance
from ...domain.generation import ToolCallEvent
from ...errors import EngineError, PredictionError, UnsupportedError
from ..base import CompletionRequest, DecisionRequest, EngineEvent, TemplateRequest, ToolChatRequest
from ..chat_templates.control_tokens import ControlTokens
from ..chat_templates.formatting import ModelTemplate, apply_template
from ..prompt import Prompt
from ..spec import Capabilities, EngineSpec, Node, ProcessRef
from .launch_template import LaunchTemplate
from .params import worker_params
from .process import WorkerProcess

if TYPE_CHECKING:
    from .client import LlamaServerClient
    from .endpoint import Endpoint
    from .prompt_reader import PromptReader
    from .saved_prompts import SavedPrompts

DEATH_NOTICE_SEC = 1.0
"""How long after a broken connection the process's end is waited for, so that the error says how it ended."""


class LlamaCppEngine:
    """A llama-server in a process of its own, and the client that talks to it.

    Parameters:
        name, version: the engine kind's name, and the version of the program.
        spec: what it was started with.
        template: the model's chat template, as far as it has been examined.
        node: the machine that the process runs on.
        saved: where its prompts are written; ``None`` for nowhere.
    """

    def __init__(
        self,
        worker: WorkerProcess,
        client: LlamaServerClient,
        endpoint: Endpoint,
        name: str,
        version: str,
        capabilities: Capabilities,
        *,
        spec: EngineSpec,
        template: LaunchTemplate,
        node: Node,
        saved: SavedPrompts | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.capabilities = capabilities
        self.note = template.problem
        self.exited = worker.exited
        self._worker = worker
        self._client = client
        self._endpoint = endpoint
        self._node = node
        self._spec = spec
        self._launch_template = template
        self._template: ModelTemplate | None = None
        self._takes_tools = False
        self._reader = _prompt_reader(client, spec, saved)

    @property
    def process(self) -> ProcessRef:
        """The process of the server."""
        return ProcessRef(self._node.name, self._worker.pid)

    @property
    def gpu_layers(self) -> int | None:
        return self._worker.gpu_layers

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[EngineEvent, None]:
        """See :meth:`studiolo.engines.base.Engine.complete`."""
        try:
            async with contextlib.aclosing(self._reader.complete(request)) as events:
                async for event in events:
                    yield event
        except (OSError, PredictionError, UnsupportedError) as error:
            raise await self._explain(error) from None

    async def apply_template(self, chat: TemplateRequest) -> Prompt:
        """See :meth:`studiolo.engines.base.Engine.apply_template`."""
        return await apply_template(chat, await self._model_template(), self._node.templates)

    async def knows_tools(self) -> bool:
        """See :meth:`studiolo.engines.base.Engine.knows_tools`."""
        await self._model_template()
        return self._takes_tools

    async def chat_with_tools(self, request: ToolChatRequest) -> AsyncGenerator[EngineEvent | ToolCallEvent, None]:
        """See :meth:`studiolo.engines.base.Engine.chat_with_tools`."""
        try:
            tokens = (await self._model_template()).control_tokens
            async with contextlib.aclosing(self._reader.chat_with_tools(request, tokens)) as events:
                async for event in events:
                    yield event
        except (OSError, PredictionError, UnsupportedError) as error:
            raise await self._explain(error) from None

    async def _model_template(self) -> ModelTemplate:
        if self._template is not None:
            return self._template
        try:
            server = await self._client.facts()
        except OSError as error:
            raise await self._explain(error) from None
        facts = await self._launch_template.facts()
        vocabulary = self._spec.vocabulary
        spelled = [*vocabulary.control_tokens, *([server.media_marker] if self._spec.files.projector else [])]
        self._takes_tools = facts.for_engine and server.takes_tools
        self._template = ModelTemplate(
            template=vocabulary.chat_template,
            tool_template=vocabulary.tool_template,
            facts=facts,
            control_tokens=ControlTokens(spelled),
            bos_token=server.bos_token,
            eos_token=server.eos_token,
            adds_bos=server.adds_bos,
            media_marker=server.media_marker,
        )
        return self._template

    async def tokenize(self, text: str | Prompt) -> list[int]:
        """See :meth:`studiolo.engines.base.Engine.tokenize`."""
        try:
            return await self._client.tokenize(text)
        except OSError as error:
            raise await self._explain(error) from None

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """See :meth:`studiolo.engines.base.Engine.detokenize`."""
        try:
            return await self._client.detokenize(tokens)
        except OSError as error:
            raise await self._explain(error) from None

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """See :meth:`studiolo.engines.base.Engine.embed`."""
        try:
            return await self._client.embed(texts)
        except OSError as error:
            raise await self._explain(error) from None

    async def rerank(self, query: str, texts: Sequence[str]) -> Relevance:
        """See :meth:`studiolo.engines.base.Engine.rerank`."""
        try:
            return await self._client.rerank(query, texts)
        except OSError as error:
            raise await self._explain(error) from None

    async def decide(self, request: DecisionRequest) -> list[list[float]]:
        """See :meth:`studiolo.engines.base.Engine.decide`."""
        try:
            return await self._client.decide(request)
        except (OSError, UnsupportedError) as error:
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
        await self._reader.close(write=not self.exited.is_set())
        await self._worker.stop()
        await self._client.close()
        self._endpoint.remove()

    async def _explain(self, error: Exception) -> Exception:
        """Return the error to raise: a broken connection is most often a dead process, whose end is noticed later."""
        if isinstance(error, UnsupportedError):
            return error.by_engine(self.name, self.version)
        if isinstance(error, PredictionError):
            return error
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEATH_NOTICE_SEC):
                await self.exited.wait()
        if self.exited.is_set():
            return self._worker.death()
        return EngineError("The connection to the engine broke", cause=f"{type(error).__name__}: {error}")


def _prompt_reader(client: LlamaServerClient, spec: EngineSpec, saved: SavedPrompts | None) -> PromptReader:
    from .noted_prompts import NotedPrompts
    from .prompt_keeper import PromptKeeper
    from .prompt_reader import PromptReader

    params, noted, keeper = worker_params(spec.config, spec.domain, spec.layers), NotedPrompts(), None
    if saved is not None:
        cache_bytes = (spec.config.prompt_cache_mib or 0) << 20
        keeper = PromptKeeper(client, saved, noted, params["n_ctx"], cache_bytes)
    return PromptReader(client, params["n_parallel"], params["n_batch"], noted, keeper)
