"""An instance: a model loaded in an engine, which is watched and started again when it has died.

Longer than 400 lines because the state and the start, the watch and the end of the engine change the same few fields.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..config import DEFAULT_PARALLEL_PREDICTIONS, LoadConfig, PredictionConfig
from ..domain.events import CrashReport, LogLevel
from ..domain.vocabulary import Vocabulary
from ..engines.base import Engine
from ..engines.registry import EngineKinds
from ..engines.spec import LoadProgress, ProcessRef
from ..errors import EngineError, EngineStartError, ModelFileError, ModelUnloadedError
from ..library.adapters import Adapter
from ..library.model import Model
from ..library.vocabulary import read_vocabulary
from ..settings import Settings
from .crashes import Crashes, crash_key
from .drafting import drafting_as, undrafted
from .engine_gate import EngineGate
from .engine_start import engine_spec, start_engine
from .events import Events
from .lease import Holder, Lease
from .lifecycle import TRANSITIONS, State
from .load_plan import Estimate
from .load_planner import LoadPlan
from .load_progress import LoadBroadcast, LoadWatcher
from .loaded_files import LoadedFiles
from .log_events import LogEvents, publish_engine_log
from .notes import joined
from .setting_origins import Origin
from .slots import Slots
from .totals import ModelTotals, Totals

Activity = Literal["loading", "idle", "busy", "crashed", "quarantined"]
"""What an instance does, for people: its state, and for one whose engine runs whether it is used."""

UNWIND_LIMIT_SEC = 5.0
"""How long the users of an instance that is unloaded may take to stop, before its engine is stopped all the same."""

_log = logging.getLogger("studiolo.instances")


class Instance:
    """A model loaded in an engine, or on its way there.

    It is always in one :data:`state <studiolo.host.lifecycle.State>`. Every use of it holds a lease.

    Parameters:
        evictable: whether it was loaded because a request named it, and is replaced by the next model that is.
    """

    def __init__(
        self,
        identifier: str,
        model: Model,
        config: LoadConfig,
        ttl_sec: float | None,
        shared: Shared,
        *,
        evictable: bool = False,
    ) -> None:
        self.identifier = identifier
        self.reference = uuid.uuid4().hex
        self.model = model
        self.config = config
        self.ttl_sec = ttl_sec
        self.evictable = evictable
        self.leases: set[Lease] = set()
        self.gate = EngineGate()
        self.slots = Slots(identifier, config.max_parallel_predictions or DEFAULT_PARALLEL_PREDICTIONS)
        self.draft: Model | None = None
        self.adapters: Sequence[Adapter] = ()
        self.next_draft_path: Path | None = None
        """The draft model that the engine is about to be restarted with, or is being."""
        self.estimate: Estimate | None = None
        self.origins: dict[str, Origin] = {}
        """Where its settings come from; those that the host chose are absent."""
        self.vocabulary = Vocabulary()
        self.logged_mismatches: set[str] = set()
        """What the log has of requests with other load settings."""
        self.generated_tokens = 0
        self.cut_off: set[Lease] = set()
        """Leases whose work was ended by the death of the latest engine."""
        self.load_progress = LoadBroadcast(model)
        self.end_reason = ""
        """Why it is unloaded, as a clause."""
        self._state: State = "loading"
        self._shared = shared
        self._start: asyncio.Task[None] | None = None
        self._start_cancelled = False
        self._unload: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._engine: Engine | None = None
        self._files: LoadedFiles | None = None
        self._has_run = False
        self._clock = asyncio.get_running_loop().time
        self._last_used = self._clock()
        self._last_used_time: float | None = None

    @property
    def state(self) -> State:
        if self._state in ("crashed", "quarantined"):
            self._state = self._crashed_state()
        return self._state

    @property
    def was_loaded(self) -> bool:
        """Whether its engine has run; a crashed one is restarted by the next request."""
        return self._has_run

    @property
    def activity(self) -> Activity:
        """What it does, for people."""
        match self.state:
            case "ready" | "draining":
                return "busy" if self.leases else "idle"
            case "gone":
                return "idle"
            case state:
                return state

    @property
    def predictions(self) -> list[Holder]:
        """The predictions that run on it or wait for it."""
        return [lease.prediction for lease in self.leases if lease.prediction is not None]

    @property
    def totals(self) -> ModelTotals:
        """Where its loads, its predictions and other requests are counted."""
        return self._shared.totals.of(self.model.key)

    @property
    def context_length(self) -> int:
        return self.config.context_length or 0

    @property
    def model_path(self) -> Path:
        return self.model.path

    @property
    def draft_path(self) -> Path | None:
        return self.draft.path if self.draft else None

    @property
    def reranks(self) -> bool:
        """Whether it says how well texts answer a question, in place of computing their vectors."""
        return self.config.pooling_type == "rank"

    @property
    def decides(self) -> bool:
        """Whether it is a decision model."""
        return self.model.metadata is not None and self.model.metadata.decides

    @property
    def undrafted_config(self) -> LoadConfig:
        """Its config without the settings of a draft model."""
        return undrafted(self.config)

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
    def note(self) -> str | None:
        """What the user should know of the model, and of how its engine was started."""
        return joined(self.model.note, self.engine_note)

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
        """Seconds since the last lease was released; 0 while there is one."""
        return 0.0 if self.leases else self._clock() - self._last_used

    @property
    def last_use(self) -> float:
        """When it was used last, by the clock of the event loop; now while there is a lease."""
        return self._clock() if self.leases else self._last_used

    @property
    def last_used_time(self) -> float | None:
        """When the last request ended, in seconds since 1970; ``None`` while one runs and before the first."""
        return None if self.leases else self._last_used_time

    def lease(self, client: str = "") -> Lease:
        """Return a new lease. Raises :class:`ModelUnloadedError` if the instance is gone."""
        if self._state == "gone":
            raise self.departed()
        return Lease(self, client)

    def keep_for(self, ttl_sec: float | None) -> None:
        """Set the TTL, for the holder of a lease; ``None`` for never, also when another model is loaded on demand."""
        self.ttl_sec = ttl_sec
        if ttl_sec is None:
            self.evictable = False

    def on_release(self, *, used: bool) -> None:
        """Called when a lease was released: what waits for the last one happens now.

        Parameters:
            used: whether it was for a prediction or an embedding.
        """
        self._last_used = self._clock()
        if used:
            self._last_used_time = time.time()
        if self.leases:
            return
        if self._state == "loading" and self._start is not None:
            self._cancel_start()  # nobody waits for it any more
            if not self._has_run:
                self._end()
        elif self._state == "draining":
            self._end()
        self._shared.on_idle(self)

    def begin_load(self, prepare: Callable[[], Awaitable[None]], finish: Callable[[], Awaitable[None]]) -> None:
        """Begin to start the engine for the first time.

        Parameters:
            prepare: called before the engine is started.
            finish: called after the engine was started.
        """

        async def load() -> None:
            with self.totals.loads.counted():
                await prepare()
                await self._launch()
            await finish()
            self.load_progress.advance(1.0)

        self._begin_start(load())

    async def loaded(self, watcher: LoadWatcher | None = None) -> None:
        """Wait until the instance is loaded, for the holder of a lease.

        Raises:
            StudioloError: why it could not be loaded.
            ModelUnloadedError: it was unloaded meanwhile.
        """
        if self._state == "loading" and not self._has_run and self._start is not None:
            with self.load_progress.watched_by(watcher):
                await self._started(self._start)

    async def unloaded(self) -> None:
        """Wait until the engine of an instance that is gone has stopped; return at once for any other."""
        if self._unload is not None:
            await asyncio.wait([self._unload])

    async def running_engine(self) -> Engine:
        """Return the engine, when it runs. It is started where it has died. For holders of a lease.

        Raises:
            EngineStartError, QuarantinedError, ModelFileError, ModelUnloadedError: see :meth:`Lease.on_engine`.
        """
        while True:
            if self._engine is not None and self._engine.exited.is_set():
                self._on_death(self._engine)
            match self._state:
                case "ready" | "draining":
                    assert self._engine is not None
                    return self._engine
                case "loading":
                    assert self._start is not None
                    await self._started(self._start)
                case "crashed" | "quarantined":
                    self._shared.crashes.check(crash_key(self.model.path), self.model.key)
                    self._begin_start(self._restart())
                case "gone":
                    raise self.departed()

    async def find_draft(self, lease: Lease, asked: PredictionConfig) -> tuple[Model, bool]:
        """Find the draft model that a prediction names, and move ``lease`` to an instance with it, if there can be one.

        Returns the draft model, and whether the engine of the lease's instance must be restarted with it.
        """
        return await self._shared.find_draft(lease, asked)

    async def change_draft(self, draft: Model, asked: PredictionConfig) -> None:
        """Wait until nobody uses the engine, restart it with a draft model, and enter the gate."""
        self.next_draft_path = draft.path
        try:
            await self.gate.enter(alone=True)
            try:
                if self.draft_path != draft.path:
                    await self.running_engine()  # what it would raise is raised before anything is ended
                    self._begin_start(self._restart_with(drafting_as(self.config, asked)))
                    assert self._start is not None
                    await self._started(self._start)
            except BaseException:
                self.gate.leave()
                raise
        finally:
            if self.next_draft_path == draft.path:
                self.next_draft_path = None
        self.gate.share()

    async def _restart_with(self, config: LoadConfig) -> None:
        before = self.config, self.estimate, self.draft, self.adapters
        await self._stop_engine()
        try:
            await self._shared.grant(self, config)
            await self._launch()
        except BaseException:
            self.config, self.estimate, self.draft, self.adapters = before
            raise

    def departed(self) -> ModelUnloadedError:
        """Return the error for a use of an instance that was unloaded."""
        reason = f" {self.end_reason}" if self.end_reason else ""
        return ModelUnloadedError(
            f"The model {self.identifier} was unloaded{reason}", suggestion="Load the model again."
        )

    def drain(self, reason: str) -> asyncio.Task[None] | None:
        """Unload when the last lease is released. Returns the unloading where there is none.

        Parameters:
            reason: why, as a clause: "The model was unloaded ...".
        """
        if not self.leases:
            return self.unload(reason)
        if self._state == "ready":
            self.end_reason = reason
            self._enter("draining")
        return None

    def unload(self, reason: str) -> asyncio.Task[None]:
        """Begin to unload: revoke the leases, then stop the engine. Returns the task that does.

        Parameters:
            reason: see :meth:`drain`.
        """
        if self._unload is not None:
            return self._unload
        self.end_reason = reason
        return self._end()

    def apply(self, plan: LoadPlan) -> None:
        """Take the settings of a plan."""
        self.config, self.estimate, self.draft = plan.config, plan.estimate, plan.draft
        self.adapters = plan.adapters

    def _enter(self, state: State) -> None:
        assert state in TRANSITIONS[self._state], f"{self.identifier}: {state} after {self._state}"
        self._state = state

    def _crashed_state(self) -> State:
        quarantined = self._shared.crashes.quarantine_sec(crash_key(self.model.path))
        return "quarantined" if quarantined else "crashed"

    def _begin_start(self, work: Coroutine[Any, Any, None]) -> None:
        if self._state != "loading":
            self._enter("loading")
        self._start_cancelled = False
        self._start = asyncio.create_task(work, name=f"start {self.identifier}")
        self._start.add_done_callback(self._on_start_done)

    def _on_start_done(self, start: asyncio.Task[None]) -> None:
        failed = start.cancelled() or start.exception() is not None
        if self._state != "loading":
            return
        if not failed:
            self._has_run = True
            self._enter("ready")
            if self._engine is not None and self._engine.exited.is_set():
                self._on_death(self._engine)
        elif self._has_run:
            self._enter(self._crashed_state())
        else:
            self._end(revoke=False)  # those who wait get the error of the start

    def _cancel_start(self) -> None:
        """Cancel the start, once: a second cancellation would interrupt the end of its engine."""
        if self._start is not None and not self._start_cancelled:
            self._start_cancelled = True
            self._start.cancel()

    async def _started(self, start: asyncio.Task[None]) -> None:
        """Wait for a start; raise what it raised."""
        await asyncio.wait([start])
        if start.cancelled():
            if self._state == "gone":
                raise self.departed()
        else:
            start.result()

    def _end(self, *, revoke: bool = True) -> asyncio.Task[None]:
        self._enter("gone")
        self._unload = asyncio.create_task(self._wind_down(), name=f"unload {self.identifier}")
        self._shared.on_gone(self, self._unload)
        if revoke:
            for lease in list(self.leases):
                lease.revoke()
        return self._unload

    async def _wind_down(self) -> None:
        if self._start is not None and not self._start.done():
            self._cancel_start()
            await asyncio.wait([self._start])
        is_alone = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(UNWIND_LIMIT_SEC):
                await self.gate.enter(alone=True)
                is_alone = True
        await self._stop_engine()
        if is_alone:
            self.gate.leave()  # those who still wait for the engine get the error

    async def _restart(self) -> None:
        await self._stop_engine()
        await asyncio.sleep(
            self._shared.crashes.restart_delay_sec(crash_key(self.model.path), self._shared.settings().limits)
        )
        await self._launch()

    async def _stop_engine(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
        if self._engine is not None:
            died = self._engine.exited.is_set()
            await self._engine.stop()
            if not died:
                self._log_engine(self._engine, "info", "Stopped")
            self._engine = None

    async def _launch(self) -> None:
        settings = self._shared.settings()
        if not self.model.path.exists():
            raise ModelFileError(
                f"The file of {self.model.key} is gone: {self.model.path}",
                suggestion="Put it back or fetch it again; studiolo ls shows what is there.",
            )
        kinds, limit = self._shared.kinds, settings.loading.start_limit_sec
        self.vocabulary = await asyncio.to_thread(read_vocabulary, self.model.path)
        spec = engine_spec(
            self.identifier,
            self.model,
            self.config,
            self.draft,
            self.adapters,
            self.vocabulary,
            kinds.node.models,
            limit,
        )
        self.cut_off.clear()
        files = LoadedFiles.of(self.model, self.draft, self.adapters)
        try:
            self._engine, self.model = await start_engine(kinds.chosen, spec, self.model, self._on_load_progress)
        except EngineStartError as error:
            if (fault := self.file_fault(error)) is not None:
                raise fault from None
            self._note_crash(error, None)
            raise
        self._files = files
        self._log_engine(self._engine, "info", f"Started for {self.model.key} with a context of {self.context_length}")
        self._watcher = asyncio.create_task(self._watch(self._engine), name=f"watch {self.identifier}")

    def file_fault(self, end: EngineError) -> ModelFileError | None:
        """Return the error for a file that has changed since the model was loaded; ``None`` if there is none.

        Parameters:
            end: how the engine ended, or why it does not start again.
        """
        return self._files.fault(end) if self._files is not None and self._state != "gone" else None

    def _on_load_progress(self, progress: LoadProgress) -> None:
        self.load_progress.advance(progress.fraction)

    async def _watch(self, engine: Engine) -> None:
        """Check the engine's health until it ends, and end it where it does not answer."""
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
        self._on_death(engine)

    def _on_death(self, engine: Engine) -> None:
        """Note the unexpected end of the engine. Calls after the first do nothing."""
        if engine is not self._engine or self._state not in ("ready", "draining"):
            return
        self._note_crash(engine.death(), engine)
        if self._state == "draining" and not self.leases:
            self._end()
        else:
            self._enter(self._crashed_state())

    def _note_crash(self, error: EngineError, engine: Engine | None) -> None:
        """Count a crash against the model, unless its file was changed, and publish a report of it."""
        crashes, fault = self._shared.crashes, self.file_fault(error)
        self.totals.crashes += 1
        if fault is None:
            crashes.note(crash_key(self.model.path), error, self._shared.settings().limits)
        ended = {lease for lease in self.leases | self.cut_off if engine is not None and lease.engine is engine}
        report = CrashReport(
            time=time.time(),
            identifier=self.identifier,
            model_key=self.model.key,
            pid=engine.process.pid if engine else None,
            reason=(fault or error).title,
            log_tail=error.cause or "",
            running=[lease.prediction.describe() for lease in ended if lease.prediction is not None],
        )
        crashes.reports.append(report)
        self._shared.events.publish(report)
        if engine is not None:
            self._log_engine(engine, "error", str(error))
        _log.error("%s: %s", self.identifier, error)

    def _log_engine(self, engine: Engine, level: LogLevel, message: str) -> None:
        publish_engine_log(
            self._shared.logs, level, message, engine, identifier=self.identifier, reference=self.reference
        )


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the instances of a host share.

    Parameters:
        kinds: starts engines.
        events: where crashes are published.
        logs: where log events are published.
        totals: counts what happens, by model.
        grant: applies a config to an instance; raises NotEnoughMemoryError if the guardrail does not grant it.
        find_draft: see :meth:`Instance.find_draft`.
        on_idle: called when the last lease of an instance was released.
        on_gone: called with an instance that is unloaded, and the task that stops its engine.
    """

    settings: Callable[[], Settings]
    kinds: EngineKinds
    crashes: Crashes
    events: Events[CrashReport]
    logs: LogEvents
    totals: Totals
    grant: Callable[[Instance, LoadConfig], Awaitable[None]]
    find_draft: Callable[[Lease, PredictionConfig], Awaitable[tuple[Model, bool]]]
    on_idle: Callable[[Instance], None]
    on_gone: Callable[[Instance, asyncio.Task[None]], None]
