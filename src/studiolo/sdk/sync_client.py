"""The sync client: the async one, run on the background loop. No logic lives here."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from .async_client import AsyncClient, AsyncSystemNamespace
from .async_models import AsyncEmbeddingModel, AsyncLLM
from .async_namespaces import (
    AnyAsyncDownloadedModel,
    AsyncDownloadedEmbeddingModel,
    AsyncDownloadedLlm,
    AsyncEmbeddingNamespace,
    AsyncLlmNamespace,
    DownloadedModelBase,
)
from .background import run
from .blocking import Blocking, blocking, blocking_as, documented_as, each_as
from .diagnostics import DiagnosticsNamespace
from .files import AsyncFilesNamespace
from .repository import RepositoryNamespace
from .sync_models import LLM, EmbeddingModel


class DownloadedLlm(Blocking[AsyncDownloadedLlm], DownloadedModelBase):
    """An LLM on the host's disk."""

    def __init__(self, asynchronous: AsyncDownloadedLlm) -> None:
        super().__init__(asynchronous)
        self.info = asynchronous.info

    model = blocking_as(LLM, AsyncDownloadedLlm.model)
    load_new_instance = blocking_as(LLM, AsyncDownloadedLlm.load_new_instance)


class DownloadedEmbeddingModel(Blocking[AsyncDownloadedEmbeddingModel], DownloadedModelBase):
    """An embedding model on the host's disk."""

    def __init__(self, asynchronous: AsyncDownloadedEmbeddingModel) -> None:
        super().__init__(asynchronous)
        self.info = asynchronous.info

    model = blocking_as(EmbeddingModel, AsyncDownloadedEmbeddingModel.model)
    load_new_instance = blocking_as(EmbeddingModel, AsyncDownloadedEmbeddingModel.load_new_instance)


AnyDownloadedModel = DownloadedLlm | DownloadedEmbeddingModel


def _downloaded(model: AnyAsyncDownloadedModel) -> AnyDownloadedModel:
    return DownloadedLlm(model) if isinstance(model, AsyncDownloadedLlm) else DownloadedEmbeddingModel(model)


def _handle(handle: AsyncLLM | AsyncEmbeddingModel) -> LLM | EmbeddingModel:
    return LLM(handle) if isinstance(handle, AsyncLLM) else EmbeddingModel(handle)


class LlmNamespace(Blocking[AsyncLlmNamespace]):
    """``client.llm``: the LLMs."""

    model = blocking_as(LLM, AsyncLlmNamespace.model)
    load_new_instance = blocking_as(LLM, AsyncLlmNamespace.load_new_instance)
    plan_load = blocking(AsyncLlmNamespace.plan_load)
    unload = blocking(AsyncLlmNamespace.unload)
    list_loaded = blocking_as(each_as(LLM), AsyncLlmNamespace.list_loaded)
    list_downloaded = blocking_as(each_as(DownloadedLlm), AsyncLlmNamespace.list_downloaded)
    get_model_info = blocking(AsyncLlmNamespace.get_model_info)


class EmbeddingNamespace(Blocking[AsyncEmbeddingNamespace]):
    """``client.embedding``: the embedding models."""

    model = blocking_as(EmbeddingModel, AsyncEmbeddingNamespace.model)
    load_new_instance = blocking_as(EmbeddingModel, AsyncEmbeddingNamespace.load_new_instance)
    plan_load = blocking(AsyncEmbeddingNamespace.plan_load)
    unload = blocking(AsyncEmbeddingNamespace.unload)
    list_loaded = blocking_as(each_as(EmbeddingModel), AsyncEmbeddingNamespace.list_loaded)
    list_downloaded = blocking_as(each_as(DownloadedEmbeddingModel), AsyncEmbeddingNamespace.list_downloaded)
    get_model_info = blocking(AsyncEmbeddingNamespace.get_model_info)


