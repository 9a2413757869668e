"""Instances: models loaded in engines."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..config import DEFAULT_PARALLEL_PREDICTIONS, LoadConfig, explicit_fields
from ..engines.base import Engine, EngineSpec
from ..engines.registry import engine_class
from ..errors import ConfigError, EngineDiedError, EngineError, EngineStartError, HostError, ModelFileError
from ..library.model import Model
from ..settings import Settings
from .crashes import Crashes, CrashReport
from .events import Events
from .predictions import Prediction
from .resources import Estimate, Loaded, checked_settings, require, settle
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
        files: EngineFiles,
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
        self._files = files
        self._shared = shared
        self._watcher: asyncio.Task[None] | None = None
        self._engine: Engine | None = None
        self._starting = asyncio.Lock()
        self._clock = asyncio.get_running_loop().time
        self._last_used = self._clock()

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
    def pid(self) -> int | None:
        return self._engine.pid if self._engine and not self._engine.exited.is_set() else None

    @property
    def idle_sec(self) -> float:
        """Seconds since the last request ended; 0 while one runs."""
        return 0.0 if self.predictions or self._calls else self._clock() - self._last_used

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
            self._last_used = self._clock()

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
            self._last_used = self._clock()

    async def engine(self, on_progress: OnProgress | None = None) -> Engine:
        """The running engine; started, or started anew where it has died.

        Parameters:
            on_progress: told how much of the model's file the engine has read, 0 to 1, where it comes to a start.

        Raises:
            EngineStartError: it does not come up.
            QuarantinedError: it has crashed again and again.
            ModelFileError: the model's file is gone.
        """
        async with self._starting:
            if self._engine is not None and self._engine.exited.is_set():
                dead, self._engine = self._engine, None
                await dead.stop()
            if self._engine is None:
                if self.unloaded:
                    raise HostError(f"The model {self.identifier} was unloaded")
                self._engine = await self._start(on_progress)
                self._watcher = asyncio.create_task(self._watch(self._engine), name=f"watch {self.identifier}")
            self._last_used = self._clock()
            return self._engine

    async def unload(self) -> None:
        """End what runs on it, then its engine."""
        self.unloaded = True
        for prediction in list(self.predictions):
            prediction.stop("modelUnloaded")
        async with self._starting:
            if self._watcher is not None:
                self._watcher.cancel()
                await asyncio.wait([self._watcher])
            if self._engine is not None:
                await self._engine.stop()
                self._engine = None

    async def _start(self, on_progress: OnProgress | None) -> Engine:
        settings, crashes = self._shared.settings(), self._shared.crashes
        crashes.check(self.model.path, self.model.key)
        await asyncio.sleep(crashes.restart_delay_sec(self.model.path, settings.limits))
        if not self.model.path.exists():
            raise ModelFileError(
                f"The file of {self.model.key} is gone: {self.model.path}",
                suggestion="Put it back or fetch it again; studiolo ls shows what is there.",
            )
        spec = EngineSpec(
            model_path=self.model.path,
            domain=self.model.domain or "llm",
            config=self.config,
            log_path=self._files.log,
            socket_path=self._files.socket,
            mmproj_path=self.model.mmproj,
            draft_path=self.draft.path if self.draft else None,
            on_progress=on_progress,
            binary=settings.engine.llama_server,
            architecture=self.model.metadata.architecture if self.model.metadata else "",
            layers=(self.model.metadata.block_count or 0) if self.model.metadata else 0,
            start_limit_sec=settings.loading.start_limit_sec,
        )
        self._cut_off.clear()
        try:
            return await engine_class(settings.engine.name).start(spec)
        except EngineStartError as error:
            self._report(error, None)
            raise

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
            pid=engine.pid if engine else None,
            reason=error.title,
            log_tail=error.cause or "",
            running=running,
        )
        self._shared.crashes.reports.append(report)
        self._shared.events.publish(report)
        _log.error("%s: %s", self.identifier, error)


@dataclass(frozen=True)
class EngineFiles:
    """Where an instance's engine logs and listens."""

    log: Path
    socket: Path


