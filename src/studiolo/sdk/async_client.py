"""The async client, which is the whole client; the sync one is a face over it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType
from typing import Self, TypeVar

from ..errors import ClientError, ConfigError, ConnectionFailedError
from ..protocol import models as wire
from ..protocol.chat import FileHandle
from ..protocol.declarations import Channel, Rpc
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
from .async_models import AsyncEmbeddingModel, AsyncLLM
from .async_namespaces import AsyncEmbeddingNamespace, AsyncLlmNamespace
from .diagnostics import AsyncDiagnosticsNamespace
from .discovery import find_local_server, find_token, find_transport, is_server
from .downloaded_models import AnyAsyncDownloadedModel, AsyncDownloadedEmbeddingModel, AsyncDownloadedLlm
from .files import AsyncFilesNamespace, LocalFileInput
from .repository import AsyncRepositoryNamespace
from .timeouts import within_limit
from .transports.base import ClientChannel, Transport

P = TypeVar("P")
R = TypeVar("R")


class AsyncClient:
    """A client of a host: a server, or one embedded in this process.

    Parameters:
        api_host: ``"host:port"`` of a server, or ``"embedded"``; either is insisted on. By default what the
            environment's ``STUDIOLO_HOST`` names, else a server that answers on this machine, else embedded.
        api_token: the API token of a server that asks for one; by default the environment's ``STUDIOLO_API_TOKEN`` or
            ``LM_API_TOKEN``.

    Raises:
        ConfigError: the token has not the form of one.

    Use it as a context manager, or call :meth:`connect` and :meth:`close`.
    """

    def __init__(self, api_host: str | None = None, api_token: str | None = None) -> None:
        self._requested_host = api_host
        self._token = find_token(api_token)
        self._found: Transport | None = None
        self._closed = False
        self._finding = asyncio.Lock()
        self._finding_where: object = None
        self.llm = AsyncLlmNamespace(self)
        self.embedding = AsyncEmbeddingNamespace(self)
        self.system = AsyncSystemNamespace(self)
        self.repository = AsyncRepositoryNamespace(self)
        self.files = AsyncFilesNamespace(self)
        self.diagnostics = AsyncDiagnosticsNamespace(self)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def connect(self) -> None:
        """Find the host. Raises :class:`ConnectionFailedError` where one that is insisted on does not answer.

        A client that was closed can be connected again.
        """
        self._closed = False
        await self.transport()

    async def close(self) -> None:
        """Close the connections. What is loaded stays loaded; later calls raise :class:`ConnectionFailedError`."""
        self._closed = True
        found, self._found = self._found, None
        if found is not None:
            await found.close()

    async def aclose(self) -> None:
        """The official client's name for :meth:`close`."""
        await self.close()

    @classmethod
    async def is_valid_api_host(cls, api_host: str) -> bool:
        """Whether a server answers at ``api_host``, ``"host:port"``."""
        return await is_server(api_host)

    @classmethod
    async def find_default_local_api_host(cls) -> str | None:
        """The address of a server that answers on this machine, if there is one."""
        return await find_local_server()

    @property
    def api_host(self) -> str:
        """``"host:port"``, or ``"embedded"``. Raises :class:`ClientError` before the client is connected."""
        if self._found is None:
            raise ClientError("The client has not been connected yet")
        return self._found.address

    async def transport(self) -> Transport:
        """Return the way to the host; found on the first call."""
        if self._closed:
            raise ConnectionFailedError(
                "The client was closed: it must be connected to make remote calls or create channels",
                suggestion="Use it within its with block, or call connect() again.",
            )
        if self._found is not None:
            return self._found
        here = (os.getpid(), asyncio.get_running_loop())
        if self._finding_where != here:  # a lock of another event loop, or held at a fork, is of no use here
            self._finding, self._finding_where = asyncio.Lock(), here
        async with self._finding:
            if self._found is None:
                self._found = await within_limit(
                    find_transport(self._requested_host, self._token), "the host to be found"
                )
            return self._found

    async def call(self, namespace: str, endpoint: Rpc[P, R], parameter: P) -> R:
        """Call an endpoint of the protocol."""
        transport = await self.transport()
        what = f"the answer to {namespace}/{endpoint.name}"
        return await within_limit(transport.call(namespace, endpoint, parameter), what)

    async def open(self, namespace: str, endpoint: Channel[P, R], parameter: P) -> ClientChannel[R]:
        """Open a channel of the protocol."""
        transport = await self.transport()
        return await within_limit(transport.open(namespace, endpoint, parameter), f"{namespace}/{endpoint.name}")

    @contextlib.asynccontextmanager
    async def messages(
        self, namespace: str, endpoint: Channel[P, R], parameter: P
    ) -> AsyncGenerator[AsyncIterator[R], None]:
        """A channel's messages, until the host closes it. Leaving the block early stops the host's work."""
        channel = await self.open(namespace, endpoint, parameter)

        async def read() -> AsyncIterator[R]:
            while batch := await within_limit(channel.receive(), f"{namespace}/{endpoint.name}"):
                for message in batch:
                    yield message

        try:
            yield read()
        finally:
            await channel.close()

    async def prepare_image(self, src: LocalFileInput, name: str | None = None) -> FileHandle:
        """See :meth:`AsyncFilesNamespace.prepare_image`."""
        return await self.files.prepare_image(src, name)

    async def list_downloaded_models(self, namespace: str | None = None) -> list[AnyAsyncDownloadedModel]:
        """The models on the host's disk; ``namespace`` (``"llm"`` or ``"embedding"``) chooses a kind."""
        _check_namespace(namespace)
        models = await self.system.list_downloaded_models()
        return [model for model in models if namespace is None or model.type == namespace]

    async def list_loaded_models(self, namespace: str | None = None) -> list[AsyncLLM | AsyncEmbeddingModel]:
        """Handles of the loaded models; ``namespace`` (``"llm"`` or ``"embedding"``) chooses a kind."""
        _check_namespace(namespace)
        handles: list[AsyncLLM | AsyncEmbeddingModel] = []
        if namespace != "embedding":
            handles += await self.llm.list_loaded()
        if namespace != "llm":
            handles += await self.embedding.list_loaded()
        return handles


