"""All instances of a host: loaded, shared, evicted, unloaded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from ..config import LoadConfig, PredictionConfig
from ..domain.events import CrashReport
from ..domain.models import check_identifier
from ..engines.registry import EngineKinds
from ..errors import HostError, NotEnoughMemoryError
from ..library.adapters import Adapter
from ..library.model import Model
from ..settings import ModelSettings, Settings
from .crashes import Crashes, crash_key
from .departed import Departure, Departures
from .devices import Devices
from .drafting import drafting_as, is_named
from .events import Events
from .instance import Instance, Shared
from .lease import Lease
from .lifecycle import next_deadline_sec, overdue, place_draft, to_evict
from .load_plan import Estimate
from .load_planner import LoadPlanner
from .log_events import LogEvents
from .setting_origins import SettingInForce, settings_in_force
from .totals import Totals


class Instances:
    """All instances of a host, by identifier.

    Parameters:
        kinds: starts engines.
        devices: the memory that is free for models.
        settings: the settings in force.
        defaults: returns the settings of a model.
        find_model: finds a model in the library by any of its names; for draft models.
        find_adapter: finds a LoRA adapter in the same way.
        remember_used: called with each model that was loaded.
        log_events: where log events are published.
    """

    def __init__(
        self,
        kinds: EngineKinds,
        devices: Devices,
        settings: Callable[[], Settings],
        defaults: Callable[[Model], ModelSettings],
        find_model: Callable[[str], Awaitable[Model]],
        find_adapter: Callable[[str], Awaitable[Adapter]],
        remember_used: Callable[[Model], Awaitable[None]],
        log_events: LogEvents,
    ) -> None:
        self._settings = settings
        self._remember_used = remember_used
        self._instances: dict[str, Instance] = {}
        self._unloading: set[asyncio.Task[None]] = set()
        self._planner = LoadPlanner(kinds, devices, settings, defaults, find_model, find_adapter, self.all)
        self.crashes = Crashes(lambda: asyncio.get_running_loop().time())
        self.departures = Departures()
        self.events: Events[CrashReport] = Events()
        self.totals = Totals()
        self._shared = Shared(
            settings=settings,
            kinds=kinds,
            crashes=self.crashes,
            events=self.events,
            logs=log_events,
            totals=self.totals,
            grant=self._planner.grant,
            find_draft=self._find_draft,
            on_idle=self._on_idle,
            on_gone=self._on_gone,
        )
        self._reaper: asyncio.Task[None] | None = None
        self._reaper_wakes = asyncio.Event()

    def all(self) -> list[Instance]:
        """Every instance that is not gone, loading ones too, in the order of their loading."""
        return list(self._instances.values())

    def loaded(self) -> list[Instance]:
        """The instances that were loaded; a crashed one is, since the next request restarts it."""
        return [instance for instance in self._instances.values() if instance.was_loaded]

    def begin_load(
        self,
        model: Model,
        config: LoadConfig,
        *,
        identifier: str | None = None,
        ttl_sec: float | None = None,
        evictable: bool = False,
        evicts: bool = False,
    ) -> Instance:
        """Begin to load ``model``, and return the new instance. The load is given up when it has no lease.

        Parameters:
            config: how to load it; what it leaves open comes from the model's settings, then from the defaults.
            identifier: its name; by default the model's key, with ``:2`` and so on for further instances.
            ttl_sec: seconds of idleness after which it is unloaded; ``None`` for never.
            evictable: whether a request is the reason, and not a decision of the user.
            evicts: whether it replaces the models that were loaded on demand.

        Raises:
            ConfigError: the config asks for what the model cannot do, or the identifier is not readable.
            HostError: the identifier is taken.
            QuarantinedError: it is loaded on demand, and its engine has crashed again and again.
        """
        completed = self._planner.complete(model, config)
        if evictable:
            self.crashes.check(crash_key(model.path), model.key)
        else:
            self.crashes.forgive(crash_key(model.path))
        if identifier is None:
            identifier = self._free_identifier(model.key)
        else:
            check_identifier(identifier)
        if identifier in self._instances:
            # A title alone: the official Python client then shows it on the line that its users match.
            raise HostError(f"A model with the identifier {identifier!r} already exists: choose another, or unload it")
        instance = self._begin(identifier, model, completed, ttl_sec, evictable=evictable, evicts=evicts)
        instance.origins = self._planner.origins(model, config)
        return instance

    def _begin(
        self,
        identifier: str,
        model: Model,
        config: LoadConfig,
        ttl_sec: float | None,
        *,
        evictable: bool,
        evicts: bool = False,
    ) -> Instance:
        instance = Instance(identifier, model, config, ttl_sec, self._shared, evictable=evictable)
        self._instances[identifier] = instance

        async def prepare() -> None:
            if evicts:
                self._evict(instance)
            while self._unloading:  # the memory of those that are being unloaded is about to be free
                await asyncio.wait(self._unloading)
            await self._planner.grant(instance, config)
            instance.load_progress.begin()

        async def finish() -> None:
            await self._remember_used(model)

        instance.begin_load(prepare, finish)
        return instance

    async def estimate(self, model: Model, config: LoadConfig) -> Estimate:
        """Return what loading ``model`` with ``config`` would take now. Raises :class:`ConfigError`."""
        return (await self._planner.plan(model, self._planner.complete(model, config))).estimate

    async def plan(self, model: Model, config: LoadConfig) -> tuple[Estimate, list[SettingInForce]]:
        """Return what loading ``model`` with ``config`` would take now, and the settings that would be in force.

        Raises:
            ConfigError: the config asks for what cannot be done.
            ModelFileError: the model's file cannot be used.
        """
        plan = await self._planner.plan(model, self._planner.complete(model, config))
        return plan.estimate, settings_in_force(plan.config, self._planner.origins(model, config))

    async def unload(self, instance: Instance) -> None:
        """Unload ``instance``, and return when its engine has stopped. Predictions on it end with a result."""
        await asyncio.shield(instance.unload("by a client"))  # it is unloaded even if the caller is cancelled

    async def retire(self, instance: Instance, reason: str) -> None:
        """Unload ``instance`` when its last use has ended, and return when its engine has stopped.

        Parameters:
            reason: see :meth:`Instance.drain`.
        """
        while instance.state != "gone" and instance.drain(reason) is None:
            await asyncio.gather(*(lease.ended() for lease in list(instance.leases)))
        await instance.unloaded()

    async def stop(self) -> None:
        """Unload everything."""
        if self._reaper is not None:
            self._reaper.cancel()
            await asyncio.wait([self._reaper])
        for instance in self.all():
            instance.unload("because the host is stopping")
        while self._unloading:
            await asyncio.wait(self._unloading)

    def _evict(self, replacement: Instance) -> None:
        for instance in to_evict(self.all()):
            if instance.model_path != replacement.model_path:
                replacement.load_progress.evict(instance)
                instance.drain(f"to make room for {replacement.identifier} (loading.auto_evict)")

    def _on_gone(self, instance: Instance, unloading: asyncio.Task[None]) -> None:
        del self._instances[instance.identifier]
        if instance.was_loaded:
            departure = Departure(instance.identifier, instance.model.key, instance.end_reason or "by the host")
            self.departures.note(departure, instance.reference)
        self._unloading.add(unloading)
        unloading.add_done_callback(self._unloading.discard)

    def _on_idle(self, instance: Instance) -> None:
        if instance.ttl_sec is not None:
            if self._reaper is None:
                self._reaper = asyncio.create_task(self._unload_overdue(), name="unload idle instances")
            self._reaper_wakes.set()

    async def _unload_overdue(self) -> None:
        while True:
            self._reaper_wakes.clear()
            for instance in overdue(self.all()):
                instance.unload(f"after {instance.ttl_sec:g} s of idleness (its ttl)")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(next_deadline_sec(self.all())):
                    await self._reaper_wakes.wait()

    async def _find_draft(self, lease: Lease, asked: PredictionConfig) -> tuple[Model, bool]:
        """Find where a prediction runs that names a draft model: see :func:`studiolo.host.lifecycle.place_draft`.

        Where there is no memory for an instance of its own, the prediction's own instance is restarted, too.
        """
        current, name = lease.instance, asked.draft_model or ""
        draft = current.draft
        if draft is None or not is_named(draft, name):
            draft = await self._planner.draft_model(name)
        config = drafting_as(current.config, asked)
        place = place_draft(current, self.all(), draft.path)
        fits = place == "load" and (await self._planner.plan(current.model, config)).estimate.fits
        place = place_draft(current, self.all(), draft.path)  # another request may have been faster
        if place == "restart" or (place == "load" and not fits):
            return draft, True
        if place == "load":
            identifier, ttl_sec = self._free_identifier(current.model.key), self._settings().loading.jit_ttl_sec
            place = self._begin(identifier, current.model, config, ttl_sec, evictable=True)
            place.draft = draft
        if place is not current:
            try:
                await _move(lease, place)
            except NotEnoughMemoryError:  # another load has taken it
                return draft, True
        return draft, False

    def _free_identifier(self, key: str) -> str:
        identifier, number = key, 1
        while identifier in self._instances:
            number += 1
            identifier = f"{key}:{number}"
        return identifier


async def _move(lease: Lease, target: Instance) -> None:
    """Move a lease to another instance, when that is loaded."""
    waiting = target.lease(lease.client)
    try:
        await waiting.loaded()
        lease.move_to(target)
    finally:
        waiting.release()
