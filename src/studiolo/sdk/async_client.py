"""The async client, which does the work of the sync one, too."""

from __future__ import annotations

import os
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from ..protocol import models as wire
from ..protocol.chat import FileHandle
from ..protocol.downloaded_models import (
    LIST_LIBRARY,
    LIST_VARIANTS,
    SHOW_MODEL,
    LibraryModel,
    ModelDetails,
    ModelKeyParameter,
    NameParameter,
)
from ..protocol.system import INFO, LIST_DOWNLOADED_MODELS, NOTIFY, VERSION, Notification, SystemInfo, Version
from .arguments import one_of, optional, text, text_or_path
from .async_models import AsyncEmbeddingModel, AsyncLLM
from .async_namespaces import (
    AnyAsyncDownloadedModel,
    AsyncDownloadedEmbeddingModel,
    AsyncDownloadedLlm,
    AsyncEmbeddingNamespace,
    AsyncLlmNamespace,
)
from .diagnostics import AsyncDiagnosticsNamespace
from .discovery import find_local_server, is_server
from .files import AsyncFilesNamespace, LocalFileInput
from .process_bound import ProcessBound
from .repository import AsyncRepositoryNamespace
from .reranking import RerankResult
from .session import HostSession, Session
from .timeouts import Timeout, deadline_of


class AsyncClient(ProcessBound):
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

    Use it as a context manager, or call :meth:`connect` and :meth:`close`.
    """

    def __init__(
        self,
        api_host: str | None = None,
        api_token: str | None = None,
        *,
        certificate_authority: str | os.PathLike[str] | None = None,
    ) -> None:
        self._session = HostSession(
            optional(text, api_host, "api_host"),
            optional(text, api_token, "api_token"),
            optional(text_or_path, certificate_authority, "certificate_authority"),
        )
        self.llm = AsyncLlmNamespace(self._session)
        self.embedding = AsyncEmbeddingNamespace(self._session)
        self.system = AsyncSystemNamespace(self._session, self.llm, self.embedding)
        self.repository = AsyncRepositoryNamespace(self._session)
        self.files = AsyncFilesNamespace(self._session)
        self.diagnostics = AsyncDiagnosticsNamespace(self._session)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def connect(self, *, timeout: Timeout = None) -> None:
        """Find the host. Raise :class:`ConnectionFailedError` if the requested one does not answer.

        A closed client can be connected again.

        Parameters:
            timeout: the time limit of the call in seconds: after it, :class:`TimeLimitError` is raised. Default: none.
        """
        await self._session.connect(deadline_of(timeout, "connect()"))

    async def close(self) -> None:
        """Close the connections. Models stay loaded; later calls raise :class:`ConnectionFailedError`."""
        await self._session.close()

    async def aclose(self) -> None:
        """The official client's name for :meth:`close`."""
        await self.close()

    @classmethod
    async def is_valid_api_host(cls, api_host: str) -> bool:
        """Return whether a server answers at ``api_host``, ``"host:port"`` or a URL."""
        return await is_server(text(api_host, "api_host"))

    @classmethod
    async def find_default_local_api_host(cls) -> str | None:
        """Return the address of a server that answers on this machine, or ``None``."""
        return await find_local_server()

    @property
    def api_host(self) -> str:
        """``"host:port"``, an ``https`` URL, or ``"embedded"``. Raises :class:`ClientError` before it is connected."""
        return self._session.address

    async def prepare_image(
        self, src: LocalFileInput, name: str | None = None, *, timeout: Timeout = None
    ) -> FileHandle:
        """Upload an image to the host; see :meth:`AsyncFilesNamespace.prepare_image`."""
        return await self.files.prepare_image(src, name, timeout=timeout)

    async def prepare_audio(
        self, src: LocalFileInput, name: str | None = None, *, timeout: Timeout = None
    ) -> FileHandle:
        """Upload audio to the host; see :meth:`AsyncFilesNamespace.prepare_audio`."""
        return await self.files.prepare_audio(src, name, timeout=timeout)

    async def list_downloaded_models(
        self, namespace: str | None = None, *, timeout: Timeout = None
    ) -> list[AnyAsyncDownloadedModel]:
        """Return the models on the host's disk; ``namespace`` (``"llm"`` or ``"embedding"``) selects a kind.

        Parameters:
            timeout: as for :meth:`connect`.
        """
        namespace = optional(_kind, namespace, "namespace")
        models = await self.system.list_downloaded_models(timeout=timeout)
        return [model for model in models if namespace is None or model.type == namespace]

    async def list_loaded_models(
        self, namespace: str | None = None, *, timeout: Timeout = None
    ) -> list[AsyncLLM | AsyncEmbeddingModel]:
        """Return handles of the loaded models; ``namespace`` (``"llm"`` or ``"embedding"``) selects a kind.

        Parameters:
            timeout: as for :meth:`connect`.
        """
        deadline = deadline_of(timeout, "list_loaded_models()")
        namespace = optional(_kind, namespace, "namespace")
        handles: list[AsyncLLM | AsyncEmbeddingModel] = []
        if namespace != "embedding":
            handles += await self.llm.list_loaded(timeout=deadline)
        if namespace != "llm":
            handles += await self.embedding.list_loaded(timeout=deadline)
        return handles

    async def rerank(
        self,
        model: str,
        query: str,
        documents: Iterable[str],
        *,
        top_n: int | None = None,
        timeout: Timeout = None,
    ) -> list[RerankResult]:
        """Return texts in the order of how well they answer a question; see :meth:`AsyncEmbeddingModel.rerank`.

        Parameters:
            model: the key or identifier of a reranking model; it is loaded if it is not.
            timeout: the time limit of the whole in seconds; the load counts. Default: none.
        """
        deadline = deadline_of(timeout, "rerank()")
        handle = await self.embedding.model(model, timeout=deadline)
        return await handle.rerank(query, documents, top_n=top_n, timeout=deadline)


