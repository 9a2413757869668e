"""The time limit of calls, ``timeout=`` and ``timeout_sec``, on the fake engine in this process."""

from __future__ import annotations

import asyncio
import datetime
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import studiolo_fake_engine as fake

import studiolo as lm
from studiolo.domain.models import ModelReference
from studiolo.host.host import Host
from studiolo.host.structured import cut_off
from studiolo.paths import Home
from studiolo.protocol.kv import encode_prediction_config
from studiolo.protocol.llm import PREDICT, PredictSuccess, raw_completion
from studiolo.protocol.models import specify
from studiolo.sdk import background
from studiolo.sdk.transports.embedded import EmbeddedTransport, close_hosts
from tests.support.model_files import write_catalog
from tests.support.running import wait_until
from tests.support.web import Web

pytestmark = pytest.mark.slow

LIMIT_SEC = 0.3
"""What a call may take. Nothing here ends by itself, so that whatever ends has kept to it: no test limits how late that
may be on a busy machine."""


@pytest.fixture
def client(fake_home: Home) -> Iterator[lm.Client]:
    with lm.Client("embedded") as client:
        yield client
    background.run(close_hosts())
    assert fake.running() == []


@pytest.fixture
def endless(client: lm.Client) -> lm.LLM:
    """A loaded model with one slot, whose answers do not end."""
    fake.models["alpha"].endless = True
    fake.models["alpha"].token.sec = 0.01
    return client.llm.model("alpha", config={"max_parallel_predictions": 1})


def on_demand(client: lm.Client, name: str) -> lm.LLM:
    """A handle of a model that its first call loads."""
    return lm.LLM(lm.AsyncLLM(name, client.asynchronous._session, "llm"))


LIMITS_SEC = (LIMIT_SEC, 2, 10)
"""One after the other: a busy machine may not have begun within the first."""


def check_ended(result: lm.PredictionResult[Any], began: float, limit_sec: float = LIMIT_SEC) -> None:
    """Check that an answer that began at ``began`` or later has ended at its limit, not before, and left nothing."""
    assert time.monotonic() - began >= limit_sec * 0.9
    assert result.stats.stop_reason == "timeLimitReached"
    wait_until(lambda: not any(engine.active for engine in fake.running()), "the slot to be free")


def look() -> str:
    """Look."""
    return "nothing"


CALLS: dict[str, Callable[[lm.LLM, float], lm.PredictionResult[Any]]] = {
    "complete": lambda llm, limit_sec: llm.complete("Hi", timeout=limit_sec),
    "respond": lambda llm, limit_sec: llm.respond("Hi", timeout=datetime.timedelta(seconds=limit_sec)),
    "config": lambda llm, limit_sec: llm.respond("Hi", config={"timeout_sec": limit_sec}),
    "argument before config": lambda llm, limit_sec: llm.respond("Hi", config={"timeout_sec": 600}, timeout=limit_sec),
}


@pytest.mark.parametrize("call", CALLS)
def test_the_result_has_the_text_so_far(endless: lm.LLM, call: str) -> None:
    for limit_sec in LIMITS_SEC:
        began = time.monotonic()
        result = CALLS[call](endless, limit_sec)
        check_ended(result, began, limit_sec)
        assert 0 < (result.prediction_config.timeout_sec or 0) <= limit_sec
        if result.content:
            break
    assert result.content.startswith("One ")


def test_an_answer_within_the_limit_is_as_without_one(client: lm.Client) -> None:
    result = client.llm.model("alpha").respond("Hi", timeout=20)
    assert (result.content, result.stats.stop_reason) == ("One two three.", "eosFound")


def test_a_stream_ends_after_the_last_fragment(endless: lm.LLM) -> None:
    for limit_sec in LIMITS_SEC:
        stream = endless.respond_stream("Hi", timeout=limit_sec)
        time.sleep(LIMIT_SEC)  # the time begins with the stream
        began = time.monotonic()
        text = "".join(fragment.content for fragment in stream)
        check_ended(stream.result(), began, limit_sec)
        assert stream.result().content == text
        if text:
            break
    assert text