@dataclass(frozen=True)
class Shared:
    """What all instances of a host share."""

    settings: Callable[[], Settings]
    crashes: Crashes
    events: Events[CrashReport]


@dataclass
class _Load:
    """A load under way, and those who wait for it."""

    task: asyncio.Task[Instance]
    progress: float = 0.0
    waiters: int = 0
    listeners: list[OnProgress] = field(default_factory=list[OnProgress])


class Instances:
    """All instances of a host, by identifier.

    Parameters:
        logs: the folder of the engines' logs.
        sockets: the folder of the engines' sockets.
        settings: the settings in force.
        find_model: finds a model in the library by its name; for draft models.
    """

    def __init__(
        self,
        logs: Path,
        sockets: Path,
        settings: Callable[[], Settings],
        find_model: Callable[[str], Awaitable[Model]],
    ) -> None:
        self._logs = logs
        self._sockets = sockets
        self._settings = settings
        self._find_model = find_model
        self._fitting = asyncio.Lock()
        self.crashes = Crashes()
        self.events: Events[CrashReport] = Events()
        self._instances: dict[str, Instance] = {}
        self._loads: dict[str, _Load] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._reaper: asyncio.Task[None] | None = None
        self._count = 0

    def all(self) -> list[Instance]:
        """Every instance, loading ones too, in the order of their loading."""
        return list(self._instances.values())

    def loaded(self) -> list[Instance]:
        """The instances that answer requests; a crashed one does, after a restart."""
        return [instance for name, instance in self._instances.items() if name not in self._loads]

    async def load(
        self,
        model: Model,
        config: LoadConfig,
        *,
        identifier: str | None = None,
        ttl_sec: float | None = None,
        jit: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Instance:
        """Load ``model`` as a new instance.

        Parameters:
            config: how to load it; what it leaves open comes from the model's settings, then from the defaults.
            identifier: its name; by default the model's key, with ``:2`` and so on for further instances.
            ttl_sec: seconds of idleness after which it is unloaded; ``None`` for never.
            jit: whether a request for it is the reason, and nobody's decision to load it.
            on_progress: told how far the load is, 0 to 1.

        Raises:
            ConfigError: the config asks for what the model cannot do, or the identifier is taken.
            NotEnoughMemoryError: it needs more memory than the guardrail grants.
            EngineStartError: the engine does not come up with it.
            QuarantinedError: it is loaded just in time, and its engine has crashed again and again.
        """
        in_force = self._with_own_settings(model, config)
        if jit:
            self.crashes.check(model.path, model.key)
        else:
            self.crashes.forgive(model.path)
        if identifier is None:
            identifier = self._free_identifier(model.key)
        elif identifier in self._instances:
            raise ConfigError(
                f"The identifier {identifier!r} is taken by a loaded model",
                suggestion="Choose another, or unload that one first.",
            )
        self._count += 1
        files = EngineFiles(log=self._logs / log_name(identifier), socket=self._sockets / f"{self._count}.sock")
        shared = Shared(self._settings, self.crashes, self.events)
        instance = Instance(identifier, model, in_force, ttl_sec, files, shared, jit=jit)
        self._instances[identifier] = instance
        task = asyncio.create_task(self._start(instance), name=f"load {identifier}")
        self._loads[identifier] = _Load(task)
        return await self.join_load(identifier, on_progress)

    async def estimate(self, model: Model, config: LoadConfig) -> Estimate:
        """What loading ``model`` with ``config`` would take now. Raises :class:`ConfigError`."""
        return (await self._settle(model, self._with_own_settings(model, config)))[1]

    def is_loading(self, identifier: str) -> bool:
        return identifier in self._loads

    async def join_load(self, identifier: str, on_progress: OnProgress | None = None) -> Instance:
        """Wait for a load under way. It is given up when nobody waits for it any more."""
        load = self._loads[identifier]
        load.waiters += 1
        if on_progress is not None:
            on_progress(load.progress)
            load.listeners.append(on_progress)
        try:
            return await asyncio.shield(load.task)
        finally:
            load.waiters -= 1
            if on_progress is not None:
                load.listeners.remove(on_progress)
            if load.waiters == 0 and not load.task.done():
                load.task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([load.task])

    async def unload(self, instance: Instance) -> None:
        """Unload: what runs on it ends with the stop reason ``modelUnloaded``."""
        load = self._loads.get(instance.identifier)
        if load is not None:
            load.task.cancel()
            await asyncio.wait([load.task])
        if self._instances.get(instance.identifier) is instance:
            del self._instances[instance.identifier]
        # Whoever asked may be cancelled meanwhile, and nobody else knows of the instance any more.
        ending = asyncio.create_task(instance.unload(), name=f"unload {instance.identifier}")
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)
        await asyncio.shield(ending)

    async def stop(self) -> None:
        """Unload everything."""
        if self._reaper is not None:
            self._reaper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reaper
        await asyncio.gather(*(self.unload(instance) for instance in self.all()), return_exceptions=True)
        await asyncio.gather(*self._endings, return_exceptions=True)

    def _with_own_settings(self, model: Model, config: LoadConfig) -> LoadConfig:
        own, asked = explicit_fields(self._settings().model(model.key).load), explicit_fields(config)
        for one, other in (("context_length", "auto_fit"), ("auto_fit", "context_length")):
            if asked.get(one):  # the two ways to say how long a context is wanted: the request's stands
                own.pop(other, None)
        return checked_settings(LoadConfig(**{**own, **asked}), model)

    async def _settle(
        self, model: Model, config: LoadConfig, but: Instance | None = None
    ) -> tuple[LoadConfig, Estimate, Model | None]:
        draft = await self._find_model(config.drafts_with) if config.drafts_with else None
        loaded = [
            Loaded(other.pid, other.model.path, other.estimate.total_bytes if other.estimate else 0)
            for other in self.all()
            if other is not but
        ]
        guardrail = self._settings().loading.guardrail
        return (*await asyncio.to_thread(settle, model, config, guardrail, loaded, draft), draft)

    async def _start(self, instance: Instance) -> Instance:
        load = self._loads[instance.identifier]

        def progress(done: float) -> None:
            load.progress = done
            for listener in list(load.listeners):
                listener(done)

        try:
            async with self._fitting:  # one after the other, so that two loads are not granted the same memory
                settled = await self._settle(instance.model, instance.config, instance)
                require(settled[1])
                instance.config, instance.estimate, instance.draft = settled
            await instance.engine(progress)
        except BaseException:
            del self._instances[instance.identifier]
            raise
        finally:
            del self._loads[instance.identifier]
        progress(1.0)
        if instance.ttl_sec is not None:
            self._watch_idleness()
        return instance

    async def evict_jit(self) -> None:
        """Make room for a model that is loaded just in time: unload those that were; busy ones once they are idle."""
        for instance in self.loaded():
            if instance.jit:
                instance.evict_when_idle = True
                if not instance.predictions:
                    await self.unload(instance)
                else:
                    self._watch_idleness()

    def _watch_idleness(self) -> None:
        if self._reaper is None:
            self._reaper = asyncio.create_task(self._unload_idle(), name="unload idle instances")

    async def _unload_idle(self) -> None:
        while True:
            waits = [i.ttl_sec - i.idle_sec for i in self.loaded() if i.ttl_sec is not None]
            await asyncio.sleep(min(max(min(waits, default=1.0), 0.05), 1.0))
            for instance in self.loaded():
                overdue = instance.ttl_sec is not None and instance.idle_sec >= instance.ttl_sec
                if overdue or (instance.evict_when_idle and not instance.predictions):
                    await self.unload(instance)

    def _free_identifier(self, key: str) -> str:
        identifier, number = key, 1
        while identifier in self._instances:
            number += 1
            identifier = f"{key}:{number}"
        return identifier


def log_name(identifier: str) -> str:
    """The name of the log of the instance's engine."""
    return "".join(c if c.isalnum() or c in "-_.@" else "_" for c in identifier)[:100] + ".log"