class AsyncSystemNamespace:
    """``client.system``: the host itself."""

    def __init__(self, session: Session, llm: AsyncLlmNamespace, embedding: AsyncEmbeddingNamespace) -> None:
        self._session = session
        self._llm = llm
        self._embedding = embedding

    async def list_downloaded_models(self, *, timeout: Timeout = None) -> list[AnyAsyncDownloadedModel]:
        """Return the models on the host's disk; each can be loaded with its ``model()``.

        Parameters:
            timeout: as for :meth:`AsyncClient.connect`.
        """
        infos = await self._session.call(
            "system", LIST_DOWNLOADED_MODELS, None, deadline_of(timeout, "list_downloaded_models()")
        )
        return [
            AsyncDownloadedEmbeddingModel(info, self._embedding)
            if info.type == "embedding"
            else AsyncDownloadedLlm(info, self._llm)
            for info in infos
        ]

    async def list_downloaded_model_variants(self, model_key: str, *, timeout: Timeout = None) -> list[wire.ModelInfo]:
        """Return the variants of a model on the host's disk. Raise :class:`ModelNotFoundError` if there are none.

        Parameters:
            timeout: as for :meth:`AsyncClient.connect`.
        """
        parameter = ModelKeyParameter(text_or_path(model_key, "model_key"))
        return await self._session.call(
            "system", LIST_VARIANTS, parameter, deadline_of(timeout, "list_downloaded_model_variants()")
        )

    async def list_library(self, *, timeout: Timeout = None) -> list[LibraryModel]:
        """Return every variant of every model on a studiolo host's disk, unusable ones included.

        Parameters:
            timeout: as for :meth:`AsyncClient.connect`.
        """
        return await self._session.call("system", LIST_LIBRARY, None, deadline_of(timeout, "list_library()"))

    async def show_model(self, name: str, *, timeout: Timeout = None) -> ModelDetails:
        """Return all metadata of a model of a studiolo host. Raise :class:`ModelNotFoundError`.

        Parameters:
            timeout: as for :meth:`AsyncClient.connect`.
        """
        return await self._session.call(
            "system", SHOW_MODEL, NameParameter(text_or_path(name, "name")), deadline_of(timeout, "show_model()")
        )

    async def version(self, *, timeout: Timeout = None) -> Version:
        """Return the version of the host's program.

        Parameters:
            timeout: as for :meth:`AsyncClient.connect`.
        """
        return await self._session.call("system", VERSION, None, deadline_of(timeout, "version()"))

    async def notify(self, title: str, description: str | None = None, *, timeout: Timeout = None) -> None:
        """Notify the user of the host: LM Studio shows the text, studiolo writes it to its log.

        Parameters:
            timeout: as for :meth:`AsyncClient.connect`.
        """
        parameter = Notification(text(title, "title"), optional(text, description, "description"))
        await self._session.call("system", NOTIFY, parameter, deadline_of(timeout, "notify()"))

    async def info(self, *, timeout: Timeout = None) -> SystemInfo:
        """Return the host's process and what it runs.

        Parameters:
            timeout: as for :meth:`AsyncClient.connect`.
        """
        return await self._session.call("system", INFO, None, deadline_of(timeout, "info()"))


_kind = one_of("llm", "embedding")
