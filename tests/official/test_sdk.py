"""What users of the official Python client match and catch holds for studiolo's SDK: the same program with both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import lmstudio
import pytest

import studiolo
from studiolo.paths import Home
from studiolo.sdk import default_client
from tests.support.homes import SHORT_ANSWERS
from tests.support.running import Server, free_port

pytestmark = [pytest.mark.quick_model, pytest.mark.server(models=["vision_model"], settings=SHORT_ANSWERS)]

both = pytest.mark.parametrize("lm", [lmstudio, studiolo], ids=["lmstudio", "studiolo"])


@contextmanager
def raises(lm: ModuleType, name: str, match: str, *kinds: type[BaseException]) -> Iterator[None]:
    """The block raises the package's error ``name``, which is one of ``kinds`` too."""
    with pytest.raises(getattr(lm, name), match=match) as caught:
        yield
    for kind in kinds:
        assert isinstance(caught.value, kind)


async def wait() -> int:
    """Wait."""
    return 1


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


FILE = {"name": "a.txt", "identifier": "x", "sizeBytes": 1, "fileType": "text/plain"}


@both
@pytest.mark.parametrize(
    ("chat", "match"),
    [
        (lambda lm: lm.Chat("x", _initial_history=lm.Chat()._history), "initial history or a system prompt"),
        (lambda lm: lm.Chat().add_system_prompt(FILE), "Unable to parse system prompt"),
        (lambda lm: lm.Chat().add_entry("system", FILE), "Unable to parse system prompt"),
        (lambda lm: lm.Chat().add_system_prompt(("a", "b")), "Unable to parse"),
        (lambda lm: lm.Chat().add_assistant_response(("a", "b")), "Unable to parse assistant response"),
        (lambda lm: lm.Chat().add_user_message([1]), "Unable to parse user message content"),
        (lambda lm: lm.Chat().add_user_message([]), "Empty user messages are not supported"),
        (lambda lm: lm.Chat().add_tool_results([1]), "Unable to parse tool result"),
        (lambda lm: lm.Chat().add_assistant_response("x", [1]), "Unable to parse tool call request"),
        (lambda lm: lm.Chat().add_entry("nobody", "x"), "Unknown history role"),
    ],
)
def test_what_a_chat_does_not_take(lm: ModuleType, chat: Callable[[ModuleType], Any], match: str) -> None:
    with raises(lm, "LMStudioValueError", match, lm.LMStudioError, ValueError):
        chat(lm)


@both
def test_a_server_that_is_not_there_is_not_reachable(lm: ModuleType) -> None:
    with raises(lm, "LMStudioClientError", "not reachable"), lm.Client(f"localhost:{free_port()}") as client:
        client.llm.list_loaded()


@both
def test_settings_and_tools_that_contradict_each_other(lm: ModuleType, server: Server) -> None:
    with lm.Client(server.address) as client:
        llm = client.llm.model("smollm2-135m-instruct")
        with raises(lm, "LMStudioValueError", "Cannot specify.*response_format.*structured"):
            llm.respond("x", response_format={"type": "object"}, config={"structured": {"type": "json"}})
        with raises(lm, "LMStudioValueError", "Duplicate tool names are not permitted"):
            llm.act("x", [add, add])
        with raises(lm, "LMStudioValueError", "wait.*not supported"):
            llm.act("x", [wait])


@both
def test_no_time_at_all_is_a_timeout(lm: ModuleType, server: Server) -> None:
    before = lm.get_sync_api_timeout()
    with lm.Client(server.address) as client:
        llm = client.llm.model("smollm2-135m-instruct")
        lm.set_sync_api_timeout(0)
        try:
            assert lm.get_sync_api_timeout() == 0
            # The official client may be as fast as the server: what is there at once is no timeout for it.
            calls = (llm.get_info, lambda: llm.respond("x"), client.llm.list_loaded) * (1 if lm is studiolo else 20)
            late = 0
            for call in calls:
                try:
                    call()
                except lm.LMStudioTimeoutError as error:
                    assert isinstance(error, TimeoutError)
                    late += 1
            assert late == len(calls) if lm is studiolo else late > 0
        finally:
            lm.set_sync_api_timeout(before)
        assert llm.get_info().identifier == llm.identifier


def test_the_embedded_host_has_no_time_either(empty_home: Home) -> None:
    with studiolo.Client("embedded") as client:
        before = studiolo.get_sync_api_timeout()
        studiolo.set_sync_api_timeout(0)
        try:
            with pytest.raises(studiolo.LMStudioTimeoutError):
                client.llm.list_loaded()
        finally:
            studiolo.set_sync_api_timeout(before)
        for wrong in (-1, float("nan")):
            with pytest.raises(studiolo.ConfigError, match="timeout"):
                studiolo.set_sync_api_timeout(wrong)


@both
def test_what_a_closed_async_client_gave_raises_the_clients_error(lm: ModuleType, server: Server) -> None:
    async def main() -> None:
        async with lm.AsyncClient(server.address) as client:
            llm = await client.llm.model("smollm2-135m-instruct")
            found = await client.repository.search_models("smollm2-135m")
        for call in (llm.get_info, client.llm.list_loaded, found[0].get_download_options):
            with raises(lm, "LMStudioClientError", "."):
                await call()

    asyncio.run(main())


@pytest.mark.parametrize("host", ["served", "embedded"])
def test_a_client_is_not_used_after_it_was_closed(host: str, server: Server, empty_home: Home) -> None:
    client = studiolo.Client(server.address if host == "served" else "embedded")
    client.close()
    with pytest.raises(studiolo.LMStudioWebsocketError, match="must be connected"):
        client.llm.list_loaded()
    with client:
        client.llm.list_loaded()
    with pytest.raises(studiolo.LMStudioClientError, match="must be connected"):
        client.list_downloaded_models()
    client.connect()
    assert client.llm.list_loaded() is not None
    client.close()


def test_the_default_client_is_chosen_before_it_is_created(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_client, "_default_client", None)
    monkeypatch.setattr(default_client, "_default_host", None)
    studiolo.configure_default_client(server.address)
    studiolo.list_loaded_models()
    with pytest.raises(studiolo.LMStudioClientError, match="already created"):
        studiolo.configure_default_client("localhost:1234")


@both
def test_a_taken_identifier_already_exists(lm: ModuleType, server: Server) -> None:
    with lm.Client(server.address) as client:
        llm = client.llm.model("smollm2-135m-instruct")
        with raises(lm, "LMStudioServerError", "Model load error.*already exists"):
            client.llm.load_new_instance("smollm2-135m-instruct", llm.identifier)


def test_a_model_that_makes_way_is_logged(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="studiolo.client")
    small = {"context_length": 128, "max_parallel_predictions": 1}
    with studiolo.Client(server.address) as client:
        for llm in client.llm.list_loaded():
            llm.unload()
        client.llm.model("smollm2-135m-instruct", config=small)
        client.llm.model("tiny-vision", config=small)
    assert "Unloading other JIT model smollm2-135m-instruct to load tiny-vision" in caplog.text


def test_a_model_on_disk_shows_what_it_is(server: Server) -> None:
    with studiolo.Client(server.address) as client:
        model = next(each for each in client.llm.list_downloaded() if each.model_key == "smollm2-135m-instruct")
    shown = repr(model)
    assert shown.startswith("DownloadedLlm(model_key='smollm2-135m-instruct', display_name='SmolLM2 135M Instruct'")
    for said in ("vision=False", "architecture='llama'", "params_string='135M'", "size_bytes="):
        assert said in shown
