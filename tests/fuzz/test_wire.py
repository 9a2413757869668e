"""Random frames for every endpoint, to the dialect over a host on the fake engine: each call gets its answer."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import studiolo_fake_engine as fake
from hypothesis import given
from hypothesis import strategies as st

from studiolo.dialects.lmstudio import dispatch  # noqa: F401  registers the endpoints
from studiolo.dialects.lmstudio.connection import Connection
from studiolo.dialects.lmstudio.context import Context
from studiolo.dialects.lmstudio.registry import CHANNELS, RPCS
from studiolo.host.host import Host
from studiolo.paths import Home
from studiolo.protocol import frames
from studiolo.protocol.declarations import NAMESPACES
from studiolo.protocol.settings_keys import LOAD_KEYS, PREDICTION_KEYS
from tests.support.fake_host import SETTINGS
from tests.support.fake_models import add_model
from tests.support.logged_errors import LoggedErrors, logged_errors
from tests.support.recording import wire_recorder
from tests.support.typed_values import almost, values_of

pytestmark = pytest.mark.fuzz

LIMIT_SEC = 30.0
"""An answer that takes longer is a fault. The fake engine answers at once."""

WORDS = ("alpha", "beta", "vectors", "text", "user", "assistant", "system", "tool", "jinja", "json", "none", "cancel")
KEYS = (
    *(f"llm.prediction.{each.key}" for each in PREDICTION_KEYS),
    *(f"llm.load.{each.key}" for each in LOAD_KEYS),
)
HANDSHAKE = {"authVersion": 1, "clientIdentifier": "fuzz", "clientPasskey": "fuzz"}
ANSWERS = {
    *("rpcResult", "rpcError", "channelSend", "channelAck", "channelClose", "channelError", "keepAliveAck"),
    *("signalError", "writableSignalError", "communicationWarning"),
}
LAST: dict[str, Any] = {"type": "rpcCall", "endpoint": "the-last", "callId": 987654}


def call_of(kind: str, number: str, endpoint: str, field: str, parameter: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for frames that call an endpoint, with a parameter that is almost of its type."""
    return st.fixed_dictionaries(
        {
            "type": st.just(kind),
            "endpoint": st.just(endpoint),
            number: st.integers(0, 5),
            field: almost(values_of(parameter, WORDS + KEYS)),
        }
    )


def calls_of(namespace: str) -> st.SearchStrategy[Any]:
    """Return a strategy for frames that are calls of the namespace's endpoints, or almost."""
    rpcs = [
        call_of("rpcCall", "callId", name, "parameter", declared.parameter)
        for (owner, name), (declared, _) in RPCS.items()
        if owner == namespace
    ]
    channels = [
        call_of("channelCreate", "channelId", name, "creationParameter", declared.parameter)
        for (owner, name), (declared, _) in CHANNELS.items()
        if owner == namespace
    ]
    return st.one_of([*rpcs, *channels, almost(values_of(frames.ClientFrame, WORDS))])


cases = st.one_of([st.tuples(st.just(name), st.lists(calls_of(name), min_size=1, max_size=4)) for name in NAMESPACES])


class Fuzzed:
    """A host on the fake engine, and the event loop it runs on."""

    def __init__(self, home: Home, errors: LoggedErrors) -> None:
        self.runner = asyncio.Runner()
        self.errors = errors
        self.host = self.runner.run(self._host(home))

    @staticmethod
    async def _host(home: Home) -> Host:
        return Host(home)

    def close(self) -> None:
        self.runner.run(self.host.stop())
        self.runner.close()

    def answers(self, namespace: str, sent: list[Any]) -> list[dict[str, Any]]:
        """Send frames on a socket of their own; return what is answered before the socket is closed."""
        return self.runner.run(self._answers(namespace, sent))

    async def _answers(self, namespace: str, sent: list[Any]) -> list[dict[str, Any]]:
        to_host: asyncio.Queue[str | None] = asyncio.Queue()
        received: list[dict[str, Any]] = []
        news = asyncio.Event()

        async def send(text: str) -> None:
            received.append(json.loads(text))
            news.set()

        connection = asyncio.create_task(Connection(Context(self.host, namespace), to_host.get, send).run())
        for frame in (HANDSHAKE, *sent):
            to_host.put_nowait(json.dumps(frame))
        cancels = [{"type": "channelSend", "channelId": number, "message": {"type": "cancel"}} for number in range(6)]
        for frame in (*cancels, LAST):
            to_host.put_nowait(json.dumps(frame))
        expected = calls_in(sent)
        async with asyncio.timeout(LIMIT_SEC):
            while expected - ends_in(received):
                news.clear()
                await news.wait()
            to_host.put_nowait(None)
            await connection
        return received


def calls_in(sent: list[Any]) -> Counter[tuple[str, int]]:
    """Return the calls and channels that must be answered, by kind and number."""
    expected = Counter([("rpc", LAST["callId"])])
    for frame in sent:
        match frame:
            case {"type": "rpcCall", "callId": int(number), "endpoint": str()} if not isinstance(number, bool):
                expected["rpc", number] += 1
            case _:
                pass
    return expected


def ends_in(received: list[dict[str, Any]]) -> Counter[tuple[str, int]]:
    """Return the calls that have been answered."""
    return Counter(("rpc", frame["callId"]) for frame in received if frame.get("type") in ("rpcResult", "rpcError"))


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    home = Home(tmp_path_factory.mktemp("fuzz"))
    for name in ("alpha", "beta"):
        add_model(home, name)
    add_model(home, "vectors", architecture="bert")
    home.settings.write_text(SETTINGS)
    with pytest.MonkeyPatch.context() as patch, logged_errors() as errors:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.delenv(wire_recorder.VARIABLE, raising=False)  # what answers frames of wrong types fits no schema
        fake.reset()
        fuzzed = Fuzzed(home, errors)
        yield fuzzed
        fuzzed.close()
        assert fake.running() == []
        fake.reset()


@given(cases)
def test_every_call_is_answered_on_the_fake_engine(fuzzed: Fuzzed, case: tuple[str, list[Any]]) -> None:
    fuzzed.errors.records.clear()
    received = fuzzed.answers(*case)
    assert fuzzed.errors.records == []
    for frame in received[1:]:
        assert frame["type"] in ANSWERS
        if frame["type"] in ("rpcError", "channelError"):
            assert frame["error"]["title"]
