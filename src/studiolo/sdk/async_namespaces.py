"""The namespaces of the async API that load models, and the models on disk that they list.

Longer than 400 lines because each method has its documentation.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypedDict, TypeVar, Unpack, cast

import msgspec

from ..config import LoadConfig, load_config
from ..config.mismatch import Mismatch, described
from ..domain.models import check_identifier
from ..errors import ChannelClosedError, ConfigError, HostError, LoadMismatchWarning
from ..protocol import models as wire
from ..protocol.kv import encode_load_config, stack_of
from ..protocol.load_plan import PLAN_LOAD, LoadPlan
from ..protocol.system import LIST_DOWNLOADED_MODELS
from ..struct_types import examined
from . import fetch_progress
from .arguments import json_value, one_of, optional, seconds, text, text_or_path, wrong_type
from .async_models import AsyncEmbeddingModel, AsyncLLM, AsyncModelHandle
from .call_place import warn_caller
from .callbacks import call, check_options
from .process_bound import ProcessBound
from .session import Session
from .timeouts import Timeout, deadline_of

_log = logging.getLogger("studiolo.client")

DEFAULT_TTL_SEC = 3600
"""Seconds of idleness after which a model that was loaded for a client is unloaded."""

LoadConfigInput = LoadConfig | Mapping[str, Any]
ModelKeyInput = str | os.PathLike[str]
ModelSpecifierInput = str | wire.ModelQuery | wire.ModelSpecifier | Mapping[str, Any]
AnyLoadConfig = LoadConfig
AnyModelSpecifier = ModelSpecifierInput
OnLoadProgress = Callable[[float], Any]
OnFetching = Callable[[wire.Fetching], Any]
OnMismatch = Literal["keep", "error", "reload"]


class LoadOptions(TypedDict, total=False):
    """The keyword arguments of a load; see :meth:`AsyncModelNamespace.model`."""

    ttl: float | datetime.timedelta | None
    config: LoadConfigInput | None
    domain: wire.Domain | None
    on_load_progress: OnLoadProgress | None
    timeout: Timeout


class ModelOptions(LoadOptions, total=False):
    """The keyword arguments of a load that may fetch the default model; see :meth:`AsyncModelNamespace.model`."""

    on_fetching: OnFetching | None
    on_mismatch: OnMismatch


@dataclass(frozen=True, kw_only=True)
class ModelLoadResult:
    """The result of a load in the official client's form. studiolo's own functions return handles instead."""

    identifier: str
    instance_reference: str
    path: str


H = TypeVar("H", bound=AsyncModelHandle)


class AsyncModelNamespace(Generic[H]):
    """What the ``llm`` and ``embedding`` namespaces share."""

    _namespace: wire.Domain
    _handle: Callable[[str, Session, wire.Domain], H]

    def __init__(self, session: Session) -> None:
        self._session = session

    async def model(self, model_key: ModelKeyInput | None = None, /, **options: Unpack[ModelOptions]) -> H:
        """Return a handle of a model; load the model if it is not loaded.

        Parameters:
            model_key: an identifier of a loaded model, a model key, or a path. Without it: any loaded model, else
                the one last used, else the default model, which is downloaded if the library is empty.
            ttl: seconds of idleness, or a ``timedelta``, after which a model that this call loads is unloaded;
                ``None`` for the host's default. Default: an hour.
            config: the settings of a load; see :class:`~studiolo.config.LoadConfig`.
            domain: the namespace's own, to use the model so whatever its file says: ``"embedding"`` has an LLM serve
                embeddings.
            on_load_progress: called with the fraction loaded, 0 to 1.
            timeout: the time limit of the whole in seconds; the download of a default model counts. After it, the load
                is given up, unless others wait for it. Default: none.
            on_fetching: called with the progress of a download of the default model. Default: a line on stderr.
            on_mismatch: where the model is loaded already and other settings than those of ``config`` and ``ttl`` are
                in force: ``"keep"`` it with a :class:`~studiolo.errors.LoadMismatchWarning` (the default); raise an
                ``"error"``; or ``"reload"`` it when its last use has ended.

        Raises:
            LoadMismatchError: other settings are in force, and ``on_mismatch`` is ``"error"``.
            TimeLimitError: it took longer than ``timeout``.
            ModelNotFoundError, ModelFileError, DownloadError, ConfigError, EngineStartError
        """
        check_options("model", options, ModelOptions)
        deadline = deadline_of(options.get("timeout"), "model()")
        model_key = optional(text_or_path, model_key, "model_key")
        stack = stack_of(encode_load_config(load_config(options.get("config")), self._namespace))
        load_ttl_ms = _milliseconds(options.get("ttl", DEFAULT_TTL_SEC))
        on_mismatch = cast("OnMismatch", _choice(options.get("on_mismatch", "keep"), "on_mismatch"))
        sets_domain = self._sets_domain(options)
        if model_key is None and (loaded := await self.list_loaded(timeout=deadline)):
            if not {"config", "ttl", "on_mismatch"} & options.keys():
                return loaded[0]
            model_key = loaded[0].identifier
        parameter = wire.GetOrLoadParameter(
            identifier=model_key,
            load_ttl_ms=load_ttl_ms,
            load_config_stack=stack,
            on_mismatch=on_mismatch,
            compares_ttl=options.get("ttl") is not None,
            sets_domain=sets_domain,
        )
        report = _increasing(options.get("on_load_progress"))
        given = options.get("on_fetching")
        with contextlib.nullcontext(given) if given else fetch_progress.shown() as on_fetching:
            async with self._session.messages(self._namespace, wire.GET_OR_LOAD, parameter, deadline) as messages:
                async for message in messages:
                    match message:
                        case wire.GetOrLoadProgress(progress=progress):
                            report(progress)
                        case wire.Fetching():
                            call(on_fetching, message)
                        case wire.LoadMismatch(identifier=identifier, mismatches=found):
                            mismatches = [Mismatch(each.name, each.asked, each.in_force) for each in found]
                            warn_caller(LoadMismatchWarning(described(identifier, mismatches)))
                        case wire.AlreadyLoaded(info=info) | wire.GetOrLoadSuccess(info=info):
                            return self._handle(info.identifier, self._session, self._namespace)
                        case wire.UnloadingOtherModel(info=info):
                            _log.info(
                                "Unloading other JIT model %s to load %s (loading.auto_evict = false keeps both)",
                                info.identifier,
                                model_key,
                            )
                        case wire.StartLoading():
                            pass
        raise ChannelClosedError(f"The host ended the load of {model_key or 'a model'} without a result")

    async def load_new_instance(
        self, model_key: ModelKeyInput, instance_identifier: str | None = None, **options: Unpack[LoadOptions]
    ) -> H:
        """Load another instance of a model.

        Parameters:
            model_key: a model key or a path.
            instance_identifier: the identifier of the instance: text without control characters. Default: the model
                key, with ``:2`` and so on.
            ttl: seconds of idleness after which it is unloaded; ``None`` for never. Default: an hour.
            config, domain, on_load_progress, timeout: as for :meth:`model`.

        Raises:
            HostError: the identifier is in use; others as :meth:`model`.
        """
        check_options("load_new_instance", options, LoadOptions)
        deadline = deadline_of(options.get("timeout"), "load_new_instance()")
        model_key = text_or_path(model_key, "model_key")
        instance_identifier = optional(_identifier, instance_identifier, "instance_identifier")
        parameter = wire.LoadModelParameter(
            model_key=model_key,
            identifier=instance_identifier,
            ttl_ms=_milliseconds(options.get("ttl", DEFAULT_TTL_SEC)),
            sets_domain=self._sets_domain(options),
            load_config_stack=stack_of(encode_load_config(load_config(options.get("config")), self._namespace)),
        )
        report = _increasing(options.get("on_load_progress"))
        try:
            async with self._session.messages(self._namespace, wire.LOAD_MODEL, parameter, deadline) as messages:
                async for message in messages:
                    match message:
                        case wire.LoadProgress(progress=progress):
                            report(progress)
                        case wire.LoadSuccess(info=info):
                            return self._handle(info.identifier, self._session, self._namespace)
                        case wire.LoadResolved():
                            pass
        except HostError as error:
            if type(error) is not HostError:
                raise
            raise HostError(f"Model load error: {error.title}", cause=error.cause, data=error.data) from None
        raise ChannelClosedError(f"The host ended the load of {model_key} without a result")

    async def plan_load(
        self, model_key: ModelKeyInput, config: LoadConfigInput | None = None, *, timeout: Timeout = None
    ) -> LoadPlan:
        """Return what a load would take of this machine's memory, and the settings that would be in force.

        Nothing is loaded. An addition of studiolo's.

        Parameters:
            model_key: a model key or a path.
            config: the settings of the load.
            timeout: the time limit of the call in seconds. Default: none.

        Raises:
            ConfigError: the model cannot be loaded so.
            ModelNotFoundError, ModelFileError, TimeLimitError
        """
        stack = stack_of(encode_load_config(load_config(config), self._namespace))
        parameter = wire.EstimateUsageParameter(model_key=text_or_path(model_key, "model_key"), load_config_stack=stack)
        return await self._session.call(self._namespace, PLAN_LOAD, parameter, deadline_of(timeout, "plan_load()"))

    def _sets_domain(self, options: LoadOptions) -> bool | None:
        domain = options.get("domain")
        if domain not in (None, self._namespace):
            raise ConfigError(
                f"The domain is {domain!r}, and this is client.{self._namespace}",
                suggestion="Use the namespace of the domain: client.llm or client.embedding.",
            )
        return True if domain is not None else None

    async def unload(self, model_identifier: str, *, timeout: Timeout = None) -> None:
        """Unload the instance with this identifier. Raise :class:`ModelNotFoundError` if there is none.

        Parameters:
            timeout: as for :meth:`plan_load`.
        """
        parameter = wire.UnloadModelParameter(text(model_identifier, "model_identifier"))
        await self._session.call(self._namespace, wire.UNLOAD_MODEL, parameter, deadline_of(timeout, "unload()"))

    async def list_loaded(self, *, timeout: Timeout = None) -> list[H]:
        """Return handles of the loaded models.

        Parameters:
            timeout: as for :meth:`plan_load`.
        """
        deadline = deadline_of(timeout, "list_loaded()")
        infos = await self._session.call(self._namespace, wire.LIST_LOADED, None, deadline)
        return [self._handle(info.identifier, self._session, self._namespace) for info in infos]

    async def get_model_info(
        self, model_specifier: ModelSpecifierInput, *, timeout: Timeout = None
    ) -> wire.ModelInstanceInfo:
        """Return the metadata of a loaded model.

        Parameters:
            model_specifier: its identifier, or a query: a :class:`ModelQuery`, a specifier, or either as a dict.
            timeout: as for :meth:`plan_load`.

        Raises:
            ModelNotFoundError: no loaded model matches.
            ConfigError: the specifier has none of these forms.
        """
        parameter = wire.GetModelInfoParameter(specifier_of(model_specifier), True)
        deadline = deadline_of(timeout, "get_model_info()")
        info = await self._session.call(self._namespace, wire.GET_MODEL_INFO, parameter, deadline)
        assert info is not None
        return info


class AsyncLlmNamespace(AsyncModelNamespace[AsyncLLM]):
    """``client.llm``: the LLMs."""

    _namespace = "llm"
    _handle = AsyncLLM

    async def list_downloaded(self, *, timeout: Timeout = None) -> list[AsyncDownloadedLlm]:
        """Return the LLMs on the host's disk.

        Parameters:
            timeout: as for :meth:`plan_load`.
        """
        deadline = deadline_of(timeout, "list_downloaded()")
        infos = await self._session.call("system", LIST_DOWNLOADED_MODELS, None, deadline)
        return [AsyncDownloadedLlm(info, self) for info in infos if info.type == "llm"]


class AsyncEmbeddingNamespace(AsyncModelNamespace[AsyncEmbeddingModel]):
    """``client.embedding``: the embedding models."""

    _namespace = "embedding"
    _handle = AsyncEmbeddingModel

    async def list_downloaded(self, *, timeout: Timeout = None) -> list[AsyncDownloadedEmbeddingModel]:
        """Return the embedding models on the host's disk.

        Parameters:
            timeout: as for :meth:`plan_load`.
        """
        deadline = deadline_of(timeout, "list_downloaded()")
        infos = await self._session.call("system", LIST_DOWNLOADED_MODELS, None, deadline)
        return [AsyncDownloadedEmbeddingModel(info, self) for info in infos if info.type == "embedding"]


class DownloadedModelBase(ProcessBound):
    """The metadata of a model on the host's disk, which the sync and the async API share. Equal if the metadata are.

    Parameters:
        info: all of it.
    """

    def __init__(self, info: wire.ModelInfo) -> None:
        self.info = info

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DownloadedModelBase):
            return NotImplemented
        return type(self) is type(other) and self.info == other.info

    def __hash__(self) -> int:
        return hash((self.type, self.model_key, self.path))

    def __repr__(self) -> str:
        shown = ["model_key", "display_name", "architecture", "params_string", "size_bytes"]
        if isinstance(self.info, wire.LlmInfo):
            shown.append("vision")
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self.info, name)!r}' for name in shown)})"

    @property
    def type(self) -> str:
        """``llm`` or ``embedding``."""
        return self.info.type

    @property
    def path(self) -> str:
        """Relative to the models folder, with forward slashes; absolute for a file elsewhere."""
        return self.info.path

    @property
    def model_key(self) -> str:
        """The key to load it by."""
        return self.info.model_key


class AsyncDownloadedModel(DownloadedModelBase, Generic[H]):
    """A model on the host's disk."""

    def __init__(self, info: wire.ModelInfo, namespace: AsyncModelNamespace[H]) -> None:
        super().__init__(info)
        self._namespace = namespace

    async def model(self, **options: Unpack[ModelOptions]) -> H:
        """Return a handle of this model; load it if it is not loaded. See :meth:`AsyncModelNamespace.model`."""
        return await self._namespace.model(self.model_key, **options)

    async def load_new_instance(self, *, instance_identifier: str | None = None, **options: Unpack[LoadOptions]) -> H:
        """Load another instance of this model; see :meth:`AsyncModelNamespace.load_new_instance`."""
        return await self._namespace.load_new_instance(self.model_key, instance_identifier, **options)


