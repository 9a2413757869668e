"""The host: one per process, and everything that dialects need of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..config import LoadConfig, PredictionConfig
from ..domain.chat import ChatRequest, File, Image
from ..domain.progress import DownloadProgress
from ..engines.base import TemplateRequest
from ..engines.registry import EngineKinds
from ..engines.schemas.process import Schemas
from ..engines.spec import Device, Node
from ..errors import (
    DomainMismatchError,
    ModelNotFoundError,
    ModelUnloadedError,
    PathNotFoundError,
    StoppingError,
    StudioloError,
    UnsupportedError,
)
from ..library.model import Model
from ..library.model_library import Library
from ..paths import Home
from ..protocol.models import Domain, InstanceReferenceSpecifier, ModelQuery, ModelSpecifier, QuerySpecifier
from ..settings import SettingsFile
from .devices import Devices
from .documents import Documents
from .engine_run import PredictionRequest
from .events import Events
from .files import FileStore, without_documents
from .instance import Instance, OnProgress
from .instances import Instances, OnEvict
from .load_plan import Estimate
from .log_events import LogEvents
from .machine import device_name
from .not_found import matches_no_model, not_loaded, nothing_to_unload, query_data
from .prediction_settings import check_completion, settings_in_force, with_system_prompt
from .predictions import Prediction
from .queries import matching
from .reasoning import thinks
from .retrieval import Retriever
from .tool_use import template_input, tool_use

DELIVERY_SEC = 0.1
"""What callers get to hear of the end of their predictions before their connections close."""

SOCKETS_PREFIX = "studiolo-sockets-"

OnFetch = Callable[[str, DownloadProgress], None]
"""Told the name of the model that is fetched, and how far it is."""


class Host:
    """Owns the library, the instances and the predictions.

    Parameters:
        home: where models, state and logs lie; the environment's choice by default.

    Raises:
        ConfigError: the settings file is wrong.
        LocalFileError: the home folder cannot be made.
    """

    def __init__(self, home: Home | None = None) -> None:
        self.home = home or Home.default()
        self.home.create()
        self.settings = SettingsFile(self.home.settings)
        self.settings.current()  # a wrong file is told of at once
        self.library = Library(self.home, settings=lambda: self.settings.current().library)
        self.files = FileStore(self.home.files)
        self.documents = Documents(self.files)
        self.retriever = Retriever(self.documents)
        self.schemas = Schemas()
        self.logs: LogEvents = Events()
        self._sockets = _socket_folder()
        self.engine_kinds = EngineKinds(
            Node(
                name=device_name(),
                models=self.home.models,
                logs=self.home.engine_logs,
                run=self._sockets,
                settings=lambda: self.settings.current().engine,
            )
        )
        self.devices = Devices()
        self.instances = Instances(self.engine_kinds, self.devices, self.settings.current, self.find_model, self.logs)
        self.started_at = time.time()
        self._startup: asyncio.Task[Instance] | None = None
        self._draining = False

    async def stop(self) -> None:
        """Stop everything: downloads, predictions, engines."""
        if self._startup is not None:
            self._startup.cancel()
            await asyncio.wait([self._startup])
        try:
            await self.instances.stop()
            await self.schemas.close()
            await self.library.close()
        finally:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def running_predictions(self) -> int:
        """How many predictions run or wait."""
        return sum(len(instance.predictions) for instance in self.instances.all())

    async def drain(self, limit_sec: float) -> None:
        """Take no more predictions, and wait for those there are; after ``limit_sec`` they are ended with a result."""
        self._draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_sec):
                await self._until_idle()
        for instance in self.instances.all():
            for prediction in list(instance.predictions):
                prediction.stop("unloaded")
        await self._until_idle()
        await asyncio.sleep(DELIVERY_SEC)

    def check_taking(self) -> None:
        """Raises :class:`StoppingError` where the host is stopping, and takes no more work."""
        if self._draining:
            raise StoppingError(
                "The server is shutting down: it is stopping and takes no more work",
                cause="What is under way goes on to its end.",
                suggestion="Try again later.",
            )

    async def _until_idle(self) -> None:
        while running := [prediction for instance in self.instances.all() for prediction in instance.predictions]:
            await asyncio.gather(*(prediction.ended() for prediction in running))

    async def find(self, specifier: ModelSpecifier, domain: Domain) -> Instance | None:
        """The loaded instance that ``specifier`` means, if any; see :func:`studiolo.host.queries.matching`.

        Raises:
            ModelUnloadedError: it refers to an instance that is gone.
            DomainMismatchError: the instance is of the other domain.
        """
        instances = self.instances.loaded()
        if isinstance(specifier, InstanceReferenceSpecifier):
            found = next((i for i in instances if i.reference == specifier.instance_reference), None)
            if found is None:
                raise ModelUnloadedError("The model instance is no longer loaded", suggestion="Load the model again.")
        else:
            found = await matching(specifier.query, instances, domain, self.library.resolve)
        return found and _of_domain(found, domain)

    async def resolve(self, specifier: ModelSpecifier, domain: Domain) -> Instance:
        """The instance that ``specifier`` means, loaded just in time where it is not.

        By default, other models that were loaded just in time make way, as in LM Studio (docs: TTL and auto-evict).

        Raises:
            ModelNotFoundError: there is neither an instance nor a model of that name; or just-in-time loading is off.
        """
        found = await self.find(specifier, domain)
        if found is not None:
            return found
        assert not isinstance(specifier, InstanceReferenceSpecifier)
        query = specifier.query
        name = query.identifier or query.path
        if name is None and self._startup is not None and not self._startup.done():
            await self.startup_settled()
            return await self.resolve(specifier, domain)
        if not self.settings.current().loading.jit or query.domain not in (None, domain):
            raise not_loaded(name, self.instances.loaded())
        if query.vision is not None:
            model = None if name is None else await self.find_model(name, domain)
            if model is None or model.vision != query.vision:
                raise not_loaded(name, self.instances.loaded())
        try:
            return await self.get_or_load(name, domain)
        except PathNotFoundError as error:
            raise matches_no_model(error, name, self.instances.loaded()) from None

    async def get_or_load(
        self,
        name: str | None,
        domain: Domain,
        config: LoadConfig | None = None,
        *,
        ttl_sec: float | None = None,
        stays: bool = False,
        on_evict: OnEvict | None = None,
        on_start: Callable[[Model], None] | None = None,
        on_progress: OnProgress | None = None,
        on_fetch: OnFetch | None = None,
    ) -> Instance:
        """The loaded instance called ``name``, else one of the model of that name, else that model, loaded on demand.

        Without a name: any loaded instance of the domain, else the model last used, else the catalog's default,
        which is fetched where the library has no model. Many who ask at once share one load. An instance loaded here
        is called ``name``, and makes way for the next model that is loaded on demand.

        Parameters:
            name: an identifier, or any name of a model.
            config: how to load, where it comes to that.
            ttl_sec: seconds of idleness after which an instance loaded here is unloaded; by default as the settings
                say for models that are loaded on demand.
            stays: an instance loaded here has no TTL and makes way for none.
            on_evict: called with each instance that makes way, before it is unloaded.
            on_start: told the model, where it comes to loading.
            on_progress: told how far the load is, 0 to 1.
            on_fetch: told how far the fetch is, where it comes to that.

        Raises:
            ModelNotFoundError, ModelFileError, DownloadError, ConfigError, EngineStartError, DomainMismatchError
            StoppingError: it would have to be loaded, and the host is stopping.
        """
        found = await self.find(QuerySpecifier(query=ModelQuery(identifier=name)), domain)
        if found is not None:
            return found
        if name is not None and self.instances.is_loading(name):
            return _of_domain(await self.instances.join_load(name, on_progress), domain)
        self.check_taking()
        model = await (self._default_model(domain, on_fetch) if name is None else self.find_model(name))
        if model.domain != domain:
            raise _mismatch(model, domain)
        loading = self.settings.current().loading
        if not stays and loading.auto_evict and self._instance_of(model) is None:
            await self.instances.evict_jit(on_evict)
        if (there := self._instance_of(model)) is not None:  # another request for it was faster
            if not self.instances.is_loading(there.identifier):
                return there
            if on_start is not None:
                on_start(model)
            return await self.instances.join_load(there.identifier, on_progress)
        if on_start is not None:
            on_start(model)
        return await self.load(
            model,
            config or LoadConfig(),
            identifier=name,
            ttl_sec=None if stays else loading.jit_ttl_sec if ttl_sec is None else ttl_sec,
            jit=not stays,
            on_progress=on_progress,
        )

    def _instance_of(self, model: Model) -> Instance | None:
        """The instance of ``model``, loaded or on its way."""
        return next((each for each in self.instances.all() if each.model.path == model.path), None)

    async def find_model(self, name: str, domain: Domain | None = None) -> Model:
        """The model in the library that ``name`` means.

        Raises:
            PathNotFoundError, ModelFileError: there is none of that name, or it cannot be used.
            DomainMismatchError: it is not of ``domain``.
        """
        model = await self.library.resolve(name)
        if domain is not None and model.domain != domain:
            raise _mismatch(model, domain)
        return model

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
        """Load a new instance of ``model``; see :meth:`Instances.load`.

        Raises:
            StoppingError: the host is stopping.
        """
        self.check_taking()
        instance = await self.instances.load(
            model, config, identifier=identifier, ttl_sec=ttl_sec, jit=jit, on_progress=on_progress
        )
        await self.library.remember_used(model)
        return instance

    async def estimate(self, model: Model, config: LoadConfig) -> Estimate:
        """What loading ``model`` with ``config`` would take of this machine's memory now. Nothing is loaded.

        Raises:
            ConfigError: the config asks for what cannot be done.
            ModelFileError: the model's file cannot be used.
        """
        return await self.instances.estimate(model, config)

    async def gpus(self) -> Sequence[Device]:
        """Return the GPUs that the engine in force can use; none where they cannot be listed."""
        return await self.devices.gpus(self.engine_kinds.chosen)

    async def unload(self, identifier: str) -> None:
        """Unload the instance called ``identifier``. Raises :class:`IdentifierNotFoundError`."""
        for instance in self.instances.all():
            if instance.identifier == identifier:
                await self.instances.unload(instance)
                return
        raise nothing_to_unload(identifier, self.instances.loaded())

    def predict(
        self,
        instance: Instance,
        prompt: str | ChatRequest,
        config: PredictionConfig,
        client: str = "",
        preset: str | None = None,
    ) -> Prediction:
        """Start to continue a text, exactly as it stands, or to answer a chat, on behalf of ``client``.

        Raises:
            PresetNotFoundError: there is no ``preset`` of that name.
            UnsupportedError: the chat has images, and the model does not see.
            ConfigError, UnsupportedError: the tools are malformed, or come with structured output or with a text;
                see :func:`check_completion`.
            StoppingError: the host is stopping.
        """
        self.check_taking()
        if isinstance(prompt, ChatRequest):
            _check_sight(instance.model, prompt)
        else:
            check_completion(config)
        own = self.settings.current().prediction(instance.model.key, preset)
        in_force = settings_in_force(config, instance.config, own)
        tools = tool_use(prompt, in_force) if isinstance(prompt, ChatRequest) else None
        request = PredictionRequest(
            prompt=prompt, config=in_force, schemas=self.schemas, files=self.files, tools=tools, logs=self.logs
        )
        return Prediction(instance, request, client)

    def base_prediction_config(self, instance: Instance) -> PredictionConfig:
        """Return the settings that are in force on ``instance`` where a request leaves everything open."""
        own = self.settings.current().prediction(instance.model.key)
        return settings_in_force(PredictionConfig(), instance.config, own)

    async def apply_template(self, instance: Instance, chat: TemplateRequest, config: PredictionConfig) -> str:
        """Return the text of a chat, as the instance's model would be given it; files other than images are left out.

        Parameters:
            config: its prompt template and system prompt are used.

        Raises:
            ConfigError, PredictionError, EngineError: as :meth:`studiolo.engines.base.Engine.apply_template`.
        """
        own = self.settings.current().prediction(instance.model.key)
        in_force = settings_in_force(config, instance.config, own)
        chat = replace(
            chat,
            messages=with_system_prompt(without_documents(chat.messages), in_force),
            template=in_force.prompt_template,
            template_variables={**chat.template_variables, "enable_thinking": thinks(in_force)},
        )
        engine = await instance.engine()
        return await engine.apply_template(await template_input(engine, chat, in_force))

    def load_at_startup(self, name: str | None, on_fetch: OnFetch | None = None) -> asyncio.Task[Instance]:
        """Begin to load a model that stays loaded, for clients that only ask for what is loaded."""
        self._startup = asyncio.create_task(
            self.get_or_load(name, "llm", stays=True, on_fetch=on_fetch), name="startup load"
        )
        return self._startup

    async def startup_settled(self) -> None:
        """Wait until the model that is loaded at startup is there, or has failed."""
        if self._startup is not None:
            await asyncio.wait([self._startup])

    async def _default_model(self, domain: Domain, on_fetch: OnFetch | None) -> Model:
        model = await self.library.default(domain)
        if model is not None:
            return model
        default = self.library.catalog.default(domain)
        if default is None:
            raise ModelNotFoundError(
                "No model is loaded, the library has none, and the catalog names no default",
                suggestion="Get a model: studiolo search WORD, studiolo get NAME.",
                data=query_data(None, self.instances.loaded()),
            )

        def tell(update: DownloadProgress) -> None:
            if on_fetch is not None:
                on_fetch(default.name, update)

        return await self.library.fetch(default.name, tell)


def _of_domain(instance: Instance, domain: Domain) -> Instance:
    if instance.model.domain != domain:
        raise _mismatch(instance.model, domain)
    return instance


def _mismatch(model: Model, domain: Domain) -> StudioloError:
    kind = {"llm": "an LLM", "embedding": "an embedding model"}
    actual = model.domain or "llm"
    return DomainMismatchError(
        f"{model.key} is {kind[actual]}, not {kind[domain]}",
        suggestion=f"Use it through client.{actual}.",
        data={"path": model.relative_path, "actualDomain": actual, "expectedDomain": domain},
    )


def _check_sight(model: Model, chat: ChatRequest) -> None:
    for part in (part for message in chat.messages for part in message.parts if isinstance(part, File | Image)):
        if isinstance(part, File) and part.file_type != "image":
            raise UnsupportedError(
                f"The file {part.name!r} in the chat is not an image ({part.file_type})",
                suggestion="Images can be part of a chat; put the text of other files into a message.",
                feature="files",
            )
        if not model.vision:
            raise UnsupportedError(
                f"{model.key} cannot see the image {part.name!r}: it is a model without vision",
                suggestion="Use a model with vision: studiolo ls --detailed shows which have it.",
                feature="vision",
            )


def _socket_folder() -> Path:
    """A private folder for engine sockets; those that dead hosts left are removed.

    Not under the home: the path of a Unix socket is limited to about 100 bytes, and homes can be deep, or lie on
    file systems that have no sockets.
    """
    base = Path(tempfile.gettempdir())
    for left in base.glob(f"{SOCKETS_PREFIX}*"):
        pid = left.name.removeprefix(SOCKETS_PREFIX).partition("-")[0]
        if pid.isdigit() and not _is_running(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{SOCKETS_PREFIX}{os.getpid()}-"))


def _is_running(pid: int) -> bool:
    import psutil  # late: it is needed only where a host was killed

    return psutil.pid_exists(pid)
