"""What clients ask of a host beside predictions: its logs, its version, its plugins; over both transports."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import threading
import time

import psutil
import pytest

import studiolo as lm
from studiolo.sdk.transports import embedded
from tests.support.running import wait_until

pytestmark = [pytest.mark.served, pytest.mark.quick_model]


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def test_what_models_are_given_can_be_watched(client: lm.Client, llm: lm.LLM) -> None:
    seen: list[object] = []
    listening = threading.Event()

    def watch() -> None:
        logs = client.diagnostics.stream_logs()
        listening.set()
        for event in logs:
            seen.append(event)
            if len(seen) == 3:
                logs.close()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    listening.wait()

    def predict() -> bool:  # the channel may open after the first predictions
        llm.complete("My name is", config={"max_tokens": 1})
        llm.respond("Hello", config={"max_tokens": 1})
        llm.act("Hello", [add], config={"max_tokens": 1})
        watcher.join(0.2)
        return not watcher.is_alive()

    wait_until(predict, "what three predictions were given")
    kinds = {event.data.input for event in seen}  # type: ignore[attr-defined]
    assert "My name is" in kinds
    assert any(text.startswith("<|im_start|>") and "Hello" in text for text in kinds)
    assert any("Add two numbers." in text for text in kinds)
    assert {event.data.model_identifier for event in seen} == {llm.identifier}  # type: ignore[attr-defined]


async def test_further_kinds_of_events_can_be_watched(place: tuple[str, int]) -> None:
    async with lm.AsyncClient(place[0]) as client:
        llm = await client.llm.model()
        prediction: asyncio.Task[str] | None = None

        async def predict() -> str:  # the channel may open after the first predictions
            while True:
                await llm.complete("My name is", config={"max_tokens": 1})

        async with (
            asyncio.timeout(60),
            contextlib.aclosing(client.diagnostics.stream_logs("llm.prediction.output")) as logs,
        ):
            prediction = asyncio.ensure_future(predict())
            event = await anext(logs)
            prediction.cancel()
            await asyncio.wait([prediction])
        assert event.data.type == "llm.prediction.output"
        assert event.data.stats is not None and event.data.stats.predicted_tokens_count == 1


async def test_the_async_client_watches_too(place: tuple[str, int]) -> None:
    async with lm.AsyncClient(place[0]) as client:
        llm = await client.llm.model()

        async def predict() -> None:  # the channel may open after the first predictions
            while True:
                await llm.complete("My name is", config={"max_tokens": 1})

        async with asyncio.timeout(60), contextlib.aclosing(client.diagnostics.stream_logs()) as logs:
            predicting = asyncio.ensure_future(predict())
            event = await anext(logs)
            predicting.cancel()
            await asyncio.wait([predicting])
        assert event.data.input == "My name is" and event.data.model_identifier == llm.identifier
        assert abs(event.timestamp / 1000 - time.time()) < 600
    if place[0] == "embedded":
        (host,) = embedded._hosts.values()
        await asyncio.to_thread(wait_until, lambda: not host.logs.subscribed, "the end of the watch")


def test_the_host_reports_its_version(client: lm.Client) -> None:
    assert client.system.version().version == lm.__version__ == client.system.info().version
    client.system.notify("Hello")
    about = client.system.info().studiolo
    assert about is not None and about.machine is not None
    assert about.machine.memory_bytes == psutil.virtual_memory().total and about.machine.threads >= 1
    assert about.machine.architecture == platform.machine() and about.machine.processor


def test_a_model_that_was_found_loads_itself(client: lm.Client) -> None:
    (downloaded,) = client.llm.list_downloaded()
    handle = downloaded.model()
    assert handle.identifier == downloaded.model_key
    other = downloaded.load_new_instance(instance_identifier="another", config={"context_length": 512})
    assert other.identifier == "another" and other.get_context_length() == 512
    for specifier in (
        "another",
        {"identifier": "another"},
        lm.ModelQuery(identifier="another"),
        {"type": "query", "query": {"identifier": "another"}},
        {"type": "instanceReference", "instanceReference": other.get_info().instance_reference},
    ):
        assert client.llm.get_model_info(specifier).identifier == "another"
    with pytest.raises(lm.ConfigError, match="does not specify a model"):
        client.llm.get_model_info({"identifier": 5})
    other.unload()
    with pytest.raises(lm.ModelNotFoundError):
        client.llm.get_model_info("another")


async def test_plugins_are_refused_in_words() -> None:
    from studiolo.dialects.lmstudio.dispatch import find_channel, find_rpc

    with pytest.raises(lm.UnsupportedError, match="runs no plugins"):
        find_channel("plugins", "setToolsProvider")
    with pytest.raises(lm.UnsupportedError, match="runs no plugins"):
        find_rpc("plugins", "pluginInitCompleted")
    assert find_rpc("plugins", "reindexPlugins")
