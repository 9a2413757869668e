"""Threads of Anthropic's messages, and the official client's loop over tools, which uses them, on the fake engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import beta_tool
from anthropic.types.beta import BetaMessage

from studiolo.dialects.anthropic import threads
from studiolo.store.store import Store
from tests.support.calling import prompt, said, scripted
from tests.support.http_server import ServerInThread

pytestmark = pytest.mark.slow

USER = {"role": "user", "content": "BRAVO"}


@pytest.fixture
def client(fake_server: ServerInThread) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=fake_server.url, api_key="any", max_retries=0, timeout=30) as client:
        yield client


def post(server: ServerInThread, status: int = 200, **body: Any) -> Any:
    given = {"model": "alpha", "max_tokens": 20, "messages": [USER], **body}
    answer = httpx.post(f"{server.url}/v1/messages", json=given, timeout=30)
    assert answer.status_code == status, answer.text
    if status == 200:
        BetaMessage.model_validate_json(answer.text, strict=True)
    return answer.json()


def continued(message_id: str) -> dict[str, str]:
    return {"type": "continue", "previous_message_id": message_id}


@pytest.mark.parametrize("stream", [False, True])
def test_the_official_client_runs_tools_on_a_fake_engine(
    client: anthropic.Anthropic, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    asked: list[str] = []
    kept: list[str] = []
    original = threads.keep

    @beta_tool
    def weather(city: str) -> str:
        """Return the weather."""
        asked.append(city)
        return "CHARLIE"

    async def keep(call: Any, *args: Any) -> None:
        kept.append(call.body.thread.type)
        await original(call, *args)

    monkeypatch.setattr(threads, "keep", keep)
    scripted(["I look. ", *said("weather", city="Rome")], ["It is sunny."])
    settings: Any = {"model": "alpha", "max_tokens": 50, "messages": [USER], "tools": [weather], "system": "ALPHA"}
    last = client.beta.messages.tool_runner(**settings, stream=stream).until_done()
    assert asked == ["Rome"] and last.content[0].model_dump()["text"] == "It is sunny."
    assert kept == ["create", "continue"], "the second request has the result of the tool alone"
    rendered = prompt()
    assert [rendered.count(word) for word in ("ALPHA", "BRAVO", "I look.", "CHARLIE")] == [1, 1, 1, 1]


def test_a_thread_has_its_system_prompt_and_all_its_turns_on_a_fake_engine(client: anthropic.Anthropic) -> None:
    scripted(["One."], ["Two."], ["Three."])
    thread = client.beta.messages.thread(model="alpha", max_tokens=20, system="ALPHA")
    thread.send({"role": "user", "content": "BRAVO"})
    with thread.stream({"role": "user", "content": "CHARLIE"}) as events:
        events.until_done()
    thread.send({"role": "user", "content": "DELTA"})
    words = ("ALPHA", "BRAVO", "One.", "CHARLIE", "Two.", "DELTA")
    assert [prompt().count(word) for word in words] == [1] * len(words)
    assert [prompt().index(word) for word in words] == sorted(prompt().index(word) for word in words)


def test_threads_branch_and_what_is_not_kept_is_said_on_a_fake_engine(fake_server: ServerInThread) -> None:
    scripted(["One."], ["Two."], ["Three."])
    first = post(fake_server, thread={"type": "create"})["id"]
    for word in ("CHARLIE", "DELTA"):
        post(fake_server, messages=[{"role": "user", "content": word}], thread=continued(first))
        assert "BRAVO" in prompt() and "One." in prompt() and word in prompt()
    assert "CHARLIE" not in prompt(), "the branches do not see each other"
    alone = post(fake_server)["id"]
    for stream in (False, True):
        for unknown in (alone, "msg_none"):
            error = post(fake_server, 404, thread=continued(unknown), stream=stream)["error"]
            assert error["details"] == {"error_code": "thread_not_found"} and error["type"] == "not_found_error"
    error = post(fake_server, 400, thread=continued(first), system="Other.")["error"]
    assert error["message"].startswith("system: ")
    error = post(fake_server, 400, thread={"type": "continue"})["error"]
    assert error["message"].startswith("thread.previous_message_id: missing")
    assert post(fake_server, 400, thread={"type": "fork"})["error"]["message"].startswith("thread.type: ")


def test_a_thread_that_is_too_large_is_left_to_the_client_on_a_fake_engine(
    client: anthropic.Anthropic, fake_server: ServerInThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "MAX_BODY_BYTES", 500)
    long: Any = [{"role": "user", "content": "word " * 100}]
    error = post(fake_server, 400, messages=long, thread={"type": "create"})["error"]
    assert error["details"]["error_code"] == "thread_unsupported_request"
    scripted(["Done."])
    runner = client.beta.messages.tool_runner(model="alpha", max_tokens=20, messages=long, tools=[])
    assert runner.until_done().content[0].model_dump()["text"] == "Done."  # which sends it again without a thread


async def test_what_a_store_keeps_of_a_thread_belongs_to_its_kind(fake_server: ServerInThread) -> None:
    message_id = post(fake_server, thread={"type": "create"})["id"]
    store = Store(f"sqlite:///{fake_server.host.home.root}/store.db", keep_days=1, max_records=10)
    try:
        assert await store.get(threads.KIND, "", message_id) is not None
        assert await store.get(threads.KIND, "ann", message_id) is None
    finally:
        await store.close()
