"""Leases: the uses of an instance."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from ..config import PredictionConfig
from ..domain.embeddings import Embeddings, Relevance
from ..domain.generation import StopReason
from ..engines.base import Engine
from ..errors import EngineDiedError, EngineStartError, QuarantinedError, UnsupportedError
from ..settings import LimitSettings
from .load_progress import LoadWatcher
from .totals import RequestKind, RequestTotals

if TYPE_CHECKING:
    from .instance import Instance

T = TypeVar("T")


class Holder(Protocol):
    """A prediction, as the holder of a lease."""

    @property
    def has_token(self) -> bool: ...

    def describe(self) -> str: ...

    def stop(self, reason: StopReason = "cancelled") -> None: ...


class Lease:
    """One use of an instance, taken before it waits for anything and released after it ends.

    An instance with leases is not evicted, does not expire, and is not restarted with another draft model. When it is
    unloaded all the same, it revokes its leases.

    Parameters:
        client: on whose behalf: clients take turns where slots are few.
    """

    def __init__(self, instance: Instance, client: str) -> None:
        self.instance = instance
        self.client = client
        self.engine: Engine | None = None
        """The engine that it uses, or used last."""
        self.prediction: Holder | None = None
        self.revoked = False
        self.requested_at = time.monotonic()
        """When its use was asked for: time limits count from here."""
        self.began_load = False
        """Whether the instance is loaded because of this use."""
        self._used = False
        self._ended = asyncio.Event()
        self._on_revoke: Callable[[], object] | None = None
        instance.leases.add(self)

    def release(self) -> None:
        """End the use. Safe to call twice."""
        if self in self.instance.leases:
            self.instance.leases.remove(self)
            self._ended.set()
            self.instance.on_release(used=self._used)

    async def ended(self) -> None:
        """Wait until it is released."""
        await self._ended.wait()

    def move_to(self, instance: Instance) -> None:
        """Use another instance from now on."""
        before, self.instance = self.instance, instance
        instance.leases.add(self)
        if self in before.leases:
            before.leases.remove(self)
            before.on_release(used=False)

    def hand_over(self, prediction: Holder) -> None:
        """Leave the release to ``prediction``, which is stopped where the instance is unloaded."""
        self.prediction = prediction
        self._on_revoke = lambda: prediction.stop("unloaded")

    def revoke(self) -> None:
        """End the use because the instance is unloaded."""
        self.revoked = True
        if self._on_revoke is not None:
            self._on_revoke()

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncGenerator[Lease]:
        """Release the lease at the end of the block, unless a prediction does it.

        Raises:
            ModelUnloadedError: the instance was unloaded meanwhile, which ends whatever the block waits for.
        """
        task = asyncio.current_task()
        assert task is not None
        earlier = task.cancelling()
        cancelled = False

        def cancel() -> None:
            nonlocal cancelled
            if task is not asyncio.current_task():
                cancelled = task.cancel()

        self._on_revoke = cancel
        if self.revoked:
            self.release()
            raise self.instance.departed()
        try:
            yield self
        except BaseException as error:
            by_revocation = cancelled and task.uncancel() <= earlier and isinstance(error, asyncio.CancelledError)
            if by_revocation or (self.revoked and isinstance(error, EngineDiedError)):
                raise self.instance.departed() from None
            raise
        else:
            if cancelled:
                task.uncancel()
        finally:
            if self.prediction is None:
                self.release()

    async def loaded(self, watcher: LoadWatcher | None = None) -> None:
        """Wait until the instance is loaded. A load that nobody waits for any more is given up.

        Raises:
            StudioloError: why it could not be loaded.
            ModelUnloadedError: it was unloaded meanwhile.
        """
        try:
            await self.instance.loaded(watcher)
        except BaseException:
            self.release()
            await self.instance.unloaded()
            raise

    @contextlib.asynccontextmanager
    async def on_engine(self, drafts: PredictionConfig | None = None) -> AsyncGenerator[Engine]:
        """Use the engine for the length of the block; it is started where it does not run.

        Parameters:
            drafts: the settings of a prediction, which may name a draft model. The lease may move to another instance
                of the model then.

        Raises:
            ModelNotFoundError, ConfigError, NotEnoughMemoryError: the draft model is not there, cannot draft for the
                model, or does not fit beside it.
            EngineStartError: the engine does not start.
            QuarantinedError: it has crashed again and again.
            ModelFileError: the model's file is gone.
            ModelUnloadedError: the instance was unloaded.
        """
        async with self._turn(drafts):
            yield await self.use_engine()

    @contextlib.asynccontextmanager
    async def in_slot(
        self, owner: object, limits: LimitSettings | None, drafts: PredictionConfig | None = None
    ) -> AsyncGenerator[Engine]:
        """Wait for a slot, then use the engine, as :meth:`on_engine`.

        Parameters:
            owner: what waits, for :meth:`Slots.place`.
            limits: queue limits; ``None`` means unbounded.

        Raises:
            BusyError: see :meth:`Slots.slot`.
        """
        async with self._turn(drafts):
            self._used = True
            async with self.instance.slots.slot(self.client, owner, limits):
                yield await self.use_engine()

    async def call(self, work: Callable[[Engine], Awaitable[T]]) -> T:
        """Return what ``work`` returns, which is called with the engine as in :meth:`on_engine`.

        If the engine dies meanwhile, ``work`` is repeated once, on the engine that replaces it: it must have no effect
        but its result.

        Raises:
            EngineDiedError: the next engine died, too, or there is none.
        """
        async with self.on_engine() as engine:
            return await self._repeated(engine, work)

    async def call_in_slot(
        self, owner: object, limits: LimitSettings | None, work: Callable[[Engine], Awaitable[T]]
    ) -> T:
        """Return what ``work`` returns, as :meth:`call`, in a slot as :meth:`in_slot`."""
        async with self.in_slot(owner, limits) as engine:
            return await self._repeated(engine, work)

    async def _repeated(self, engine: Engine, work: Callable[[Engine], Awaitable[T]]) -> T:
        try:
            return await work(engine)
        except EngineDiedError as death:
            return await work(await self.next_engine(death))

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """Return the vectors of ``texts``. Calls come by the thousand: they wait, and none is refused.

        Raises:
            UnsupportedError: the model reranks, and has no vectors.
            PromptTooLongError, PredictionError, EngineError: as :meth:`studiolo.engines.base.Engine.embed`.
        """
        if self.instance.reranks:
            raise UnsupportedError(
                f"{self.instance.model.key} is a reranking model, which has no embeddings",
                suggestion="Ask it how well texts answer a question (rerank), or name an embedding model.",
                feature="embeddings",
            )
        if self.instance.decides:
            raise UnsupportedError(
                f"{self.instance.model.key} is a decision model, which has no embeddings",
                suggestion="Name an embedding model.",
                feature="embeddings",
            )
        with self.counted("embedding") as totals:
            found = await self.call_in_slot(texts, None, lambda engine: engine.embed(texts))
            totals.tokens += sum(found.token_counts)
        return found

    async def rerank(self, query: str, texts: Sequence[str]) -> Relevance:
        """Return how well each text answers ``query``. As :meth:`embed`, calls wait, and none is refused.

        Raises:
            UnsupportedError: the model is no reranking model.
            PromptTooLongError, PredictionError, EngineError: as :meth:`studiolo.engines.base.Engine.rerank`.
        """
        if not self.instance.reranks:
            raise UnsupportedError(
                f"{self.instance.model.key} is not a reranking model",
                suggestion="Name a model whose file has the pooling type 'rank'.",
                feature="rerank",
            )

        async def rerank(engine: Engine) -> Relevance:
            if not engine.capabilities.rerank:
                raise UnsupportedError(f"The engine {engine.name} cannot rerank", feature="rerank")
            return await engine.rerank(query, texts)

        with self.counted("reranking") as totals:
            found = await self.call_in_slot(texts, None, rerank)
            totals.tokens += found.prompt_tokens
        return found

    async def tokenize(self, text: str) -> list[int]:
        """Return the tokens of ``text``. Raises as :meth:`on_engine`."""
        with self.counted("tokenizing") as totals:
            tokens = await self.call(lambda engine: engine.tokenize(text))
            totals.tokens += len(tokens)
        return tokens

    @contextlib.contextmanager
    def counted(self, kind: RequestKind) -> Generator[RequestTotals]:
        """Count the block as a request of the model, for the server's metrics."""
        totals = self.instance.totals.requests[kind]
        with totals.counted():
            yield totals

    @contextlib.asynccontextmanager
    async def _turn(self, drafts: PredictionConfig | None) -> AsyncGenerator[None]:
        await self._enter_gate(drafts)
        instance = self.instance
        try:
            yield
        except EngineDiedError as death:
            instance.cut_off.add(self)
            if (fault := instance.file_fault(death)) is not None:
                raise fault from None
            raise
        finally:
            instance.gate.leave()

    async def _enter_gate(self, drafts: PredictionConfig | None) -> None:
        """Wait for the use of the engine, with the draft model that a prediction names."""
        if drafts is None or not drafts.draft_model:
            await self.instance.gate.enter()
            return
        while True:
            draft, restart = await self.instance.find_draft(self, drafts)
            instance = self.instance
            if restart:
                await instance.change_draft(draft, drafts)
            else:
                await instance.gate.enter()
            if instance.draft_path == draft.path:
                return
            instance.gate.leave()  # another request has changed it while this one waited

    async def use_engine(self) -> Engine:
        """Return the engine, started again where it has died. Within the blocks of :meth:`on_engine`, :meth:`in_slot`.

        Raises:
            EngineStartError, QuarantinedError, ModelFileError, ModelUnloadedError: as :meth:`on_engine`.
        """
        self.engine = await self.instance.running_engine()
        return self.engine

    async def next_engine(self, death: EngineDiedError) -> Engine:
        """Return the engine that replaces the one that died, within the same blocks as :meth:`use_engine`.

        Raises:
            EngineDiedError: ``death``: the model's file has changed, or no engine starts.
            ModelFileError, ModelUnloadedError: as :meth:`on_engine`.
        """
        if self.instance.file_fault(death) is not None:  # another file is another model
            raise death
        try:
            return await self.use_engine()
        except (EngineStartError, QuarantinedError):
            raise death from None
