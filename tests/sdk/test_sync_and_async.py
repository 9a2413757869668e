"""The sync and the async API are one: the same names, parameters and documentation, and handles that compare alike."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, cast

import pytest

import studiolo as lm
from studiolo.sdk import async_client, diagnostics, files, repository, sync_client
from studiolo.sdk.session import Session

PAIRS: list[tuple[type[Any], type[Any]]] = [
    (lm.AsyncClient, lm.Client),
    (async_client.AsyncLlmNamespace, sync_client.LlmNamespace),
    (async_client.AsyncEmbeddingNamespace, sync_client.EmbeddingNamespace),
    (async_client.AsyncSystemNamespace, sync_client.SystemNamespace),
    (files.AsyncFilesNamespace, sync_client.FilesNamespace),
    (repository.AsyncRepositoryNamespace, sync_client.RepositoryNamespace),
    (diagnostics.AsyncDiagnosticsNamespace, sync_client.DiagnosticsNamespace),
    (lm.AsyncLLM, lm.LLM),
    (lm.AsyncEmbeddingModel, lm.EmbeddingModel),
    (lm.AsyncPredictionStream, lm.PredictionStream),
    (lm.AsyncDownloadedLlm, lm.DownloadedLlm),
    (lm.AsyncDownloadedEmbeddingModel, lm.DownloadedEmbeddingModel),
    (lm.AsyncAvailableModel, lm.AvailableModel),
    (lm.AsyncModelDownloadOption, lm.ModelDownloadOption),
]
OFFICIAL_ASYNC_ONLY = {"aclose"}
"""What LM Studio's async API alone has."""


def methods(kind: type[Any]) -> dict[str, Any]:
    """The public methods of a class, by name."""
    found = {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}
    return {name: member for name, member in found.items() if inspect.isroutine(member)}


def members() -> Iterator[Any]:
    for asynchronous, sync in PAIRS:
        for name in sorted(methods(asynchronous).keys() - OFFICIAL_ASYNC_ONLY):
            yield pytest.param(asynchronous, sync, name, id=f"{sync.__name__}.{name}")


@pytest.mark.parametrize(("asynchronous", "sync"), PAIRS)
def test_both_have_the_same_methods(asynchronous: type[Any], sync: type[Any]) -> None:
    assert methods(sync).keys() == methods(asynchronous).keys() - OFFICIAL_ASYNC_ONLY


@pytest.mark.parametrize(("asynchronous", "sync", "name"), list(members()))
def test_a_method_has_the_same_parameters_and_documentation(
    asynchronous: type[Any], sync: type[Any], name: str
) -> None:
    one, other = getattr(asynchronous, name), getattr(sync, name)
    assert inspect.signature(other).parameters == inspect.signature(one).parameters
    assert inspect.getdoc(other) and inspect.getdoc(other) == inspect.getdoc(one)
    assert not inspect.iscoroutinefunction(other)


def test_clients_have_the_same_namespaces() -> None:
    namespaces = [
        {name for name, value in vars(client).items() if not name.startswith("_") and value is not client}
        for client in (lm.AsyncClient("embedded"), lm.Client("embedded"))
    ]
    assert namespaces[0] == namespaces[1] - {"asynchronous"}


def test_handles_that_are_equal_hash_alike() -> None:
    session, other = cast("Session", object()), cast("Session", object())
    handles = [
        lm.AsyncLLM("a", session, "llm"),
        lm.AsyncLLM("a", session, "llm"),
        lm.AsyncLLM("b", session, "llm"),
        lm.AsyncLLM("a", other, "llm"),
        lm.AsyncEmbeddingModel("a", session, "embedding"),
    ]
    assert handles[0] == handles[1] and hash(handles[0]) == hash(handles[1])
    assert len(set(handles)) == 4
    sync = [lm.LLM(cast("lm.AsyncLLM", handle)) for handle in handles]
    assert sync[0] == sync[1] and hash(sync[0]) == hash(sync[1])
    assert len(set(sync)) == 4
    assert sync[0] != handles[0]


@pytest.mark.parametrize("options", [{"no_such_option": 1}, {"on_message": None, "ttl": 3}])
def test_an_unknown_option_is_a_type_error(options: dict[str, Any]) -> None:
    handle = lm.LLM(lm.AsyncLLM("a", cast("Session", object()), "llm"))
    for function in (handle.respond, handle.complete_stream, handle.act):
        with pytest.raises(TypeError, match=r"\w+\(\) got an unexpected keyword argument"):
            function("x", **options)


def test_a_positional_argument_too_many_is_a_type_error() -> None:
    handle = lm.LLM(lm.AsyncLLM("a", cast("Session", object()), "llm"))
    with pytest.raises(TypeError, match="positional argument"):
        handle.unload("a")  # type: ignore[call-arg]


async def _never() -> None: ...


@pytest.mark.parametrize(("callback", "says"), [(3, "cannot be called"), (_never, "is async")])
def test_a_callback_that_cannot_be_called_is_refused_by_loads_too(callback: Any, says: str) -> None:
    with lm.Client("embedded") as client, pytest.raises(lm.ConfigError, match=says):
        client.llm.model("a", on_load_progress=callback)
