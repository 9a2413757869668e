"""The namespaces of the async API that load models."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec

from ..config import LoadConfig, load_config
from ..errors import ChannelClosedError, ConfigError, HostError
from ..protocol import models as wire
from ..protocol.kv import (
    encode_load_config,
    stack_of,
)
from . import fetch_progress
from .callbacks import call

if TYPE_CHECKING:
    from .async_client import AsyncClient
    from .downloaded_models import AsyncDownloadedEmbeddingModel, AsyncDownloadedLlm

from .async_models import AsyncEmbeddingModel, AsyncLLM, AsyncModelHandle

_log = logging.getLogger("studiolo.client")

DEFAULT_TTL_SEC = 3600
"""Seconds of idleness after which a model that was loaded for a client is unloaded."""

LoadConfigInput = LoadConfig | Mapping[str, Any]
ModelSpecifierInput = str | wire.ModelQuery | wire.ModelSpecifier | Mapping[str, Any]
AnyLoadConfig = LoadConfig
AnyModelSpecifier = ModelSpecifierInput
OnLoadProgress = Callable[[float], Any]
OnFetching = Callable[[wire.Fetching], Any]


@dataclass(frozen=True, kw_only=True)
class ModelLoadResult:
    """What a load brings, in the official client's form; handles are what studiolo's own functions return."""

    identifier: str
    instance_reference: str
    path: str


H = TypeVar("H", bound=AsyncModelHandle)


class AsyncModelNamespace(Generic[H]):
    """What the ``llm`` and ``embedding`` namespaces have in common."""

    _namespace: wire.Domain
    _handle: Callable[[str, AsyncClient, wire.Domain], H]

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def model(
        self,
        model_key: str | None = None,
        /,
        *,
        ttl: int | None = DEFAULT_TTL_SEC,
        config: LoadConfigInput | None = None,
        on_load_progress: OnLoadProgress | None = None,
    ) -> H:
        """A handle of a model, which is loaded where it is not yet.

        Parameters:
            model_key: an identifier of a loaded model, a model key, or a path. Without it: any loaded model, else
                the one last used, else the default (which is fetched into an empty library; stderr says so).
            ttl: seconds of idleness after which a model that is loaded by this call is unloaded; ``None`` for the
                host's own choice, an hour.
            config: how to load, where it comes to that; see :class:`~studiolo.config.LoadConfig`.
            on_load_progress: called with the share of the load that is done, 0 to 1.

        Raises:
            ModelNotFoundError, ModelFileError, DownloadError, ConfigError, EngineStartError
        """
        with fetch_progress.fetching() as on_fetching:
            return await self.get_or_load(model_key, ttl, config, on_load_progress, on_fetching)

    async def get_or_load(
        self,
        model_key: str | None,
        ttl: int | None,
        config: LoadConfigInput | None,
        on_load_progress: OnLoadProgress | None,
        on_fetching: OnFetching,
    ) -> H:
        """:meth:`model`, for a caller that shows the progress of a fetch itself."""
        stack = stack_of(encode_load_config(load_config(config), self._namespace))
        if model_key is None and (loaded := await self.list_loaded()):
            return loaded[0]
        parameter = wire.GetOrLoadParameter(
            identifier=model_key, load_ttl_ms=_milliseconds(ttl), load_config_stack=stack
        )
        tell = _rising(on_load_progress)
        async with self._client.messages(self._namespace, wire.GET_OR_LOAD, parameter) as messages:
            async for message in messages:
                match message:
                    case wire.GetOrLoadProgress(progress=progress):
                        tell(progress)
                    case wire.Fetching():
                        call(on_fetching, message)
                    case wire.AlreadyLoaded(info=info) | wire.GetOrLoadSuccess(info=info):
                        return self._handle(info.identifier, self._client, self._namespace)
                    case wire.UnloadingOtherModel(info=info):
                        _log.info(
                            "Unloading other JIT model %s to load %s (loading.auto_evict = false keeps both)",
                            info.identifier,
                            model_key,
                        )
                    case wire.StartLoading():
                        pass
        raise ChannelClosedError(f"The host ended the loading of {model_key or 'a model'} without a result")

    async def load_new_instance(
        self,
        model_key: str,
        instance_identifier: str | None = None,
        *,
        ttl: int | None = DEFAULT_TTL_SEC,
        config: LoadConfigInput | None = None,
        on_load_progress: OnLoadProgress | None = None,
    ) -> H:
        """Load a model once more, as an instance of its own.

        Parameters:
            model_key: a model key or a path.
            instance_identifier: the instance's name; by default the model key, with ``:2`` and so on.
            ttl: seconds of idleness after which it is unloaded; ``None`` for never.
            config, on_load_progress: as for :meth:`model`.

        Raises:
            HostError: the identifier is taken; further as :meth:`model`.
        """
        parameter = wire.LoadModelParameter(
            model_key=model_key,
            identifier=instance_identifier,
            ttl_ms=_milliseconds(ttl),
            load_config_stack=stack_of(encode_load_config(load_config(config), self._namespace)),
        )
        tell = _rising(on_load_progress)
        try:
            async with self._client.messages(self._namespace, wire.LOAD_MODEL, parameter) as messages:
                async for message in messages:
                    match message:
                        case wire.LoadProgress(progress=progress):
                            tell(progress)
                        case wire.LoadSuccess(info=info):
                            return self._handle(info.identifier, self._client, self._namespace)
                        case wire.LoadResolved():
                            pass
        except HostError as error:
            if type(error) is not HostError:
                raise
            raise HostError(f"Model load error: {error.title}", cause=error.cause, data=error.data) from None
        raise ChannelClosedError(f"The host ended the loading of {model_key} without a result")

    async def unload(self, model_identifier: str) -> None:
        """Unload the instance of this identifier. Raises :class:`ModelNotFoundError`."""
        await self._client.call(self._namespace, wire.UNLOAD_MODEL, wire.UnloadModelParameter(model_identifier))

    async def list_loaded(self) -> list[H]:
        """Handles of the loaded models."""
        infos = await self._client.call(self._namespace, wire.LIST_LOADED, None)
        return [self._handle(info.identifier, self._client, self._namespace) for info in infos]

    async def get_model_info(self, model_specifier: ModelSpecifierInput) -> wire.ModelInstanceInfo:
        """What is known of a loaded model.

        Parameters:
            model_specifier: its identifier, or a query: a :class:`ModelQuery`, a specifier, or either as a dict.

        Raises:
            ModelNotFoundError: none is loaded that fits.
            ConfigError: the specifier is of none of these forms.
        """
        parameter = wire.GetModelInfoParameter(specifier_of(model_specifier), True)
        info = await self._client.call(self._namespace, wire.GET_MODEL_INFO, parameter)
        assert info is not None
        return info


class AsyncLlmNamespace(AsyncModelNamespace[AsyncLLM]):
    """``client.llm``: the LLMs."""

    _namespace = "llm"
    _handle = AsyncLLM

    async def list_downloaded(self) -> list[AsyncDownloadedLlm]:
        """The LLMs on the host's disk."""
        return cast("list[AsyncDownloadedLlm]", await self._client.list_downloaded_models("llm"))