class SystemNamespace(Blocking[AsyncSystemNamespace]):
    """``client.system``: the host itself."""

    list_downloaded_models = blocking_as(each_as(_downloaded), AsyncSystemNamespace.list_downloaded_models)
    list_downloaded_model_variants = blocking(AsyncSystemNamespace.list_downloaded_model_variants)
    list_library = blocking(AsyncSystemNamespace.list_library)
    show_model = blocking(AsyncSystemNamespace.show_model)
    version = blocking(AsyncSystemNamespace.version)
    notify = blocking(AsyncSystemNamespace.notify)
    info = blocking(AsyncSystemNamespace.info)


class FilesNamespace(Blocking[AsyncFilesNamespace]):
    """``client.files``: files that chats refer to."""

    prepare_image = blocking(AsyncFilesNamespace.prepare_image)
    prepare_audio = blocking(AsyncFilesNamespace.prepare_audio)
    prepare_file = blocking(AsyncFilesNamespace.prepare_file)
    get_document_parsing_library = blocking(AsyncFilesNamespace.get_document_parsing_library)
    parse_document = blocking(AsyncFilesNamespace.parse_document)
    retrieve = blocking(AsyncFilesNamespace.retrieve)


class Client(Blocking[AsyncClient]):
    """A client of a host: a server, or a host embedded in this process.

    Parameters:
        api_host: ``"host:port"`` or the URL of a server, or ``"embedded"``. With ``https://`` or ``wss://``, the
            connection uses TLS and the certificate is checked. Default: the environment's ``STUDIOLO_HOST``, else a
            server that answers on this machine, else embedded.
        api_token: the API token, for a server that requires one. Default: the environment's ``STUDIOLO_API_TOKEN`` or
            ``LM_API_TOKEN``.
        certificate_authority: a file with the certificates of the authorities to trust, in PEM form. Default: the
            environment's ``STUDIOLO_CERTIFICATE_AUTHORITY``, else the authorities that this machine trusts.

    Raises:
        ConfigError: the token is malformed.

    Safe to use from several threads. Use it as a context manager, or call :meth:`close`.
    """

    def __init__(
        self,
        api_host: str | None = None,
        api_token: str | None = None,
        *,
        certificate_authority: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(run(_async_client(api_host, api_token, certificate_authority)))
        self.llm = LlmNamespace(self.asynchronous.llm)
        self.embedding = EmbeddingNamespace(self.asynchronous.embedding)
        self.system = SystemNamespace(self.asynchronous.system)
        self.repository = RepositoryNamespace(self.asynchronous.repository)
        self.files = FilesNamespace(self.asynchronous.files)
        self.diagnostics = DiagnosticsNamespace(self.asynchronous.diagnostics)

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    connect = blocking(AsyncClient.connect)
    close = blocking(AsyncClient.close)

    @classmethod
    @documented_as(AsyncClient.is_valid_api_host)
    def is_valid_api_host(cls, api_host: str) -> bool:
        return run(AsyncClient.is_valid_api_host(api_host))

    @classmethod
    @documented_as(AsyncClient.find_default_local_api_host)
    def find_default_local_api_host(cls) -> str | None:
        return run(AsyncClient.find_default_local_api_host())

    @property
    @documented_as(AsyncClient.api_host)
    def api_host(self) -> str:
        return self.asynchronous.api_host

    prepare_image = blocking(AsyncClient.prepare_image)
    prepare_audio = blocking(AsyncClient.prepare_audio)
    rerank = blocking(AsyncClient.rerank)
    list_downloaded_models = blocking_as(each_as(_downloaded), AsyncClient.list_downloaded_models)
    list_loaded_models = blocking_as(each_as(_handle), AsyncClient.list_loaded_models)


async def _async_client(
    api_host: str | None, api_token: str | None, certificate_authority: str | os.PathLike[str] | None
) -> AsyncClient:
    return AsyncClient(api_host, api_token, certificate_authority=certificate_authority)
