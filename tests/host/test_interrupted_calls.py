"""Ctrl-C during a call of the sync API to the host in this process: the call ends at once, and its work with it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import pytest
import studiolo_fake_engine as fake

import studiolo as lm
from studiolo.paths import Home
from studiolo.sdk import background
from studiolo.sdk.transports.embedded import close_hosts
from tests.support.interrupts import LIMIT_SEC, interrupted_when
from tests.support.model_files import write_catalog
from tests.support.running import wait_until
from tests.support.web import Web

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signals to a thread")


@pytest.fixture
def client(fake_home: Home) -> Iterator[lm.Client]:
    with lm.Client("embedded") as client:
        yield client
    background.run(close_hosts())
    assert fake.running() == []


def generating() -> bool:
    return any(engine.active for engine in fake.running())


def idle() -> bool:
    return not generating()


def look() -> str:
    """Look."""
    return "nothing"


CALLS: dict[str, Callable[[lm.LLM], object]] = {
    "respond": lambda llm: llm.respond("Hi"),
    "stream": lambda llm: list(llm.respond_stream("Hi")),
    "act": lambda llm: llm.act("Look.", [look]),
}


@pytest.mark.parametrize("call", CALLS)
def test_while_the_model_generates(client: lm.Client, call: str) -> None:
    fake.models["alpha"].endless = True
    fake.models["alpha"].token.sec = 0.01
    llm = client.llm.model("alpha")
    with interrupted_when(generating):
        CALLS[call](llm)
    wait_until(idle, "the engine to stop generating", LIMIT_SEC)
    fake.models["alpha"].endless = False
    assert llm.respond("Hi").content == "One two three."


def test_while_a_model_loads(client: lm.Client) -> None:
    fake.models["alpha"].load.sec = 60
    with interrupted_when(fake.running):
        client.llm.model("alpha")
    wait_until(lambda: not fake.running(), "the load to be given up", LIMIT_SEC)


@pytest.mark.parametrize("call", ["default model", "download"])
def test_while_a_model_is_downloaded(empty_home: Home, web: Web, call: str) -> None:
    content = b"GGUF" + bytes(3_000_000)
    write_catalog(empty_home, web.add_file("me/tiny", "tiny.gguf", content), content=content)
    web.go_on.clear()
    with lm.Client("embedded") as client:
        with interrupted_when(lambda: web.transfers("/cdn/me/tiny/tiny.gguf")):
            client.llm.model() if call == "default model" else client.repository.download("tiny")
        web.go_on.set()
        time.sleep(0.3)  # enough for the rest of the file
        assert client.list_downloaded_models() == []
    background.run(close_hosts())
