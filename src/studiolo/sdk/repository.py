"""``client.repository``: search and download of models, in both APIs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

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
from .arguments import callback, integer, optional, text, texts
from .blocking import Blocking, blocking, blocking_as, each_as
from .callbacks import call
from .session import Session
from .timeouts import Timeout, deadline_of

OnDownloadProgress = Callable[[DownloadProgressUpdate], Any]
OnFinalize = Callable[[], Any]
DownloadProgressCallback = OnDownloadProgress  # the official client's name
DownloadFinalizedCallback = OnFinalize

MAX_RESULTS = 25
"""The maximum of LM Studio's protocol for one search."""


class AsyncModelDownloadOption:
    """One form in which a model can be downloaded.

    Parameters:
        info: its name, quantization, size, whether it fits this machine, and whether it is recommended.
    """

    def __init__(self, info: ModelSearchResultDownloadOptionData, repository: AsyncRepositoryNamespace) -> None:
        self.info = info
        self._repository = repository

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.info!r})"

    async def download(
        self,
        on_progress: OnDownloadProgress | None = None,
        on_finalize: OnFinalize | None = None,
        *,
        timeout: Timeout = None,
    ) -> str:
        """Download it; see :meth:`AsyncRepositoryNamespace.download`."""
        name = self.info.download_identifier
        return await self._repository.download(name, on_progress, on_finalize, timeout=timeout)


class AsyncAvailableModel:
    """A model that can be downloaded.

    Parameters:
        search_result: its name and where it was found.
    """

    def __init__(
        self, search_result: ModelSearchResultEntryData, session: Session, repository: AsyncRepositoryNamespace
    ) -> None:
        self.search_result = search_result
        self._session = session
        self._repository = repository

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.search_result!r})"

    async def get_download_options(self, *, timeout: Timeout = None) -> Sequence[AsyncModelDownloadOption]:
        """Return the forms in which it can be downloaded, the smallest first; one is recommended.

        Parameters:
            timeout: the time limit of the call in seconds. Default: none.

        Raises:
            TimeLimitError: it took longer than ``timeout``.
            ModelNotFoundError: it no longer exists.
            DownloadError: the hub cannot be reached, or rejects the request.
        """
        parameter = DownloadOptionsParameter(self.search_result.identifier)
        deadline = deadline_of(timeout, "get_download_options()")
        found = await self._session.call("repository", DOWNLOAD_OPTIONS, parameter, deadline)
        return [AsyncModelDownloadOption(option, self._repository) for option in found.results]


class AsyncRepositoryNamespace:
    """``client.repository``: search and download of models."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def search_models(
        self,
        search_term: str | None = None,
        limit: int | None = None,
        compatibility_types: list[str] | None = None,
        *,
        timeout: Timeout = None,
    ) -> Sequence[AsyncAvailableModel]:
        """Search for models in the catalog and on the hub.

        Parameters:
            search_term: words of the model's name; without it, the catalog and popular models.
            limit: the maximum number of models, 1 to 25. Default: 20.
            compatibility_types: file formats; there is only ``gguf``.
            timeout: the time limit of the call in seconds. Default: none.

        Raises:
            TimeLimitError: it took longer than ``timeout``.
            ConfigError: the limit is out of range.
        """
        limit = optional(integer, limit, "limit")
        if limit is not None and not 1 <= limit <= MAX_RESULTS:
            raise ConfigError(f"The argument 'limit' is {limit}, and must be from 1 to {MAX_RESULTS}")
        opts = ModelSearchOpts(
            search_term=optional(text, search_term, "search_term"),
            limit=limit,
            compatibility_types=optional(texts, compatibility_types, "compatibility_types"),
        )
        deadline = deadline_of(timeout, "search_models()")
        found = await self._session.call("repository", SEARCH_MODELS, SearchModelsParameter(opts), deadline)
        return [AsyncAvailableModel(result, self._session, self) for result in found.results]

    async def download(
        self,
        name: str,
        on_progress: OnDownloadProgress | None = None,
        on_finalize: OnFinalize | None = None,
        *,
        timeout: Timeout = None,
    ) -> str:
        """Download a model and return the key to load it by. A model that exists is not downloaded again.

        Parameters:
            name: its name in the catalog, a repository on the hub (``owner/repo@q4_k_m``), or a GGUF file's address.
            on_progress: called with a :class:`DownloadProgressUpdate` about ten times a second.
            on_finalize: called when the download is complete and is being verified.
            timeout: the time limit of the whole in seconds. What was downloaded by then is kept, and the next call
                continues from there. Default: none.

        Raises:
            TimeLimitError: it took longer than ``timeout``.
            ModelNotFoundError: no source has a model of that name.
            DownloadError: every source failed; the error lists them.
        """
        callback(on_progress, "on_progress")
        callback(on_finalize, "on_finalize")
        deadline = deadline_of(timeout, "download()")
        parameter = DownloadModelParameter(text(name, "name"))
        async with self._session.messages("repository", DOWNLOAD_MODEL, parameter, deadline) as messages:
            async for message in messages:
                match message:
                    case DownloadProgress(update=update):
                        call(on_progress, update)
                    case StartFinalizing():
                        call(on_finalize)
                    case DownloadSuccess(default_identifier=key):
                        return key
        raise ChannelClosedError(f"The host ended the download of {name} without a result")


class ModelDownloadOption(Blocking[AsyncModelDownloadOption]):
    """One form in which a model can be downloaded."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.info!r})"

    @property
    def info(self) -> ModelSearchResultDownloadOptionData:
        """Its name, quantization, size, whether it fits this machine, and whether it is recommended."""
        return self.asynchronous.info

    download = blocking(AsyncModelDownloadOption.download)


class AvailableModel(Blocking[AsyncAvailableModel]):
    """A model that can be downloaded."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.search_result!r})"

    @property
    def search_result(self) -> ModelSearchResultEntryData:
        """Its name and where it was found."""
        return self.asynchronous.search_result

    get_download_options = blocking_as(each_as(ModelDownloadOption), AsyncAvailableModel.get_download_options)


class RepositoryNamespace(Blocking[AsyncRepositoryNamespace]):
    """``client.repository``: search and download of models."""

    search_models = blocking_as(each_as(AvailableModel), AsyncRepositoryNamespace.search_models)
    download = blocking(AsyncRepositoryNamespace.download)
