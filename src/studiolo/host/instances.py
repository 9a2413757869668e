"""All instances of a host: loaded, shared, evicted, unloaded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from ..config import LoadConfig, explicit_fields
from ..domain.events import CrashReport
from ..engines.registry import EngineKinds
from ..errors import HostError, PathNotFoundError
from ..library.model import Model
from ..library.model_shape import read_shape
from ..settings import Settings
from .crashes import Crashes
from .devices import CACHE_SEC, Devices, Loaded
from .events import Events
from .instance import Instance, OnProgress, Shared
from .load_plan import Estimate, checked_settings, plan_load, require
from .log_events import LogEvents
from .not_found import no_draft_model

OnEvict = Callable[[Instance], None]


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
        kinds: starts engines.
        devices: the memory that is free for models.
        settings: the settings in force.
        find_model: finds a model in the library by its name; for draft models.
        log_events: where those listen who watch.
    """

    def __init__(
        self,
        kinds: EngineKinds,
        devices: Devices,
        settings: Callable[[], Settings],
        find_model: Callable[[str], Awaitable[Model]],
        log_events: LogEvents,
    ) -> None:
        self._kinds = kinds
        self._devices = devices
        self._settings = settings
        self._find_model = find_model
        self._fitting = asyncio.Lock()
        self.crashes = Crashes()
        self.events: Events[CrashReport] = Events()
        self._shared = Shared(settings, kinds, self.crashes, self.events, self._settle_anew, log_events)
        self._instances: dict[str, Instance] = {}
        self._loads: dict[str, _Load] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._reaper: asyncio.Task[None] | None = None

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
            ConfigError: the config asks for what the model cannot do.
            HostError: the identifier is taken.
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
            # A title alone: the official Python client then shows it on the line that its users match.
            raise HostError(f"A model with the identifier {identifier!r} already exists: choose another, or unload it")
        instance = Instance(identifier, model, in_force, ttl_sec, self._shared, jit=jit)
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
        if asked.get("auto_fit"):  # the ways to say how long a context is wanted: the request's stands
            own.pop("context_length", None)
        if "context_length" in asked or asked.get("auto_fit") is False:
            own.pop("auto_fit_min_context_length", None)
        return checked_settings(LoadConfig(**{**own, **asked}), model)

    async def _settle(
        self, model: Model, config: LoadConfig, but: Instance | None = None
    ) -> tuple[LoadConfig, Estimate, Model | None]:
        draft = await self._draft_model(config.drafts_with) if config.drafts_with else None
        kind = self._kinds.chosen
        loaded = [self._taken(other) for other in self.all() if other is not but]
        devices = await self._devices.free(kind, loaded, CACHE_SEC if but is None else 0.0)
        guardrail = self._settings().loading.guardrail

        def plan() -> tuple[LoadConfig, Estimate]:
            shape = read_shape(model)
            if draft is not None:
                shape = replace(shape, draft=read_shape(draft))
            return plan_load(model, shape, config, guardrail, kind, devices, loaded)

        return (*await asyncio.to_thread(plan), draft)

    def _taken(self, instance: Instance) -> Loaded:
        main, *gpus = instance.estimate.devices if instance.estimate else [None]
        return Loaded(
            instance.process,
            instance.model.path,
            main.needed_bytes if main else 0,
            {gpu.name: gpu.needed_bytes for gpu in gpus if gpu},
            loading=instance.process is None,
        )

    async def _draft_model(self, name: str) -> Model:
        try:
            return await self._find_model(name)
        except PathNotFoundError as error:
            raise no_draft_model(name, error) from None

    async def _settle_anew(
        self, instance: Instance, config: LoadConfig, granted: bool
    ) -> tuple[LoadConfig, Estimate, Model | None]:
        async with self._fitting:
            settled = await self._settle(instance.model, checked_settings(config, instance.model), instance)
            if granted:
                require(settled[1])
            return settled

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

    async def evict_jit(self, on_evict: OnEvict | None = None) -> None:
        """Unload the models that were loaded on demand, to make room for another; busy ones once they are idle."""
        for instance in self.loaded():
            if instance.jit:
                if on_evict is not None:
                    on_evict(instance)
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
