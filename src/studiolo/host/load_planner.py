"""Plans loads: what a config leaves open, the memory that it takes beside what is loaded, the draft model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from ..config import LoadConfig, explicit_fields
from ..engines.base import EngineKind
from ..engines.registry import EngineKinds
from ..engines.spec import ProcessRef
from ..errors import ConfigError, ModelFileError, PathNotFoundError, UnsupportedError
from ..library.adapters import Adapter, misfit
from ..library.model import Model
from ..library.model_shape import read_shape
from ..settings import ModelSettings, Settings
from .devices import CACHE_SEC, Devices, Loaded
from .load_plan import Estimate, checked_settings, plan_load, require
from .not_found import no_draft_model
from .setting_origins import Origin, origins


class LoadPlan(Struct, frozen=True):
    """How a model is loaded.

    Parameters:
        config: with every default filled in.
        estimate: the memory that it takes.
        draft: the model that drafts for it.
        adapters: the LoRA adapters that change it, in the order of the config.
    """

    config: LoadConfig
    estimate: Estimate
    draft: Model | None
    adapters: Sequence[Adapter] = ()


class Planned(Protocol):
    """An instance, as far as plans are concerned."""

    @property
    def model(self) -> Model: ...
    @property
    def model_path(self) -> Path: ...
    @property
    def process(self) -> ProcessRef | None: ...
    @property
    def estimate(self) -> Estimate | None: ...
    def apply(self, plan: LoadPlan) -> None: ...


class LoadPlanner:
    """Plans the loads of one host.

    Parameters:
        kinds: the engine kinds, one of which the settings choose.
        devices: the memory that is free for models.
        settings: the settings in force.
        defaults: returns the settings of a model.
        find_model: finds a model in the library by any of its names.
        find_adapter: finds a LoRA adapter in the same way.
        loaded: the instances that have memory, or are being loaded.
    """

    def __init__(
        self,
        kinds: EngineKinds,
        devices: Devices,
        settings: Callable[[], Settings],
        defaults: Callable[[Model], ModelSettings],
        find_model: Callable[[str], Awaitable[Model]],
        find_adapter: Callable[[str], Awaitable[Adapter]],
        loaded: Callable[[], Iterable[Planned]],
    ) -> None:
        self._kinds = kinds
        self._devices = devices
        self._settings = settings
        self._defaults = defaults
        self._find_model = find_model
        self._find_adapter = find_adapter
        self._loaded = loaded
        self._granting = asyncio.Lock()

    def complete(self, model: Model, config: LoadConfig) -> LoadConfig:
        """Return ``config`` with what it leaves open from the model's settings.

        Raises:
            ConfigError: it asks for what the model cannot do.
        """
        own, asked = self._own(model, config), explicit_fields(config)
        return checked_settings(LoadConfig(**{**own, **asked}), model)

    def origins(self, model: Model, config: LoadConfig) -> dict[str, Origin]:
        """Return where the settings of :meth:`complete` come from; those that the host chooses are absent."""
        return origins(explicit_fields(config), self._own(model, config))

    def _own(self, model: Model, config: LoadConfig) -> dict[str, Any]:
        """Return the settings of the model's table that apply where a request asks for ``config``."""
        own, asked = explicit_fields(self._defaults(model).load), explicit_fields(config)
        if asked.get("auto_fit"):  # both say how long the context is: the request's stands
            own.pop("context_length", None)
        if "context_length" in asked or asked.get("auto_fit") is False:
            own.pop("auto_fit_min_context_length", None)
        return own

    async def plan(self, model: Model, config: LoadConfig, replaces: Planned | None = None) -> LoadPlan:
        """Return the plan of a load with a :meth:`complete` config.

        Parameters:
            replaces: an instance whose memory does not count.

        Raises:
            ConfigError: the model cannot be loaded so.
            ModelFileError: its file cannot be used.
            DraftModelNotFoundError: the draft model is not in the library.
            UnsupportedError: the engine takes no LoRA adapters.
        """
        draft = await self.draft_model(config.drafts_with) if config.drafts_with else None
        kind = self._kinds.chosen
        adapters = await self._adapters(config, kind)
        loaded = [_taken(other) for other in self._loaded() if other is not replaces]
        devices = await self._devices.free(kind, loaded, CACHE_SEC if replaces is None else 0.0)
        guardrail = self._settings().loading.guardrail

        def plan() -> tuple[LoadConfig, Estimate]:
            shape = read_shape(model)
            if draft is not None:
                shape = replace(shape, draft=read_shape(draft))
            for adapter in adapters:
                if (reason := misfit(adapter.metadata, model)) is not None:
                    raise ConfigError(
                        f"The LoRA adapter {adapter.key} does not fit {model.key}",
                        cause=f"{reason}.",
                        suggestion="studiolo ls shows the models that an adapter fits.",
                    )
            shape = replace(shape, adapter_bytes=sum(adapter.size_bytes for adapter in adapters))
            return plan_load(model, shape, config, guardrail, kind, devices, loaded)

        return LoadPlan(*await asyncio.to_thread(plan), draft, adapters)

    async def grant(self, instance: Planned, config: LoadConfig) -> None:
        """Plan the load of ``instance`` and apply the plan.

        Loads are granted one after the other, so that no two are granted the same memory.

        Raises:
            NotEnoughMemoryError: it needs more memory than the guardrail grants.
            ConfigError, ModelFileError, DraftModelNotFoundError: see :meth:`plan`.
        """
        async with self._granting:
            plan = await self.plan(instance.model, checked_settings(config, instance.model), instance)
            require(plan.estimate)
            instance.apply(plan)

    async def _adapters(self, config: LoadConfig, kind: EngineKind) -> list[Adapter]:
        if not config.adapters:
            return []
        if not (await kind.capabilities()).lora:
            raise UnsupportedError(
                f"The engine {kind.name} takes no LoRA adapters",
                suggestion="Leave the load config's field 'lora' out, or use another engine: [engine] name in"
                " config.toml.",
                feature="lora",
                engine=kind.name,
            )
        found: list[Adapter] = []
        for name in (setting.adapter for setting in config.adapters):
            try:
                adapter = await self._find_adapter(name)
            except (PathNotFoundError, ModelFileError) as error:
                raise ConfigError(
                    f"The load config's field 'lora' names {name!r}, which cannot be used",
                    cause=f"{error.title}. {error.cause or ''}".strip(),
                    suggestion=error.suggestion,
                ) from None
            if any(other.path == adapter.path for other in found):
                raise ConfigError(
                    f"The load config's field 'lora' names {adapter.key} twice", suggestion="Name it once."
                )
            found.append(adapter)
        return found

    async def draft_model(self, name: str) -> Model:
        """Return the draft model called ``name``. Raises :class:`DraftModelNotFoundError`."""
        try:
            return await self._find_model(name)
        except PathNotFoundError as error:
            raise no_draft_model(name, error) from None


def _taken(instance: Planned) -> Loaded:
    main, *gpus = instance.estimate.devices if instance.estimate else [None]
    return Loaded(
        instance.process,
        instance.model_path,
        main.needed_bytes if main else 0,
        {gpu.name: gpu.needed_bytes for gpu in gpus if gpu},
        loading=instance.process is None,
    )