class AsyncEmbeddingNamespace(AsyncModelNamespace[AsyncEmbeddingModel]):
    """``client.embedding``: the embedding models."""

    _namespace = "embedding"
    _handle = AsyncEmbeddingModel

    async def list_downloaded(self) -> list[AsyncDownloadedEmbeddingModel]:
        """The embedding models on the host's disk."""
        return cast("list[AsyncDownloadedEmbeddingModel]", await self._client.list_downloaded_models("embedding"))


def specifier_of(given: ModelSpecifierInput) -> wire.ModelSpecifier:
    """An identifier, a query or a specifier, as a specifier. Raises :class:`ConfigError`."""
    match given:
        case str():
            return wire.specify(given)
        case wire.ModelQuery():
            return wire.QuerySpecifier(query=given)
        case wire.QuerySpecifier() | wire.InstanceReferenceSpecifier():
            return given
        case _:
            pass
    try:
        if "type" in given:
            return msgspec.convert(given, wire.ModelSpecifier)
        return wire.QuerySpecifier(query=msgspec.convert(given, wire.ModelQuery))
    except (msgspec.ValidationError, TypeError) as error:
        raise ConfigError(f"{given!r} does not specify a model", cause=str(error)) from None


def _rising(callback: OnLoadProgress | None) -> Callable[[float], None]:
    """Tell ``callback`` of progress, never backwards and nothing twice."""
    told = -1.0

    def tell(progress: float) -> None:
        nonlocal told
        if progress > told:
            told = progress
            call(callback, progress)

    return tell


def _milliseconds(seconds: float | None) -> int | None:
    if seconds is None:
        return None
    if not seconds > 0:
        raise ConfigError(f"The ttl is {seconds!r}, not a positive number of seconds")
    return max(1, round(seconds * 1000))
