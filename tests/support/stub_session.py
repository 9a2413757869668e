"""The objects of the SDK on a session that sends nothing, for tests of their arguments."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import types
import typing
from collections.abc import AsyncGenerator
from typing import Any

import pytest

import studiolo as lm
from studiolo.sdk import sync_client
from studiolo.sdk.async_client import AsyncSystemNamespace
from studiolo.sdk.async_models import AsyncEmbeddingModel, AsyncLLM
from studiolo.sdk.async_namespaces import AsyncDownloadedLlm, AsyncEmbeddingNamespace, AsyncLlmNamespace
from studiolo.sdk.diagnostics import AsyncDiagnosticsNamespace
from studiolo.sdk.files import AsyncFilesNamespace
from studiolo.sdk.repository import AsyncAvailableModel, AsyncModelDownloadOption, AsyncRepositoryNamespace


class Sent(Exception):
    """A request left the SDK: the arguments were accepted."""


class StubSession:
    """Raises :class:`Sent` with the parameter of the first request."""

    async def call(self, namespace: str, endpoint: Any, parameter: Any, deadline: Any = None) -> Any:
        raise Sent(parameter)

    async def open(self, namespace: str, endpoint: Any, parameter: Any) -> Any:
        raise Sent(parameter)

    @contextlib.asynccontextmanager
    async def messages(
        self, namespace: str, endpoint: Any, parameter: Any, deadline: Any = None
    ) -> AsyncGenerator[Any, None]:
        raise Sent(parameter)
        yield


SESSION: Any = StubSession()
LLMS = AsyncLlmNamespace(SESSION)
EMBEDDING = AsyncEmbeddingNamespace(SESSION)
REPOSITORY = AsyncRepositoryNamespace(SESSION)
FILE = lm.FileHandle(name="a.png", identifier="1", size_bytes=3, file_type="image")
MODEL_INFO = types.SimpleNamespace(model_key="m", type="llm", identifier="m", download_identifier="d")

ASYNC_OBJECTS: list[Any] = [
    AsyncLLM("m", SESSION, "llm"),
    AsyncEmbeddingModel("m", SESSION, "embedding"),
    LLMS,
    EMBEDDING,
    AsyncSystemNamespace(SESSION, LLMS, EMBEDDING),
    AsyncFilesNamespace(SESSION),
    REPOSITORY,
    AsyncDownloadedLlm(typing.cast("Any", MODEL_INFO), LLMS),
    AsyncModelDownloadOption(typing.cast("Any", MODEL_INFO), REPOSITORY),
    AsyncAvailableModel(typing.cast("Any", MODEL_INFO), SESSION, REPOSITORY),
    AsyncDiagnosticsNamespace(SESSION),
]
SYNC_OBJECTS: list[Any] = [
    lm.LLM(ASYNC_OBJECTS[0]),
    lm.EmbeddingModel(ASYNC_OBJECTS[1]),
    sync_client.LlmNamespace(LLMS),
    sync_client.EmbeddingNamespace(EMBEDDING),
    sync_client.SystemNamespace(ASYNC_OBJECTS[4]),
    sync_client.FilesNamespace(ASYNC_OBJECTS[5]),
    sync_client.RepositoryNamespace(REPOSITORY),
    lm.DownloadedLlm(ASYNC_OBJECTS[7]),
    lm.ModelDownloadOption(ASYNC_OBJECTS[8]),
    lm.AvailableModel(ASYNC_OBJECTS[9]),
    sync_client.DiagnosticsNamespace(ASYNC_OBJECTS[10]),
]


def finish(outcome: Any) -> None:
    """Run a call to its end: a coroutine, a stream, or a method of the sync API that is not called yet."""
    if isinstance(outcome, lm.AsyncPredictionStream):
        asyncio.run(outcome.wait_for_result())
    elif isinstance(outcome, lm.PredictionStream):
        outcome.wait_for_result()
    elif inspect.iscoroutine(outcome):
        asyncio.run(outcome)
    elif isinstance(outcome, functools.partial):
        outcome()


def sent(outcome: Any) -> Any:
    """Return the parameter of the request that a call sends."""
    with pytest.raises(Sent) as caught:
        finish(outcome)
    return caught.value.args[0]


def calling(method: Any, *arguments: Any, **options: Any) -> Any:
    """Call a method of the sync API when its outcome is asked for, as those of the async API are."""
    if inspect.iscoroutinefunction(method):
        return method(*arguments, **options)
    return functools.partial(method, *arguments, **options)
