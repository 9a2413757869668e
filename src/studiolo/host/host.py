"""The host: one per process, and everything that dialects need of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

from ..config import LoadConfig, PredictionConfig
from ..deadline import Deadline
from ..domain.chat import ChatRequest
from ..domain.infill import Infill
from ..domain.models import Domain, ModelReference
from ..engines.base import TemplateRequest
from ..engines.registry import EngineKinds
from ..engines.schemas.process import Schemas
from ..engines.spec import Device, Node
from ..errors import StoppingError
from ..library.model import Model, as_domain
from ..library.model_library import Library
from ..paths import Home
from ..settings import EngineSettings, SettingsFile
from .background import BackgroundWork
from .derived_models import DerivedModels
from .devices import FACTS_SEC, Devices
from .documents import Documents
from .download_jobs import DownloadJobs
from .engine_run import PredictionRequest
from .events import Events
from .files import FileStore, without_documents
from .infill import infill_settings
from .instance import Instance
from .instances import Instances
from .lease import Lease
from .load_plan import Estimate
from .load_progress import LoadWatcher
from .log_events import LogEvents
from .lora_scales import with_names_of_load
from .machine import device_name
from .matching import check_domain
from .media import check_media
from .model_defaults import ModelDefaults
from .not_found import nothing_to_unload
from .on_demand import LoadRequest, OnDemand
from .prediction_settings import check_completion, settings_in_force, with_system_prompt
from .predictions import Prediction
from .reasoning import check_effort, reasoning_tags, template_variables
from .retrieval import Retriever
from .settings_review import SettingsReview
from .socket_folder import SocketFolder
from .template_problems import TemplateProblems
from .tool_use import template_text, tool_use

DELIVERY_SEC = 0.1
"""What callers get to hear of the end of their predictions before their connections close."""

DEFAULT_LOAD = LoadRequest()

MAX_TOOL_REQUESTS = 64
"""Requests that have MCP servers called for them at once: each has connections, and programs, of its own."""


class Host:
    """Owns the library, the instances and the predictions.

    Parameters:
        home: where models, state and logs lie; the environment's choice by default.
        engine: returns ``[engine]`` in place of the settings file's.

    Raises:
        ConfigError: the settings file is wrong.
        LocalFileError: the home folder cannot be made.
    """

    def __init__(self, home: Home | None = None, *, engine: Callable[[], EngineSettings] | None = None) -> None:
        self.home = home or Home.default()
        self.home.create()
        self.settings = SettingsFile(self.home.settings)
        self.settings.current()  # raises for a wrong file
        self.library = Library(self.home, settings=self.settings.current)
        self.derived = DerivedModels(self.home.derived_models)
        self.defaults = ModelDefaults(self.settings.current, self.library)
        self.review = SettingsReview(self.settings.current, self.home, self.library)
        self.files = FileStore(self.home.files)
        self.documents = Documents(self.files)
        self.retriever = Retriever(self.documents)
        self.schemas = Schemas()
        self.logs: LogEvents = Events()
        self._sockets = SocketFolder()
        node = Node(
            name=device_name(),
            models=self.home.models,
            logs=self.home.engine_logs,
            run=self._sockets.existing,
            settings=engine or (lambda: self.settings.current().engine),
            prompts=self.home.saved_prompts,
        )
        self.engine_kinds = EngineKinds(node)
        self.template_problems = TemplateProblems(self.library.state, node.templates)
        self.devices = Devices()
        self.downloads = DownloadJobs(self.library)
        self.background = BackgroundWork()
        self.tool_requests = asyncio.Semaphore(MAX_TOOL_REQUESTS)
        self.instances = Instances(
            self.engine_kinds,
            self.devices,
            self.settings.current,
            self.defaults.of,
            self.find_model,
            self.library.adapter,
            self.library.remember_used,
            self.logs,
        )
        self._on_demand = OnDemand(self.settings.current, self.library, self.instances)
        self.started_at = time.time()
        self._startup: asyncio.Task[Instance] | None = None
        self._accepts_work = True

    async def stop(self) -> None:
        """Stop everything: downloads, predictions, engines."""
        self._accepts_work = False
        if self._startup is not None:
            self._startup.cancel()
            await asyncio.wait([self._startup])
        try:
            await self.review.close()
            await self.downloads.close()
            await self.background.close()
            await self.instances.stop()
            await self.schemas.close()
            await self.engine_kinds.node.templates.close()
            await self.library.close()
        finally:
            self.files.close()
            self._sockets.remove()  # in this thread: at the end of the interpreter no thread can be started

    def requests_under_way(self) -> int:
        """Return how many requests use an instance, or wait for one."""
        return sum(len(instance.leases) for instance in self.instances.all())

    async def drain(self, limit_sec: float) -> None:
        """Refuse new work, and wait for requests under way; after ``limit_sec`` end them, predictions with a result."""
        self._accepts_work = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_sec):
                await self._until_idle()
        for lease in [lease for instance in self.instances.all() for lease in instance.leases]:
            lease.revoke()
        await self._until_idle()
        await asyncio.sleep(DELIVERY_SEC)

    def check_accepts_work(self) -> None:
        """Raise :class:`StoppingError` if the host is stopping."""
        if not self._accepts_work:
            raise StoppingError(
                "The server is shutting down: it is stopping and accepts no new work",
                cause="Requests that have begun are finished.",
                suggestion="Try again later.",
            )

    async def _until_idle(self) -> None:
        while leases := [lease for instance in self.instances.all() for lease in instance.leases]:
            await asyncio.gather(*(lease.ended() for lease in leases))

    async def find_loaded(self, reference: ModelReference, domain: Domain) -> Instance | None:
        """Return the loaded instance that ``reference`` means, to look at; ``None`` where there is none.

        Raises:
            ModelUnloadedError, DomainMismatchError, UnsupportedError: see :meth:`OnDemand.find`.
        """
        return await self._on_demand.find(reference, domain)

    async def list_loaded(self, domain: Domain) -> list[Instance]:
        """Return the loaded instances of a domain. Waits for the model that is loaded at startup."""
        await self.startup_settled()
        return [instance for instance in self.instances.loaded() if instance.model.domain == domain]

    @contextlib.asynccontextmanager
    async def lease(
        self,
        reference: ModelReference,
        domain: Domain,
        client: str = "",
        request: LoadRequest = DEFAULT_LOAD,
        *,
        limit_sec: float | None = None,
    ) -> AsyncGenerator[Lease]:
        """Use the instance that ``reference`` means for the length of the block; it is loaded where it is not.

        Without a name: any loaded instance of the domain, else the model last used, else the catalog's default, which
        is fetched where the library has no model. An instance that is loaded here is called as the reference names it.
        By default, others that were loaded on demand are unloaded: idle ones before, the rest after their last request.

        Parameters:
            client: on whose behalf: clients take turns where slots are few.
            request: how to load, where that is needed.
            limit_sec: how long the block may be waited for.

        Raises:
            TimeLimitError: it was waited for too long.
            StoppingError: the host is stopping.
            ModelUnloadedError: the instance was unloaded meanwhile, which ends whatever the block waits for.
            ModelNotFoundError, DomainMismatchError, UnsupportedError, ModelFileError, DownloadError, ConfigError,
                QuarantinedError: see :meth:`OnDemand.lease`.
            NotEnoughMemoryError, EngineStartError: see :meth:`load`.
            LoadMismatchError: it is loaded with other settings, and the request refuses that.
        """
        deadline = Deadline(limit_sec)
        if reference.is_any and not request.explicit:
            async with deadline.enforced("Loading the model"):
                await self.startup_settled()
        async with self._lease(reference, domain, client, request, deadline) as lease:
            yield lease

    @contextlib.asynccontextmanager
    async def _lease(
        self, reference: ModelReference, domain: Domain, client: str, request: LoadRequest, deadline: Deadline
    ) -> AsyncGenerator[Lease]:
        self.check_accepts_work()
        self.review.begin()
        async with contextlib.AsyncExitStack() as stack:
            async with deadline.enforced("Loading the model"):
                if request.on_mismatch == "reload":
                    request = await self._retire_mismatching(reference, domain, client, request)
                lease = await self._on_demand.lease(reference, domain, client, request)
                await stack.enter_async_context(lease.held())
                await lease.loaded(request.watcher)
            lease.requested_at = deadline.began
            if not lease.began_load:
                request.report_mismatches(lease.instance)
            yield lease

    async def _retire_mismatching(
        self, reference: ModelReference, domain: Domain, client: str, request: LoadRequest
    ) -> LoadRequest:
        """Unload the instance that ``reference`` means if other settings are in force on it than ``request`` asks for.

        Returns the request that loads it again under its identifier.
        """
        instance = await self._on_demand.find(reference, domain)
        if instance is None:
            return request
        async with instance.lease(client).held() as lease:
            await lease.loaded(request.watcher)
            found = request.mismatches(instance)
        if not found:
            return request
        await self.instances.retire(instance, "to be loaded with other settings")
        ttl_sec = request.ttl_sec if request.compares_ttl else instance.ttl_sec
        stays = request.stays or (ttl_sec is None and not request.compares_ttl)
        return replace(request, replaces=instance, ttl_sec=ttl_sec, stays=stays)

    async def find_model(self, name: str, domain: Domain | None = None, *, sets_domain: bool = False) -> Model:
        """Return the model in the library that ``name`` means.

        Parameters:
            domain: what it is used as.
            sets_domain: whether that is so whatever its file says.

        Raises:
            PathNotFoundError, ModelFileError: there is none of that name, or it cannot be used.
            DomainMismatchError: it is not of ``domain``.
        """
        model = await self.library.resolve(name)
        if domain is not None:
            model = as_domain(model, domain) if sets_domain else model
            check_domain(model, domain)
        return model

    async def load(
        self,
        model: Model,
        config: LoadConfig,
        *,
        identifier: str | None = None,
        ttl_sec: float | None = None,
        watcher: LoadWatcher | None = None,
    ) -> Instance:
        """Load a new instance of ``model``. A load whose caller is cancelled is given up.

        Parameters:
            config: how to load it; what it leaves open comes from the model's settings, then from the defaults.
            identifier: its name; by default the model's key, with ``:2`` and so on for further instances.
            ttl_sec: seconds of idleness after which it is unloaded; ``None`` for never.
            watcher: called with what happens until it is loaded.

        Raises:
            StoppingError: the host is stopping.
            ConfigError: the config asks for what the model cannot do.
            HostError: the identifier is taken.
            NotEnoughMemoryError: it needs more memory than the guardrail grants.
            EngineStartError: the engine does not start with it.
            ModelUnloadedError: it was unloaded while it was loading.
        """
        self.check_accepts_work()
        self.review.begin()
        instance = self.instances.begin_load(model, config, identifier=identifier, ttl_sec=ttl_sec)
        async with instance.lease().held() as lease:
            await lease.loaded(watcher)
        return instance

    async def estimate(self, model: Model, config: LoadConfig) -> Estimate:
        """Return what loading ``model`` with ``config`` would take of this machine's memory now. Nothing is loaded.

        Raises:
            ConfigError: the config asks for what cannot be done.
            ModelFileError: the model's file cannot be used.
        """
        return await self.instances.estimate(model, config)

    async def gpus(self) -> Sequence[Device]:
        """Return the GPUs that the engine in force can use; none where they cannot be listed. Which ones there are may
        be known from before.
        """
        return await self.devices.gpus(self.engine_kinds.chosen, FACTS_SEC)

    async def unload(self, identifier: str) -> None:
        """Unload the instance called ``identifier``. Raises :class:`IdentifierNotFoundError`."""
        for instance in self.instances.all():
            if instance.identifier == identifier:
                await self.instances.unload(instance)
                return
        raise nothing_to_unload(identifier, self.instances.loaded(), self.instances.departures)

    def predict(
        self,
        lease: Lease,
        prompt: str | list[int] | ChatRequest | Infill,
        config: PredictionConfig,
        preset: str | None = None,
    ) -> Prediction:
        """Start to continue a text or its tokens, exactly as they are, to answer a chat, or to fill a gap.

        Parameters:
            lease: the prediction takes it over, and releases it at its end.

        Raises:
            PresetNotFoundError: there is no ``preset`` of that name.
            UnsupportedError: the model does not take the images or the audio of the chat; it has no tokens for gaps.
            ConfigError, UnsupportedError: the tools are malformed, or come with structured output or with a text
                (see :func:`check_completion`); the model is loaded without a LoRA adapter that ``config`` names.
            StoppingError: the host is stopping.
        """
        self.check_accepts_work()
        instance = lease.instance
        if isinstance(prompt, ChatRequest):
            check_media(instance.model, prompt)
        else:
            check_completion(config)
        if isinstance(prompt, Infill):
            config = infill_settings(config, instance.vocabulary, instance.model.key)
        in_force = settings_in_force(config, instance.config, self.defaults.prediction(instance.model, preset))
        in_force = with_names_of_load(in_force, instance.config, instance.adapters, self.home.models)
        check_effort(in_force, instance.vocabulary, instance.model.key)
        tools = tool_use(prompt, in_force) if isinstance(prompt, ChatRequest) else None
        request = PredictionRequest(
            prompt=prompt, config=in_force, schemas=self.schemas, files=self.files, tools=tools, logs=self.logs
        )
        return Prediction(lease, request, self.settings.current().limits)

    def base_prediction_config(self, instance: Instance) -> PredictionConfig:
        """Return the settings that are in force on ``instance`` where a request leaves everything open."""
        return settings_in_force(PredictionConfig(), instance.config, self.defaults.prediction(instance.model))

    async def apply_template(self, lease: Lease, chat: TemplateRequest, config: PredictionConfig) -> str:
        """Return the text of a chat, as the model is given it; files other than images and audio are left out.

        Parameters:
            config: its prompt template and system prompt are used.

        Raises:
            ConfigError, PredictionError, EngineError: as :meth:`studiolo.engines.base.Engine.apply_template`.
        """
        in_force = settings_in_force(config, lease.instance.config, self.defaults.prediction(lease.instance.model))
        chat = replace(
            chat,
            messages=with_system_prompt(without_documents(chat.messages), in_force),
            template=in_force.prompt_template,
            template_variables={**chat.template_variables, **template_variables(in_force)},
            reasoning_tags=reasoning_tags(in_force),
        )
        return await lease.call(lambda engine: template_text(engine, chat, in_force))

    def load_at_startup(self, name: str | None, watcher: LoadWatcher | None = None) -> asyncio.Task[Instance]:
        """Begin to load a model that stays loaded, for clients that only ask for what is loaded."""
        request = LoadRequest(stays=True, explicit=True, watcher=watcher)

        async def load() -> Instance:
            async with self._lease(ModelReference(name=name), "llm", "", request, Deadline()) as lease:
                return lease.instance

        self._startup = asyncio.create_task(load(), name="startup load")
        return self._startup

    async def startup_settled(self) -> None:
        """Wait until the model that is loaded at startup is loaded, or has failed."""
        if self._startup is not None:
            await asyncio.wait([self._startup])
