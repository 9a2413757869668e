"""``client.repository``: finding and getting models, in both APIs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ChannelClosedError, ConfigError
from ..protocol.repository import (
    DOWNLOAD_MODEL,
    DOWNLOAD_OPTIONS,
    SEARCH_MODELS,
    DownloadModelParameter,
    DownloadOptionsParameter,
    DownloadProgress,
    DownloadProgressUpdate,
    DownloadSuccess,
    ModelSearchOpts,
    ModelSearchResultDownloadOptionData,
    ModelSearchResultEntryData,
    SearchModelsParameter,
    StartFinalizing,
)
from .background import run, run_calling_here
from .callbacks import call

if TYPE_CHECKING:
    from .async_client import AsyncClient

OnDownloadProgress = Callable[[DownloadProgressUpdate], Any]
OnFinalize = Callable[[], Any]
DownloadProgressCallback = OnDownloadProgress  # the official client's name
DownloadFinalizedCallback = OnFinalize

MAX_RESULTS = 25
"""What LM Studio's protocol allows for one search."""


class AsyncModelDownloadOption:
    """One form in which a model can be fetched.

    Parameters:
        info: its name, quantisation, size, whether it fits this machine, and whether it is the one to take if in doubt.
    """

    def __init__(self, info: ModelSearchResultDownloadOptionData, client: AsyncClient) -> None:
        self.info = info
        self._client = client

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.info!r})"

    async def download(
        self, on_progress: OnDownloadProgress | None = None, on_finalize: OnFinalize | None = None
    ) -> str:
        """Fetch it; see :meth:`AsyncRepositoryNamespace.download`."""
        return await self._client.repository.download(self.info.download_identifier, on_progress, on_finalize)


class AsyncAvailableModel:
    """A model that can be fetched.

    Parameters:
        search_result: its name and where it was found.
    """

    def __init__(self, search_result: ModelSearchResultEntryData, client: AsyncClient) -> None:
        self.search_result = search_result
        self._client = client

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.search_result!r})"

    async def get_download_options(self) -> Sequence[AsyncModelDownloadOption]:
        """The forms in which it can be fetched, the smallest first; one is recommended.

        Raises:
            ModelNotFoundError: it is there no more.
            DownloadError: the hub cannot be reached, or refuses.
        """
        parameter = DownloadOptionsParameter(self.search_result.identifier)
        found = await self._client.call("repository", DOWNLOAD_OPTIONS, parameter)
        return [AsyncModelDownloadOption(option, self._client) for option in found.results]


class AsyncRepositoryNamespace:
    """``client.repository``: finding and getting models."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def search_models(
        self,
        search_term: str | None = None,
        limit: int | None = None,
        compatibility_types: list[str] | None = None,
    ) -> Sequence[AsyncAvailableModel]:
        """Look for models in the catalog and on the hub.

        Parameters:
            search_term: words of the model's name; without it, what the catalog has, and what is popular.
            limit: how many to find at most, 1 to 25. Default: 20.
            compatibility_types: file formats; there is only ``gguf``.

        Raises:
            ConfigError: the limit is out of range.
        """
        if limit is not None and not 1 <= limit <= MAX_RESULTS:
            raise ConfigError(f"The limit is {limit!r}, and must be from 1 to {MAX_RESULTS}")
        opts = ModelSearchOpts(search_term=search_term, limit=limit, compatibility_types=compatibility_types)
        found = await self._client.call("repository", SEARCH_MODELS, SearchModelsParameter(opts))
        return [AsyncAvailableModel(result, self._client) for result in found.results]

    async def download(
        self,
        name: str,
        on_progress: OnDownloadProgress | None = None,
        on_finalize: OnFinalize | None = None,
    ) -> str:
        """Fetch a model; returns the key to load it by. One that is there already is not fetched again.

        Parameters:
            name: its name in the catalog, a repository on the hub (``owner/repo@q4_k_m``), or a GGUF file's address.
            on_progress: called with a :class:`DownloadProgressUpdate` about ten times a second.
            on_finalize: called when all is here and is being checked.

        Raises:
            ModelNotFoundError: nothing is to be had under that name.
            DownloadError: no source could be had; it tells what was tried.
        """
        parameter = DownloadModelParameter(name)
        async with self._client.messages("repository", DOWNLOAD_MODEL, parameter) as messages:
            async for message in messages:
                match message:
                    case DownloadProgress(update=update):
                        call(on_progress, update)
                    case StartFinalizing():
                        call(on_finalize)
                    case DownloadSuccess(default_identifier=key):
                        return key
        raise ChannelClosedError(f"The host ended the download of {name} without a result")


class ModelDownloadOption:
    """See :class:`AsyncModelDownloadOption`."""

    def __init__(self, option: AsyncModelDownloadOption) -> None:
        self._option = option

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.info!r})"

    @property
    def info(self) -> ModelSearchResultDownloadOptionData:
        """See :class:`AsyncModelDownloadOption`."""
        return self._option.info

    def download(self, on_progress: OnDownloadProgress | None = None, on_finalize: OnFinalize | None = None) -> str:
        """See :meth:`AsyncRepositoryNamespace.download`."""
        return run_calling_here(lambda here: self._option.download(here(on_progress), here(on_finalize)))


class AvailableModel:
    """See :class:`AsyncAvailableModel`."""

    def __init__(self, model: AsyncAvailableModel) -> None:
        self._model = model

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.search_result!r})"

    @property
    def search_result(self) -> ModelSearchResultEntryData:
        """See :class:`AsyncAvailableModel`."""
        return self._model.search_result

    def get_download_options(self) -> Sequence[ModelDownloadOption]:
        """See :meth:`AsyncAvailableModel.get_download_options`."""
        return [ModelDownloadOption(option) for option in run(self._model.get_download_options())]


class RepositoryNamespace:
    """``client.repository``: finding and getting models."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def search_models(
        self,
        search_term: str | None = None,
        limit: int | None = None,
        compatibility_types: list[str] | None = None,
    ) -> Sequence[AvailableModel]:
        """See :meth:`AsyncRepositoryNamespace.search_models`."""
        found = run(self._client.repository.search_models(search_term, limit, compatibility_types))
        return [AvailableModel(model) for model in found]

    def download(
        self, name: str, on_progress: OnDownloadProgress | None = None, on_finalize: OnFinalize | None = None
    ) -> str:
        """See :meth:`AsyncRepositoryNamespace.download`."""
        return run_calling_here(
            lambda here: self._client.repository.download(name, here(on_progress), here(on_finalize))
        )