def test_a_stream_that_nobody_reads_frees_its_slot(endless: lm.LLM) -> None:
    for limit_sec in LIMITS_SEC:
        stream = endless.respond_stream("Hi", timeout=limit_sec)
        stream.start()
        time.sleep(limit_sec)
        wait_until(lambda: not any(engine.active for engine in fake.running()), "the slot to be free")
        assert stream.wait_for_result().stats.stop_reason == "timeLimitReached"
        if fake.engines[-1].requests:
            break
    assert fake.engines[-1].requests


def test_a_default_of_the_model_is_a_limit_too(fake_home: Home, client: lm.Client) -> None:
    with fake_home.settings.open("a") as settings:
        settings.write(f'[models."alpha".prediction]\ntimeout_sec = {LIMIT_SEC}\n')
    fake.models["alpha"].endless = True
    fake.models["alpha"].token.sec = 0.01
    llm = client.llm.model("alpha")
    began = time.monotonic()
    check_ended(llm.respond("Hi"), began)
    fake.models["alpha"].endless = False
    fake.models["alpha"].token.sec = LIMIT_SEC * 0.6
    assert llm.respond("Hi", config={"timeout_sec": False}).stats.stop_reason == "eosFound"


def test_time_in_the_queue_counts(endless: lm.LLM) -> None:
    first = endless.respond_stream("Hi")
    first.start()
    wait_until(lambda: any(engine.active for engine in fake.running()), "the first to begin")
    result = endless.respond("Hi", timeout=LIMIT_SEC)
    assert (result.content, result.stats.stop_reason) == ("", "timeLimitReached")
    assert any(engine.active for engine in fake.running()), "the first still runs"
    first.close()
    began = time.monotonic()
    check_ended(endless.respond("Hi", timeout=LIMIT_SEC), began)


def test_a_load_counts_and_is_given_up(client: lm.Client) -> None:
    fake.models["beta"].load.sec = 600
    llm = on_demand(client, "beta")
    with pytest.raises(lm.TimeLimitError, match=r"time limit of 0\.\d+ s") as caught:
        llm.respond("Hi", timeout=LIMIT_SEC)
    assert caught.value.data["content"] == ""
    assert isinstance(caught.value, lm.RequestTimeoutError | TimeoutError)
    wait_until(lambda: not fake.running(), "the load to be given up")


def test_a_load_leaves_the_rest_of_the_time(client: lm.Client) -> None:
    fake.models["beta"].load.sec = 1
    fake.models["beta"].endless = True
    fake.models["beta"].token.sec = 0.01
    for limit_sec in (3, 12):  # on a busy machine the load alone may take the first
        began = time.monotonic()
        try:
            result = on_demand(client, "beta").respond("Hi", timeout=limit_sec)
        except lm.TimeLimitError:
            wait_until(lambda: not fake.running(), "the load to be given up")
            continue
        break
    check_ended(result, began, limit_sec)
    # A token takes a hundredth of a second at least, and the load has taken a second of the time.
    assert 0 < (result.stats.predicted_tokens_count or 0) <= (limit_sec - 1) * 100 + 10


async def test_a_download_counts_and_is_given_up(empty_home: Home, web: Web) -> None:
    content = b"GGUF" + bytes(3_000_000)
    write_catalog(empty_home, web.add_file("me/tiny", "tiny.gguf", content), content=content)
    web.go_on.clear()
    host = Host(empty_home)
    try:
        for limit in (2, 4, 8, 16):  # a busy machine may not have begun the transfer by then
            with pytest.raises(lm.TimeLimitError):
                async with host.lease(ModelReference(), "llm", limit_sec=limit):
                    pass
            if web.transfers("/cdn/me/tiny/tiny.gguf"):
                break
        assert web.transfers("/cdn/me/tiny/tiny.gguf")
        web.go_on.set()
        await asyncio.sleep(0.3)  # enough for the rest of the file
        assert await host.library.models() == []
    finally:
        await host.stop()


