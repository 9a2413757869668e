"""The functions of the top-level module, which use one default client."""

from __future__ import annotations

import os
import threading
from typing import Unpack

from ..deadline import UNLIMITED, Deadline
from ..errors import ClientError
from ..platform.fork import after_fork_in_child
from ..protocol.chat import FileHandle
from . import background
from .arguments import optional, text, text_or_path
from .async_namespaces import ModelKeyInput, ModelOptions
from .files import LocalFileInput
from .sync_client import AnyDownloadedModel, Client
from .sync_models import LLM, EmbeddingModel
from .timeouts import Timeout, deadline_of

_lock = threading.Lock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()  # another thread may have held it at the fork


after_fork_in_child(_renew_lock)

_default_host: str | None = None
_default_token: str | None = None
_default_authority: str | os.PathLike[str] | None = None
_default_client: Client | None = None


def configure_default_client(
    api_host: str | None = None,
    api_token: str | None = None,
    *,
    certificate_authority: str | os.PathLike[str] | None = None,
) -> None:
    """Set the host of the default client, before its first use.

    Parameters:
        api_host, api_token, certificate_authority: as for :class:`Client`.

    Raises:
        ClientError: the default client already exists.
    """
    global _default_host, _default_token, _default_authority
    if _default_client is not None:
        raise ClientError(
            "The default client is already created: its host can no longer be configured",
            suggestion="Call configure_default_client() first, or create a Client.",
        )
    _default_host, _default_token = optional(text, api_host, "api_host"), optional(text, api_token, "api_token")
    _default_authority = optional(text_or_path, certificate_authority, "certificate_authority")


def get_default_client(api_host: str | None = None, api_token: str | None = None) -> Client:
    """Return the client that :func:`llm` and the other functions use; it is created on the first call.

    Parameters:
        api_host, api_token: as for :func:`configure_default_client`.
    """
    if api_host is not None or api_token is not None:
        configure_default_client(api_host, api_token)
    return _connected(UNLIMITED)


def _connected(deadline: Deadline) -> Client:
    """Return the default client, connected within the time of a call."""
    global _default_client
    left = deadline.remaining()
    lock = _lock
    if not lock.acquire(timeout=-1 if left is None else left):  # another thread connects
        raise deadline.error("Connecting")
    try:
        if _default_client is None:
            client = Client(_default_host, _default_token, certificate_authority=_default_authority)
            client.connect(timeout=deadline)
            background.at_close(client.asynchronous.close)  # nothing else closes it
            _default_client = client
        return _default_client
    finally:
        lock.release()


def llm(model_key: ModelKeyInput | None = None, /, **options: Unpack[ModelOptions]) -> LLM:
    """Return a handle of an LLM; load it if it is not loaded. See :meth:`AsyncModelNamespace.model`."""
    options["timeout"] = deadline = deadline_of(options.get("timeout"), "llm()")
    return _connected(deadline).llm.model(model_key, **options)


def embedding_model(model_key: ModelKeyInput | None = None, /, **options: Unpack[ModelOptions]) -> EmbeddingModel:
    """Return a handle of an embedding model; load it if it is not loaded. See :meth:`AsyncModelNamespace.model`."""
    options["timeout"] = deadline = deadline_of(options.get("timeout"), "embedding_model()")
    return _connected(deadline).embedding.model(model_key, **options)


def list_downloaded_models(namespace: str | None = None, *, timeout: Timeout = None) -> list[AnyDownloadedModel]:
    """Return the models on the host's disk; see :meth:`AsyncClient.list_downloaded_models`."""
    deadline = deadline_of(timeout, "list_downloaded_models()")
    return _connected(deadline).list_downloaded_models(namespace, timeout=deadline)


def list_loaded_models(namespace: str | None = None, *, timeout: Timeout = None) -> list[LLM | EmbeddingModel]:
    """Return handles of the loaded models; see :meth:`AsyncClient.list_loaded_models`."""
    deadline = deadline_of(timeout, "list_loaded_models()")
    return _connected(deadline).list_loaded_models(namespace, timeout=deadline)


def prepare_image(src: LocalFileInput, name: str | None = None, *, timeout: Timeout = None) -> FileHandle:
    """Upload an image to the default client's host; see :meth:`AsyncFilesNamespace.prepare_image`."""
    deadline = deadline_of(timeout, "prepare_image()")
    return _connected(deadline).prepare_image(src, name, timeout=deadline)


def prepare_audio(src: LocalFileInput, name: str | None = None, *, timeout: Timeout = None) -> FileHandle:
    """Upload audio to the default client's host; see :meth:`AsyncFilesNamespace.prepare_audio`."""
    deadline = deadline_of(timeout, "prepare_audio()")
    return _connected(deadline).prepare_audio(src, name, timeout=deadline)
