"""``timeout=`` of every call: its parameter everywhere, and calls on the fake engine that end in time."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import studiolo_fake_engine as fake

import studiolo as lm
from studiolo.paths import Home
from studiolo.sdk import background, default_client
from studiolo.sdk.async_client import AsyncSystemNamespace
from studiolo.sdk.async_namespaces import AsyncEmbeddingNamespace, AsyncLlmNamespace
from studiolo.sdk.files import AsyncFilesNamespace
from studiolo.sdk.repository import AsyncRepositoryNamespace
from studiolo.sdk.transports.embedded import close_hosts
from tests.support.downloading import kept_bytes
from tests.support.http_server import serving_in_thread
from tests.support.model_files import write_catalog, write_gguf
from tests.support.running import children, wait_until
from tests.support.web import Web

pytestmark = pytest.mark.slow

LIMIT_SEC = 0.3

KINDS: list[Any] = [
    lm.AsyncClient,
    AsyncLlmNamespace,
    AsyncEmbeddingNamespace,
    AsyncSystemNamespace,
    AsyncRepositoryNamespace,
    AsyncFilesNamespace,
    lm.AsyncLLM,
    lm.AsyncEmbeddingModel,
    lm.AsyncDownloadedLlm,
    lm.AsyncDownloadedEmbeddingModel,
    lm.AsyncAvailableModel,
    lm.AsyncModelDownloadOption,
]
WITHOUT = {
    "close": "waits two seconds at most for a server",
    "aclose": "another name of close",
    "is_valid_api_host": "waits a fixed time for an answer",
    "find_default_local_api_host": "waits a fixed time for each answer",
}
"""Calls without the parameter, and why. Those of the sync API have the parameters of these."""


def takes_timeout(function: Any) -> bool:
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if parameter.name == "timeout":
            return parameter.kind is inspect.Parameter.KEYWORD_ONLY
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            return "timeout" in parameter.annotation.__args__[0].__annotations__
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_every_call_takes_a_time_limit(kind: Any) -> None:
    found = {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}
    calls = {name: each for name, each in found.items() if inspect.iscoroutinefunction(each)}
    assert calls
    assert [name for name, each in calls.items() if name not in WITHOUT and not takes_timeout(each)] == []


@pytest.mark.parametrize(
    "name",
    ["llm", "embedding_model", "list_downloaded_models", "list_loaded_models", "prepare_image", "prepare_audio"],
)
def test_every_function_of_the_default_client_does(name: str) -> None:
    assert takes_timeout(getattr(default_client, name))


@contextlib.contextmanager
def connected(place: str) -> Iterator[lm.Client]:
    """A client of a host with the home of the environment, embedded or served."""
    if place == "served":
        with serving_in_thread() as server, lm.Client(server.url) as client:
            yield client
    else:
        with lm.Client("embedded") as client:
            yield client
        background.run(close_hosts())


@pytest.fixture(params=["embedded", "served"])
def client(request: Any, fake_home: Home) -> Iterator[lm.Client]:
    with connected(request.param) as client:
        yield client
    assert fake.running() == []


def idle() -> bool:
    return not any(engine.active for engine in fake.running())


LOADS: dict[str, Callable[[lm.Client], object]] = {
    "model": lambda client: client.llm.model("beta", timeout=LIMIT_SEC),
    "load_new_instance": lambda client: client.llm.load_new_instance("beta", timeout=LIMIT_SEC),
}


@pytest.mark.parametrize("call", LOADS)
def test_a_load_is_given_up(client: lm.Client, call: str) -> None:
    fake.models["beta"].load.sec = 60
    with pytest.raises(lm.TimeLimitError, match=rf"^{call}\(\) took longer than the time limit of 0\.3 s"):
        LOADS[call](client)
    wait_until(lambda: not fake.running(), "the load to be given up")


CALLS: dict[str, Callable[[lm.LLM, float], object]] = {
    "tokenize": lambda llm, limit: llm.tokenize("text", timeout=limit),
    "tokenize, many": lambda llm, limit: llm.tokenize(["text"] * 40, timeout=limit),
    "count_tokens": lambda llm, limit: llm.count_tokens("text", timeout=limit),
    "apply_prompt_template": lambda llm, limit: llm.apply_prompt_template("Hi", timeout=limit),
    "decide": lambda llm, limit: llm.decide("Is it?", timeout=limit),
    "decide_many": lambda llm, limit: llm.decide_many(["Is it?"] * 20, timeout=limit),
    "calibrate": lambda llm, limit: llm.calibrate([("Is it?", True)] * 20, timeout=limit),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_of_a_model_ends_on_the_host_too(client: lm.Client, call: str) -> None:
    fake.models["alpha"].scores = True
    llm = client.llm.model("alpha")
    fake.models["alpha"].tokenize.sec = 60
    with pytest.raises(lm.TimeLimitError, match=rf"^{call.partition(',')[0]}\(\) took longer"):
        CALLS[call](llm, LIMIT_SEC)
    wait_until(idle, "the call to end on the host")


@pytest.mark.parametrize("call", ["decide", "decide_many", "calibrate"])
def test_a_decision_ends_while_its_choices_are_scored(client: lm.Client, call: str) -> None:
    fake.models["alpha"].scores = True
    llm = client.llm.model("alpha")
    fake.models["alpha"].token.sec = 60
    for limit_sec in (LIMIT_SEC, 2, 10):  # a busy machine may not have begun to score within the first
        with pytest.raises(lm.TimeLimitError, match=rf"^{call}\(\) took longer"):
            CALLS[call](llm, limit_sec)
        if any(engine.most_in_slots for engine in fake.engines):
            break
    assert any(engine.most_in_slots for engine in fake.engines), "it was scored"
    wait_until(idle, "the slots to be free")
    fake.models["alpha"].token.sec = 0
    assert llm.decide("Is it?", timeout=60).probabilities == {True: 0.5, False: 0.5}


SLOW_HTML = b"<p>ha" * 2_000_000
"""A document that takes a process seconds to read."""

DOCUMENT_CALLS: dict[str, Callable[[lm.Client, lm.FileHandle], object]] = {
    "parse_document": lambda client, file: client.files.parse_document(file, timeout=1),
    "retrieve": lambda client, file: client.files.retrieve("ha", [file], timeout=1),
}


@pytest.mark.parametrize("call", DOCUMENT_CALLS)
def test_the_process_that_reads_a_document_ends(client: lm.Client, call: str) -> None:
    file = client.files.prepare_file(SLOW_HTML, "slow.html", timeout=60)
    before = children()
    with pytest.raises(lm.TimeLimitError, match=rf"^{call}\(\) took longer than the time limit of 1 s"):
        DOCUMENT_CALLS[call](client, file)
    wait_until(lambda: children() <= before, "the process to end")


@pytest.mark.parametrize("work", ["load", "embed"])
def test_a_retrieval_ends_while_its_model_loads_or_embeds(client: lm.Client, work: str) -> None:
    file = client.files.prepare_file(b"Bees make honey.", "bees.txt")
    getattr(fake.models["vectors"], work).sec = 60
    with pytest.raises(lm.TimeLimitError, match=r"^retrieve\(\) took longer"):
        client.files.retrieve("honey", [file], timeout=LIMIT_SEC)
    wait_until(idle, "the slots to be free")
    wait_until(lambda: work == "embed" or not fake.running(), "the load to be given up")
    getattr(fake.models["vectors"], work).sec = 0
    assert [each.content for each in client.files.retrieve("honey", [file], timeout=60).entries] == ["Bees make honey."]


DOWNLOADS: dict[str, Callable[[lm.Client, float], object]] = {
    "download": lambda client, limit: client.repository.download("tiny", timeout=limit),
    "model": lambda client, limit: client.llm.model(timeout=limit),
}


@pytest.mark.parametrize(("place", "call"), [("embedded", "download"), ("served", "download"), ("served", "model")])
def test_a_download_is_continued_later(empty_home: Home, web: Web, tmp_path: Path, place: str, call: str) -> None:
    content = write_gguf(tmp_path / "made.gguf").read_bytes() + bytes(3_000_000)
    write_catalog(empty_home, web.add_file("me/tiny", "tiny.gguf", content), content=content)
    web.go_on.clear()
    with connected(place) as client:
        for limit in (2, 4, 8, 16):  # a busy machine may not have begun the transfer by then
            with pytest.raises(lm.TimeLimitError, match=rf"^{call}\(\) took longer"):
                DOWNLOADS[call](client, limit)
            if kept_bytes(empty_home):
                break
        web.go_on.set()
        client.repository.download("tiny", timeout=60)
    assert web.transfers("/cdn/me/tiny/tiny.gguf")[-1].range


def test_what_is_no_limit_is_refused(client: lm.Client) -> None:
    for wrong in (0, -1, "20", True):
        with pytest.raises(lm.ConfigError, match="timeout"):
            client.llm.list_loaded(timeout=wrong)  # type: ignore[arg-type]
