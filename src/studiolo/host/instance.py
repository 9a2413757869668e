"""An instance: a model loaded in an engine, which is watched and started anew when it has died."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from ..config import DEFAULT_PARALLEL_PREDICTIONS, LoadConfig, PredictionConfig
from ..domain.events import CrashReport, LogLevel
from ..engines.base import Engine
from ..engines.registry import EngineKinds
from ..engines.spec import EngineSpec, LoadProgress, ModelFile, ModelFiles, ProcessRef
from ..errors import EngineDiedError, EngineError, EngineStartError, HostError, ModelFileError
from ..library.model import Model
from ..settings import Settings
from .crashes import Crashes
from .drafting import drafting_as, is_named
from .events import Events
from .load_plan import Estimate
from .log_events import LogEvents, publish_engine_log
from .predictions import Prediction
from .slots import Slots

InstanceState = Literal["loading", "idle", "busy", "crashed", "quarantined"]
OnProgress = Callable[[float], None]

_log = logging.getLogger("studiolo.instances")


class Instance:
    """A model loaded in an engine, or on its way there.

    Its engine is watched. It may die; the next request for it starts a new one, unless it dies again and again.

    Parameters:
        jit: whether it was loaded just in time, because a request named it.
    """

    def __init__(
        self,
        identifier: str,
        model: Model,
        config: LoadConfig,
        ttl_sec: float | None,
        shared: Shared,
        *,
        jit: bool = False,
    ) -> None:
        self.identifier = identifier
        self.reference = uuid.uuid4().hex
        self.model = model
        self.config = config
        self.ttl_sec = ttl_sec
        self.jit = jit
        self.evict_when_idle = False
        self.slots = Slots(identifier, config.max_parallel_predictions or DEFAULT_PARALLEL_PREDICTIONS)
        self.predictions: set[Prediction] = set()
        self.unloaded = False
        self._calls = 0  # that are no predictions
        self._cut_off: set[Prediction] = set()  # by the end of the latest engine
        self.draft: Model | None = None
        self.estimate: Estimate | None = None
        self._shared = shared
        self._watcher: asyncio.Task[None] | None = None
        self._engine: Engine | None = None
        self._starting = asyncio.Lock()
        self._clock = asyncio.get_running_loop().time
        self._last_used = self._clock()
        self._last_used_time: float | None = None

    @property
    def state(self) -> InstanceState:
        if self._starting.locked():
            return "loading"
        if self._engine is None or self._engine.exited.is_set():
            return "quarantined" if self._shared.crashes.quarantine_sec(self.model.path) else "crashed"
        return "busy" if self.predictions or self._calls else "idle"

    @property
    def context_length(self) -> int:
        return self.config.context_length or 0

    @property
    def gpu_layers(self) -> int | None:
        return self._engine.gpu_layers if self._engine else None

    @property
    def engine_name(self) -> str | None:
        return self._engine.name if self._engine else None

    @property
    def engine_note(self) -> str | None:
        """What the user should know of how the engine was started."""
        return self._engine.note if self._engine else None

    @property
    def process(self) -> ProcessRef | None:
        """The engine's process; ``None`` before its start and after its end."""
        return self._engine.process if self._engine and not self._engine.exited.is_set() else None

    @property
    def pid(self) -> int | None:
        process = self.process
        return process.pid if process else None

    @property
    def idle_sec(self) -> float:
        """Seconds since the last request ended; 0 while one runs."""
        return 0.0 if self.predictions or self._calls else self._clock() - self._last_used

    @property
    def last_used_time(self) -> float | None:
        """When the last request ended, in seconds since 1970; ``None`` while one runs and before the first."""
        return None if self.predictions or self._calls else self._last_used_time

    def _note_use(self) -> None:
        self._last_used = self._clock()
        self._last_used_time = time.time()

    @contextlib.asynccontextmanager
    async def slot(self, prediction: Prediction) -> AsyncGenerator[None]:
        """Wait for a slot and hold it; the instance counts as busy meanwhile.

        Raises:
            BusyError: see :meth:`Slots.slot`.
        """
        self.predictions.add(prediction)
        try:
            async with self.slots.slot(prediction.client, prediction, self._shared.settings().limits):
                yield
        except EngineDiedError:
            self._cut_off.add(prediction)
            raise
        finally:
            self.predictions.discard(prediction)
            self._note_use()

    async def embed(self, text: str, client: str) -> list[float]:
        """The vector of ``text``, on behalf of ``client``.

        Raises:
            PromptTooLongError, PredictionError, EngineError: as :meth:`studiolo.engines.base.Engine.embed`.
        """
        self._calls += 1
        try:
            # Texts come by the thousand, each in a call of its own: they wait, and none is refused.
            async with self.slots.slot(client, text, None):
                return await (await self.engine()).embed(text)
        finally:
            self._calls -= 1
            self._note_use()

    async def engine(self, on_progress: OnProgress | None = None, drafts: PredictionConfig | None = None) -> Engine:
        """The running engine; started, or started anew where it has died or has another draft model than is asked for.

        Parameters:
            on_progress: told how much of the model's file the engine has read, 0 to 1, where it comes to a start.
            drafts: the settings of a prediction, which may name a draft model.

        Raises:
            ModelNotFoundError, ConfigError, NotEnoughMemoryError: the draft model is not there, cannot draft for this
                one, or does not fit beside it; the engine goes on as it was.
            EngineStartError: it does not come up.
            QuarantinedError: it has crashed again and again.
            ModelFileError: the model's file is gone.
        """
        async with self._starting:
            if self._engine is not None and self._engine.exited.is_set():
                dead, self._engine = self._engine, None
                await dead.stop()
            if self.unloaded:
                raise HostError(f"The model {self.identifier} was unloaded")
            if drafts is not None and drafts.draft_model and not is_named(self.draft, drafts.draft_model):
                await self._change_draft(drafts)
            if self._engine is None:
                await self._start(on_progress)
            assert self._engine is not None
            self._last_used = self._clock()
            return self._engine

    async def unload(self) -> None:
        """End what runs on it, then its engine."""
        self.unloaded = True
        for prediction in list(self.predictions):
            prediction.stop("unloaded")
        async with self._starting:
            await self._end_engine()

    async def _end_engine(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
        if self._engine is not None:
            await self._engine.stop()
            self._log_engine(self._engine, "info", "Stopped")
            self._engine = None

    def _log_engine(self, engine: Engine, level: LogLevel, message: str) -> None:
        publish_engine_log(
            self._shared.logs, level, message, engine, identifier=self.identifier, reference=self.reference
        )

    async def _change_draft(self, asked: PredictionConfig) -> None:
        """Start the engine anew with the draft model that a prediction asks for, when what runs on it has ended."""
        config = drafting_as(self.config, asked)
        _, _, draft = await self._shared.settle(self, config, False)
        if draft is not None and self.draft is not None and draft.path == self.draft.path:
            return  # by another name
        while running := [prediction for prediction in self.predictions if prediction.engine is not None]:
            await asyncio.gather(*(prediction.ended() for prediction in running))
        await self._end_engine()
        before = self.config, self.estimate, self.draft
        try:
            self.config, self.estimate, self.draft = await self._shared.settle(self, config, True)
            await self._start(None)
        except BaseException:
            self.config, self.estimate, self.draft = before
            raise

    async def _start(self, on_progress: OnProgress | None) -> None:
        settings, crashes = self._shared.settings(), self._shared.crashes
        crashes.check(self.model.path, self.model.key)
        await asyncio.sleep(crashes.restart_delay_sec(self.model.path, settings.limits))
        if not self.model.path.exists():
            raise ModelFileError(
                f"The file of {self.model.key} is gone: {self.model.path}",
                suggestion="Put it back or fetch it again; studiolo ls shows what is there.",
            )
        kinds, model = self._shared.kinds, self.model
        folder = kinds.node.models
        spec = EngineSpec(
            identifier=self.identifier,
            domain=model.domain or "llm",
            config=self.config,
            files=ModelFiles(
                model=ModelFile.of(model.path, folder),
                projector=ModelFile.of(model.mmproj, folder) if model.mmproj else None,
                draft=ModelFile.of(self.draft.path, folder) if self.draft else None,
            ),
            architecture=model.metadata.architecture if model.metadata else "",
            layers=(model.metadata.block_count or 0) if model.metadata else 0,
            start_limit_sec=settings.loading.start_limit_sec,
        )

        def emit(progress: LoadProgress) -> None:
            if on_progress is not None:
                on_progress(progress.fraction)

        self._cut_off.clear()
        try:
            self._engine = await kinds.chosen.start(spec, emit)
        except EngineStartError as error:
            self._report(error, None)
            raise
        self._log_engine(self._engine, "info", f"Started for {self.model.key} with a context of {self.context_length}")
        self._watcher = asyncio.create_task(self._watch(self._engine), name=f"watch {self.identifier}")

    async def _watch(self, engine: Engine) -> None:
        """Ask the engine how it is, until it ends; end it when it does not answer; tell of an end unasked for."""
        while not engine.exited.is_set():
            limits = self._shared.settings().limits
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.health_interval_sec):
                    await engine.exited.wait()
                    break
            try:
                async with asyncio.timeout(limits.health_limit_sec):
                    await engine.health()
            except TimeoutError:
                engine.abort(f"it did not answer a health check within {limits.health_limit_sec:g} s")
                await engine.exited.wait()
            except EngineError as error:
                if not engine.exited.is_set():
                    engine.abort(str(error))
                    await engine.exited.wait()
        self._report(engine.death(), engine)

    def _report(self, error: EngineError, engine: Engine | None) -> None:
        known = self.predictions | self._cut_off
        running = [p.describe() for p in known if p.engine is engine] if engine else []
        self._shared.crashes.note(self.model.path, error, self._shared.settings().limits)
        report = CrashReport(
            time=time.time(),
            identifier=self.identifier,
            model_key=self.model.key,
            pid=engine.process.pid if engine else None,
            reason=error.title,
            log_tail=error.cause or "",
            running=running,
        )
        self._shared.crashes.reports.append(report)
        self._shared.events.publish(report)
        if engine is not None:
            self._log_engine(engine, "error", str(error))
        _log.error("%s: %s", self.identifier, error)


Settle = Callable[["Instance", LoadConfig, bool], Awaitable[tuple[LoadConfig, Estimate, Model | None]]]


@dataclass(frozen=True)
class Shared:
    """What all instances of a host share.

    Parameters:
        kinds: starts engines.
        settle: fills a config's defaults in for an instance, estimates what it takes, and finds its draft model; where
            told to, raises NotEnoughMemoryError if that is not granted.
        logs: where those listen who watch.
    """

    settings: Callable[[], Settings]
    kinds: EngineKinds
    crashes: Crashes
    events: Events[CrashReport]
    settle: Settle
    logs: LogEvents
