"""Which instance serves a request: one that is loaded, one that is loading, or a model that is loaded for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from ..config import LoadConfig
from ..config.mismatch import Mismatch, described, mismatches
from ..domain.models import Domain, ModelReference
from ..errors import LoadMismatchError, ModelFileError, ModelNotFoundError, ModelUnloadedError, PathNotFoundError
from ..library.model import Model, as_domain
from ..library.model_library import Library
from ..settings import Settings
from .instance import Instance
from .instances import Instances
from .lease import Lease
from .load_progress import LoadWatcher
from .machine import check_device
from .matching import check_domain, match
from .not_found import departed, matches_no_model, not_loaded, query_data

OnMismatch = Literal["keep", "error", "reload"]

MAX_LOGGED_MISMATCHES = 100
"""Differences of an instance that are logged at level WARNING, each once; others are debug messages."""

_log = logging.getLogger("studiolo.host")


@dataclass(frozen=True, kw_only=True)
class LoadRequest:
    """How a model is loaded, where a request needs it.

    Parameters:
        config: what it leaves open comes from the model's settings, then from the defaults.
        ttl_sec: seconds of idleness after which it is unloaded; defaults to the setting ``loading.jit_ttl_sec``.
        stays: it has no TTL, and is not replaced by the next model that is loaded on demand.
        explicit: it is loaded even where the setting ``loading.jit`` is off.
        sets_domain: it is used in the domain of the request, whatever its file says.
        compares_ttl: whether ``ttl_sec`` was asked for, and must be in force on an instance that is loaded already.
        on_mismatch: what happens where an instance is loaded already with other settings: it is kept and the watcher
            called, the request is refused, or it is loaded again with these settings when its last use has ended.
        replaces: the instance whose identifier and kind the new one takes over.
        watcher: called with what happens until it is loaded.
    """

    config: LoadConfig = field(default_factory=LoadConfig)
    ttl_sec: float | None = None
    stays: bool = False
    explicit: bool = False
    sets_domain: bool = False
    compares_ttl: bool = False
    on_mismatch: OnMismatch = "keep"
    replaces: Instance | None = None
    watcher: LoadWatcher | None = None

    def mismatches(self, instance: Instance) -> list[Mismatch]:
        """Return the settings of this request that are not in force on a loaded instance."""
        found = mismatches(self.config, instance.config)
        if self.compares_ttl and self.ttl_sec is not None and self.ttl_sec != instance.ttl_sec:
            found.append(Mismatch("ttl", self.ttl_sec, instance.ttl_sec))
        return found

    def report_mismatches(self, instance: Instance) -> None:
        """Log the settings of this request that are not in force, once for an instance, and call the watcher.

        Raises:
            LoadMismatchError: there are some, and the request refuses that.
        """
        found = self.mismatches(instance)
        if not found:
            return
        sentence = described(instance.identifier, found)
        if self.on_mismatch == "error":
            raise LoadMismatchError(
                sentence,
                suggestion="Ask for the settings in force, for another instance, or for on_mismatch='reload'.",
                data={"identifier": instance.identifier, "mismatches": msgspec.to_builtins(found)},
            )
        is_new = sentence not in instance.logged_mismatches and len(instance.logged_mismatches) < MAX_LOGGED_MISMATCHES
        if is_new:
            instance.logged_mismatches.add(sentence)
        _log.log(logging.WARNING if is_new else logging.DEBUG, "%s", sentence)
        if self.watcher is not None and self.watcher.on_mismatch is not None:
            self.watcher.on_mismatch(instance, found)


class OnDemand:
    """Finds, or begins to load, the instances that requests name.

    Parameters:
        settings: the settings in force.
    """

    def __init__(self, settings: Callable[[], Settings], library: Library, instances: Instances) -> None:
        self._settings = settings
        self._library = library
        self._instances = instances

    async def find(self, reference: ModelReference, domain: Domain) -> Instance | None:
        """Return the loaded instance that ``reference`` means; ``None`` where there is none.

        Raises:
            ModelUnloadedError: it refers to an instance that is gone.
            DomainMismatchError: the instance is of another domain.
            UnsupportedError: the reference is to another device.
        """
        check_device(reference.device)
        files: dict[str, Path] = {}
        found = match(reference, self._instances.loaded(), domain, files)
        if found is None and reference.instance is None and self._instances.loaded():
            for name in reference.names:
                try:
                    files[name] = (await self._library.resolve(name)).path
                except (ModelNotFoundError, ModelFileError):
                    continue
            found = match(reference, self._instances.loaded(), domain, files)
        if found is None and reference.instance is not None:
            raise self._instance_gone(reference.instance)
        if found is not None:
            check_domain(found.model, domain)
        return found

    async def lease(self, reference: ModelReference, domain: Domain, client: str, request: LoadRequest) -> Lease:
        """Return a lease of the instance that ``reference`` means, which may be loading still.

        Requests for one model share one load. Between the choice of an instance and its lease nothing can happen.

        Raises:
            ModelNotFoundError: there is neither an instance nor a model of that name; or loading on demand is off.
            ModelUnloadedError, DomainMismatchError, UnsupportedError: see :meth:`find`.
            ModelFileError, DownloadError, ConfigError, QuarantinedError: the model cannot be loaded.
        """
        check_device(reference.device)
        files: dict[str, Path] = {}
        found = match(reference, self._instances.all(), domain, files)
        if found is None and reference.instance is not None:
            raise self._instance_gone(reference.instance)
        model: Model | None = None
        if found is None:
            model = await self._model_for(reference, domain, request, files)
            found = match(reference, self._instances.all(), domain, files) or self._instance_of(model)
        if found is None and model is not None:
            found = self._begin_load(reference, model, request)
            lease = found.lease(client)
            lease.began_load = True
            return lease
        assert found is not None
        check_domain(found.model, domain)
        return found.lease(client)

    async def _model_for(
        self, reference: ModelReference, domain: Domain, request: LoadRequest, files: dict[str, Path]
    ) -> Model | None:
        """Return the model that would be loaded; ``None`` where an instance turns out to match.

        Parameters:
            files: takes the files of the models that the reference names.
        """
        wanted = reference.wanted
        failure: ModelNotFoundError | ModelFileError | None = None
        model: Model | None = None
        for name in reference.names:
            try:
                model = await self._library.resolve(name)
            except (ModelNotFoundError, ModelFileError) as error:
                model, failure = None, error
            else:
                files[name] = model.path
        if wanted is not None and match(reference, self._instances.all(), domain, files) is not None:
            return None
        loaded = self._instances.loaded()
        if not (request.explicit or self._settings().loading.jit) or reference.domain not in (None, domain):
            raise not_loaded(wanted, loaded, self._instances.departures)
        if wanted is None:
            return await self._default_model(domain, reference.vision, request.watcher)
        if model is None:
            assert failure is not None
            if isinstance(failure, PathNotFoundError):
                if not request.explicit:
                    raise matches_no_model(failure, wanted, loaded, self._instances.departures) from None
                if (departure := self._instances.departures.of(wanted)) is not None:
                    raise departed(departure, PathNotFoundError, failure.data) from None
            raise failure
        if request.sets_domain:
            model = as_domain(model, domain)
        check_domain(model, domain)
        if reference.vision not in (None, model.vision):
            raise not_loaded(wanted, loaded)
        return model

    def _instance_gone(self, reference: str) -> ModelUnloadedError:
        if (departure := self._instances.departures.of(reference)) is not None:
            return departed(departure, ModelUnloadedError, {})
        cause = self._instances.departures.restart()
        title = "The model instance is no longer loaded"
        return ModelUnloadedError(title, cause=cause, suggestion="Load the model again.")

    def _instance_of(self, model: Model | None) -> Instance | None:
        if model is None:
            return None
        found = [
            each
            for each in self._instances.all()
            if each.model_path == model.path and each.model.domain == model.domain
        ]
        return min(found, key=lambda each: (not each.was_loaded, each.state == "draining"), default=None)

    def _begin_load(self, reference: ModelReference, model: Model, request: LoadRequest) -> Instance:
        loading = self._settings().loading
        ttl_sec = loading.jit_ttl_sec if request.ttl_sec is None else request.ttl_sec
        before = request.replaces
        identifier = reference.wanted if before is None else before.identifier
        if request.sets_domain and before is None and model.domain_set:
            identifier = None  # an instance of its own domain may have that name
        return self._instances.begin_load(
            model,
            request.config,
            identifier=identifier,
            ttl_sec=None if request.stays else ttl_sec,
            evictable=not request.stays and (before is None or before.evictable),
            evicts=loading.auto_evict and not request.stays and before is None,
        )

    async def _default_model(self, domain: Domain, vision: bool | None, watcher: LoadWatcher | None) -> Model:
        """Return the model for requests that name none; the catalog's default is fetched where the library has none."""
        model = await self._library.default(domain)
        if vision is not None and (model is None or model.vision != vision):
            models = await self._library.models()
            fitting = (each for each in models if each.domain == domain and each.vision == vision)
            model = next(fitting, None)
            if model is None:
                raise not_loaded(None, self._instances.loaded())
        if model is not None:
            return model
        default = self._library.catalog.default(domain)
        if default is None:
            raise ModelNotFoundError(
                "No model is loaded, the library has none, and the catalog names no default",
                suggestion="Get a model: studiolo search WORD, studiolo get NAME.",
                data=query_data(None, self._instances.loaded()),
            )
        on_fetch = watcher.on_fetch if watcher is not None else None
        name = default.name
        return await self._library.fetch(name, None if on_fetch is None else (lambda update: on_fetch(name, update)))