class AsyncDownloadedLlm(AsyncDownloadedModel[AsyncLLM]):
    """An LLM on the host's disk."""


class AsyncDownloadedEmbeddingModel(AsyncDownloadedModel[AsyncEmbeddingModel]):
    """An embedding model on the host's disk."""


AnyAsyncDownloadedModel = AsyncDownloadedLlm | AsyncDownloadedEmbeddingModel


def specifier_of(given: ModelSpecifierInput) -> wire.ModelSpecifier:
    """Return the specifier of an identifier, a query or a specifier. Raise :class:`ConfigError`."""
    match given:
        case str():
            return wire.specify(text(given, "model_specifier"))
        case wire.ModelQuery():
            return wire.QuerySpecifier(query=given)
        case wire.QuerySpecifier() | wire.InstanceReferenceSpecifier():
            return given
        case _:
            pass
    if not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise wrong_type(given, "model_specifier", "an identifier (str), a ModelQuery, or a dict of either form")
    fields = json_value(given, "model_specifier")
    try:
        if "type" in fields:
            return msgspec.convert(fields, examined(wire.ModelSpecifier))
        return wire.QuerySpecifier(query=msgspec.convert(fields, examined(wire.ModelQuery)))
    except (msgspec.ValidationError, TypeError) as error:
        raise ConfigError(f"{given!r} does not specify a model", cause=str(error)) from None


def _increasing(callback: OnLoadProgress | None) -> Callable[[float], None]:
    """Return a function that calls ``callback`` only with progress that has increased."""
    last = -1.0

    def report(progress: float) -> None:
        nonlocal last
        if progress > last:
            last = progress
            call(callback, progress)

    return report


_choice = one_of("keep", "error", "reload")


def _identifier(value: Any, name: str) -> str:
    identifier = text(value, name)
    check_identifier(identifier)
    return identifier


def _milliseconds(ttl: Any) -> int | None:
    ttl_sec = optional(seconds, ttl, "ttl")
    if ttl_sec is None:
        return None
    if not ttl_sec > 0:
        raise ConfigError(f"The argument 'ttl' is {ttl!r}, not a positive number of seconds")
    return max(1, round(ttl_sec * 1000))