def test_the_async_api(endless: lm.LLM) -> None:
    async def program() -> None:
        async with lm.AsyncClient("embedded") as client:
            llm = await client.llm.model("alpha")
            began = time.monotonic()
            check_ended(await llm.respond("Hi", timeout=LIMIT_SEC), began)
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(LIMIT_SEC):
                    await llm.respond("Hi", timeout=600)
            assert not isinstance(caught.value, lm.RequestTimeoutError)
            with pytest.raises(lm.RequestTimeoutError):
                fake.models["vectors"].embed.sec = 600
                await (await client.embedding.model("vectors")).embed("text", timeout=LIMIT_SEC)

    asyncio.run(program())
    wait_until(lambda: not any(engine.active for engine in fake.running()), "the slots to be free")


@pytest.mark.parametrize("texts", ["text", ["text"] * 100], ids=["one", "many"])
def test_embeddings(client: lm.Client, texts: Any) -> None:
    fake.models["vectors"].embed.sec = 0.05 if isinstance(texts, list) else 600
    model = client.embedding.model("vectors")
    with pytest.raises(lm.TimeLimitError):
        model.embed(texts, timeout=0.2)
    wait_until(lambda: not any(engine.active for engine in fake.running()), "the slots to be free")
    fake.models["vectors"].embed.sec = 0
    assert model.embed("text", timeout=20) == [4.0, 1.0]


def test_act_ends_with_the_round_that_generates(endless: lm.LLM) -> None:
    results: list[lm.PredictionRoundResult] = []
    began = time.monotonic()
    result = endless.act("Look.", [look], timeout=LIMIT_SEC, on_prediction_completed=results.append)
    assert result.time_limit_reached and result.rounds == 1
    check_ended(results[0], began)


def test_a_form_that_is_cut_off_says_why() -> None:
    assert cut_off("time_limit") == "The answer ended before it was complete: it reached its time limit"


def test_on_the_wire_it_is_a_stop_of_the_user_with_a_field_beside_it(endless: lm.LLM) -> None:
    async def last_message() -> PredictSuccess:
        config = encode_prediction_config(lm.PredictionConfig(timeout_sec=LIMIT_SEC))
        assert [field.key for field in config.fields] == ["llm.prediction.studiolo.timeoutSec"]
        channel = await EmbeddedTransport().open("llm", PREDICT, raw_completion("Hi", specify("alpha"), config), None)
        received: list[Any] = []
        while messages := await channel.receive(None):
            received += messages
        await channel.close()
        return received[-1]

    success = background.run(last_message())
    assert (success.stats.stop_reason, success.time_limit_reached) == ("userStopped", True)


def test_a_limit_that_ends_as_another_thread_cancels(endless: lm.LLM) -> None:
    for wait_sec in (LIMIT_SEC - 0.02, LIMIT_SEC, LIMIT_SEC + 0.02):
        stream = endless.respond_stream("Hi", timeout=LIMIT_SEC)
        stream.start()
        threading.Timer(wait_sec, stream.cancel).start()
        assert stream.wait_for_result().stats.stop_reason in ("timeLimitReached", "userStopped")
    time.sleep(0.05)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e10, "20", True, datetime.timedelta(0)])
def test_what_is_no_limit_is_refused(client: lm.Client, timeout: Any) -> None:
    llm = on_demand(client, "alpha")
    for call in (
        llm.respond,
        llm.complete,
        llm.respond_stream,
        lambda text, timeout: llm.act(text, [look], timeout=timeout),
    ):
        with pytest.raises(lm.ConfigError, match="timeout"):
            call("Hi", timeout=timeout)
    with pytest.raises(lm.ConfigError, match="timeout_sec"):
        llm.respond("Hi", config={"timeout_sec": timeout})