class AsyncSystemNamespace:
    """``client.system``: the host itself."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list_downloaded_models(self) -> list[AnyAsyncDownloadedModel]:
        """The models on the host's disk, which can be loaded by what is returned."""
        infos = await self._client.call("system", LIST_DOWNLOADED_MODELS, None)
        return [
            AsyncDownloadedEmbeddingModel(info, self._client.embedding)
            if isinstance(info, wire.EmbeddingModelInfo)
            else AsyncDownloadedLlm(info, self._client.llm)
            for info in infos
        ]

    async def list_downloaded_model_variants(self, model_key: str) -> list[wire.ModelInfo]:
        """The variants of a model on the host's disk. Raises :class:`ModelNotFoundError` where there are none."""
        return await self._client.call("system", LIST_VARIANTS, ModelKeyParameter(model_key))

    async def list_library(self) -> list[LibraryModel]:
        """Every variant of every model on the disk of a studiolo host, those that cannot be used among them."""
        return await self._client.call("system", LIST_LIBRARY, None)

    async def show_model(self, name: str) -> ModelDetails:
        """All that a studiolo host knows of the model that ``name`` means. Raises :class:`ModelNotFoundError`."""
        return await self._client.call("system", SHOW_MODEL, NameParameter(name))

    async def version(self) -> Version:
        """The version of the host's program."""
        return await self._client.call("system", VERSION, None)

    async def notify(self, title: str, description: str | None = None) -> None:
        """Tell the user of the host something: LM Studio shows it, studiolo writes it into its log."""
        await self._client.call("system", NOTIFY, Notification(title, description))

    async def info(self) -> SystemInfo:
        """The process that answers, and what it runs."""
        return await self._client.call("system", INFO, None)


def _check_namespace(namespace: str | None) -> None:
    if namespace not in (None, "llm", "embedding"):
        raise ConfigError(f"{namespace!r} is not a kind of model", suggestion='Give "llm" or "embedding".')
