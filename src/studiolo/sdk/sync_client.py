"""The sync client: the async one, run on the background loop. No logic lives here."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, Unpack, cast

from ..protocol import models as wire
from ..protocol.chat import FileHandle
from ..protocol.downloaded_models import LibraryModel, ModelDetails
from ..protocol.files import ParsedDocument, ParserIdentifier
from ..protocol.system import SystemInfo, Version
from . import fetch_progress
from .async_client import AsyncClient
from .async_models import AsyncEmbeddingModel, AsyncLLM, AsyncModelHandle
from .async_namespaces import (
    DEFAULT_TTL_SEC,
    AsyncEmbeddingNamespace,
    AsyncLlmNamespace,
    AsyncModelNamespace,
    LoadConfigInput,
    ModelSpecifierInput,
    OnFetching,
    OnLoadProgress,
)
from .background import Here, run, run_calling_here
from .diagnostics import DiagnosticsNamespace
from .documents import RetrievalCallbacks, RetrievalResult
from .downloaded_models import AnyDownloadedModel, AsyncDownloadedLlm, DownloadedEmbeddingModel, DownloadedLlm
from .files import LocalFileInput
from .repository import RepositoryNamespace
from .sync_models import LLM, EmbeddingModel, ModelHandle


class Client:
    """A client of a host: a server, or one embedded in this process.

    Parameters:
        api_host: ``"host:port"`` of a server, or ``"embedded"``; either is insisted on. By default what the
            environment's ``STUDIOLO_HOST`` names, else a server that answers on this machine, else embedded.
        api_token: the API token of a server that asks for one; by default the environment's ``STUDIOLO_API_TOKEN`` or
            ``LM_API_TOKEN``.

    Raises:
        ConfigError: the token has not the form of one.

    Safe to use from several threads. Use it as a context manager, or call :meth:`close`.
    """

    def __init__(self, api_host: str | None = None, api_token: str | None = None) -> None:
        self.asynchronous = run(_make_client(api_host, api_token))
        self.llm = LlmNamespace(self.asynchronous.llm, LLM)
        self.embedding = EmbeddingNamespace(self.asynchronous.embedding, EmbeddingModel)
        self.system = SystemNamespace(self)
        self.repository = RepositoryNamespace(self.asynchronous)
        self.files = FilesNamespace(self.asynchronous)
        self.diagnostics = DiagnosticsNamespace(self.asynchronous)

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def connect(self) -> None:
        """See :meth:`AsyncClient.connect`."""
        run(self.asynchronous.connect())

    def close(self) -> None:
        """See :meth:`AsyncClient.close`."""
        run(self.asynchronous.close())

    @classmethod
    def is_valid_api_host(cls, api_host: str) -> bool:
        """See :meth:`AsyncClient.is_valid_api_host`."""
        return run(AsyncClient.is_valid_api_host(api_host))

    @classmethod
    def find_default_local_api_host(cls) -> str | None:
        """See :meth:`AsyncClient.find_default_local_api_host`."""
        return run(AsyncClient.find_default_local_api_host())

    @property
    def api_host(self) -> str:
        """See :attr:`AsyncClient.api_host`."""
        return self.asynchronous.api_host

    def prepare_image(self, src: LocalFileInput, name: str | None = None) -> FileHandle:
        """See :meth:`AsyncFilesNamespace.prepare_image`."""
        return self.files.prepare_image(src, name)

    def list_downloaded_models(self, namespace: str | None = None) -> list[AnyDownloadedModel]:
        """See :meth:`AsyncClient.list_downloaded_models`."""
        models = run(self.asynchronous.list_downloaded_models(namespace))
        return [
            DownloadedLlm(model.info, self.llm)
            if isinstance(model, AsyncDownloadedLlm)
            else DownloadedEmbeddingModel(model.info, self.embedding)
            for model in models
        ]

    def list_loaded_models(self, namespace: str | None = None) -> list[LLM | EmbeddingModel]:
        """See :meth:`AsyncClient.list_loaded_models`."""
        handles = run(self.asynchronous.list_loaded_models(namespace))
        return [LLM(handle) if isinstance(handle, AsyncLLM) else EmbeddingModel(handle) for handle in handles]


async def _make_client(api_host: str | None, api_token: str | None) -> AsyncClient:
    return AsyncClient(api_host, api_token)


A = TypeVar("A", bound=AsyncModelHandle)
H = TypeVar("H", bound=ModelHandle[Any])


class ModelNamespace(Generic[A, H]):
    """What the ``llm`` and ``embedding`` namespaces have in common."""

    def __init__(self, namespace: AsyncModelNamespace[A], handle: type[H]) -> None:
        self._namespace = namespace
        self._handle = handle

    def model(
        self,
        model_key: str | None = None,
        /,
        *,
        ttl: int | None = DEFAULT_TTL_SEC,
        config: LoadConfigInput | None = None,
        on_load_progress: OnLoadProgress | None = None,
    ) -> H:
        """See :meth:`AsyncModelNamespace.model`."""
        with fetch_progress.fetching() as on_fetching:
            return self.get_or_load(model_key, ttl, config, on_load_progress, on_fetching)

    def get_or_load(
        self,
        model_key: str | None,
        ttl: int | None,
        config: LoadConfigInput | None,
        on_load_progress: OnLoadProgress | None,
        on_fetching: OnFetching,
    ) -> H:
        """See :meth:`AsyncModelNamespace.get_or_load`."""
        handle = run_calling_here(
            lambda here: self._namespace.get_or_load(model_key, ttl, config, here(on_load_progress), here(on_fetching))
        )
        return self._handle(handle)

    def load_new_instance(
        self,
        model_key: str,
        instance_identifier: str | None = None,
        *,
        ttl: int | None = DEFAULT_TTL_SEC,
        config: LoadConfigInput | None = None,
        on_load_progress: OnLoadProgress | None = None,
    ) -> H:
        """See :meth:`AsyncModelNamespace.load_new_instance`."""
        handle = run_calling_here(
            lambda here: self._namespace.load_new_instance(
                model_key, instance_identifier, ttl=ttl, config=config, on_load_progress=here(on_load_progress)
            )
        )
        return self._handle(handle)

    def unload(self, model_identifier: str) -> None:
        """See :meth:`AsyncModelNamespace.unload`."""
        run(self._namespace.unload(model_identifier))

    def list_loaded(self) -> list[H]:
        """See :meth:`AsyncModelNamespace.list_loaded`."""
        return [self._handle(handle) for handle in run(self._namespace.list_loaded())]

    def get_model_info(self, model_specifier: ModelSpecifierInput) -> wire.ModelInstanceInfo:
        """See :meth:`AsyncModelNamespace.get_model_info`."""
        return run(self._namespace.get_model_info(model_specifier))


class LlmNamespace(ModelNamespace[AsyncLLM, LLM]):
    """``client.llm``: the LLMs."""

    def list_downloaded(self) -> list[DownloadedLlm]:
        """See :meth:`AsyncLlmNamespace.list_downloaded`."""
        models = run(cast(AsyncLlmNamespace, self._namespace).list_downloaded())
        return [DownloadedLlm(model.info, self) for model in models]


class EmbeddingNamespace(ModelNamespace[AsyncEmbeddingModel, EmbeddingModel]):
    """``client.embedding``: the embedding models."""

    def list_downloaded(self) -> list[DownloadedEmbeddingModel]:
        """See :meth:`AsyncEmbeddingNamespace.list_downloaded`."""
        models = run(cast(AsyncEmbeddingNamespace, self._namespace).list_downloaded())
        return [DownloadedEmbeddingModel(model.info, self) for model in models]


class SystemNamespace:
    """``client.system``: the host itself."""

    def __init__(self, owner: Client) -> None:
        self._owner = owner
        self._client = owner.asynchronous

    def list_downloaded_models(self) -> list[AnyDownloadedModel]:
        """See :meth:`AsyncSystemNamespace.list_downloaded_models`."""
        return self._owner.list_downloaded_models()

    def list_downloaded_model_variants(self, model_key: str) -> list[wire.ModelInfo]:
        """See :meth:`AsyncSystemNamespace.list_downloaded_model_variants`."""
        return run(self._client.system.list_downloaded_model_variants(model_key))

    def list_library(self) -> list[LibraryModel]:
        """See :meth:`AsyncSystemNamespace.list_library`."""
        return run(self._client.system.list_library())

    def show_model(self, name: str) -> ModelDetails:
        """See :meth:`AsyncSystemNamespace.show_model`."""
        return run(self._client.system.show_model(name))

    def version(self) -> Version:
        """See :meth:`AsyncSystemNamespace.version`."""
        return run(self._client.system.version())

    def notify(self, title: str, description: str | None = None) -> None:
        """See :meth:`AsyncSystemNamespace.notify`."""
        run(self._client.system.notify(title, description))

    def info(self) -> SystemInfo:
        """See :meth:`AsyncSystemNamespace.info`."""
        return run(self._client.system.info())


class FilesNamespace:
    """``client.files``: files that chats refer to."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def prepare_image(self, src: LocalFileInput, name: str | None = None) -> FileHandle:
        """See :meth:`AsyncFilesNamespace.prepare_image`."""
        return run(self._client.files.prepare_image(src, name))

    def prepare_file(self, src: LocalFileInput, name: str | None = None) -> FileHandle:
        """See :meth:`AsyncFilesNamespace.prepare_file`."""
        return run(self._client.files.prepare_file(src, name))

    def get_document_parsing_library(self, file: FileHandle) -> ParserIdentifier:
        """See :meth:`AsyncFilesNamespace.get_document_parsing_library`."""
        return run(self._client.files.get_document_parsing_library(file))

    def parse_document(
        self,
        file: FileHandle,
        *,
        on_parser_loaded: Callable[[ParserIdentifier], Any] | None = None,
        on_progress: Callable[[float], Any] | None = None,
    ) -> ParsedDocument:
        """See :meth:`AsyncFilesNamespace.parse_document`."""
        return run_calling_here(
            lambda here: self._client.files.parse_document(
                file, on_parser_loaded=here(on_parser_loaded), on_progress=here(on_progress)
            )
        )

    def retrieve(
        self,
        query: str,
        files: Sequence[FileHandle],
        *,
        embedding_model: EmbeddingModel | str | None = None,
        limit: int | None = None,
        chunk_size: int | None = None,
        chunk_overlap: int | None = None,
        **callbacks: Unpack[RetrievalCallbacks],
    ) -> RetrievalResult:
        """See :meth:`AsyncFilesNamespace.retrieve`."""
        model = embedding_model.identifier if isinstance(embedding_model, EmbeddingModel) else embedding_model

        def start(here: Here) -> Coroutine[Any, Any, RetrievalResult]:
            told = {name: here(cast("Callable[..., Any]", callback)) for name, callback in callbacks.items()}
            return self._client.files.retrieve(
                query,
                files,
                embedding_model=model,
                limit=limit,
                chunk_size=chunk_size,
                chunk_overlap=chunk_overlap,
                **cast("RetrievalCallbacks", told),
            )

        return run_calling_here(start)
