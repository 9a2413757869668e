"""Frames of every shape: each is answered or warned of, no other socket notices, and nothing piles up."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect

from studiolo.dialects.lmstudio.connection import MAX_OPEN_CALLS
from studiolo.protocol.declarations import NAMESPACES
from tests.support.faults import footprint
from tests.support.running import Server, wait_until

pytestmark = [
    pytest.mark.quick_model,
    pytest.mark.server(settings="[loading]\njit = false\n"),
]  # no frame shall start an engine

EXAMPLES = settings.default.max_examples if settings.default else 0

HANDSHAKE = {"authVersion": 1, "clientIdentifier": "wire", "clientPasskey": "wire"}

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["type", "query", "text", "user", "cancel", "llm.prediction.temperature", "jinja", "json", "success"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=10,
)

FRAMES: list[dict[str, Any]] = [
    {"type": "rpcCall", "endpoint": "listLoaded", "callId": 1},
    {"type": "rpcCall", "endpoint": "getModelInfo", "callId": 2, "parameter": {"specifier": {"type": "query"}}},
    {"type": "rpcCall", "endpoint": "version", "callId": 3, "parameter": None},
    {"type": "rpcCall", "endpoint": "applyPromptTemplate", "callId": 4, "parameter": {"history": {"messages": []}}},
    {
        "type": "channelCreate",
        "endpoint": "predict",
        "channelId": 1,
        "creationParameter": {"history": {"messages": []}},
    },
    {"type": "channelCreate", "endpoint": "getOrLoad", "channelId": 2, "creationParameter": {"identifier": "none"}},
    {
        "type": "channelCreate",
        "endpoint": "retrieve",
        "channelId": 3,
        "creationParameter": {
            "query": "x",
            "fileIdentifiers": ["0"],
            "config": {"fields": [{"key": "retrieval.limit", "value": 1}]},
        },
    },
    {
        "type": "channelCreate",
        "endpoint": "parseDocument",
        "channelId": 4,
        "creationParameter": {"fileIdentifier": "0", "parseOpts": {"parserId": {"library": "x", "version": "1"}}},
    },
    {"type": "channelCreate", "endpoint": "streamLogs", "channelId": 5},
    {"type": "rpcCall", "endpoint": "notify", "callId": 5, "parameter": {"title": "x", "description": "y"}},
    {"type": "rpcCall", "endpoint": "surveyHardware", "callId": 6, "parameter": {"type": "custom", "engines": []}},
    {"type": "channelSend", "channelId": 1, "message": {"type": "cancel"}, "ackId": 3},
    {"type": "channelAck", "channelId": 1, "ackId": 3},
    {"type": "signalSubscribe", "endpoint": "none", "subscribeId": 1, "creationParameter": None},
    {"type": "signalUnsubscribe", "subscribeId": 1},
    {"type": "writableSignalSubscribe", "endpoint": "none", "subscribeId": 1, "creationParameter": None},
    {"type": "writableSignalUnsubscribe", "subscribeId": 1},
    {"type": "writableSignalUpdate", "subscribeId": 1, "patches": [], "tags": []},
    {"type": "communicationWarning", "warning": "take care"},
    {"type": "keepAlive"},
    {"type": "keepAliveAck"},
]


@st.composite
def odd_frames(draw: st.DrawFn) -> dict[str, Any]:
    """A known frame with fields taken away, replaced and added, deep inside too."""
    frame = json.loads(json.dumps(draw(st.sampled_from(FRAMES))))
    for _ in range(draw(st.integers(1, 3))):
        place: dict[str, Any] = frame
        while (inner := [key for key, value in place.items() if isinstance(value, dict)]) and draw(st.booleans()):
            place = place[draw(st.sampled_from(inner))]
        match draw(st.integers(0, 2)):
            case 0 if place:
                del place[draw(st.sampled_from(sorted(place)))]
            case 1 if place:
                place[draw(st.sampled_from(sorted(place)))] = draw(values)
            case _:
                place[draw(st.text(max_size=8))] = draw(values)
    return frame


@contextlib.contextmanager
def opened(server: Server, namespace: str = "llm") -> Iterator[ClientConnection]:
    with connect(f"ws://{server.address}/{namespace}", proxy=None, max_size=None) as socket:
        socket.send(json.dumps(HANDSHAKE))
        assert json.loads(socket.recv(timeout=20)) == {"success": True}
        yield socket


def read_until_alive(socket: ClientConnection) -> list[dict[str, Any]]:
    """Everything up to the answer to a last question."""
    socket.send(json.dumps({"type": "rpcCall", "endpoint": "the-last", "callId": 987654}))
    frames: list[dict[str, Any]] = []
    while True:
        frame = json.loads(socket.recv(timeout=30))
        if frame.get("callId") == 987654:
            return frames
        frames.append(frame)


@pytest.mark.fuzz
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(NAMESPACES), st.lists(odd_frames(), min_size=1, max_size=6))
def test_odd_frames_are_answered_and_the_socket_lives_on(
    server: Server, namespace: str, frames: list[dict[str, Any]]
) -> None:
    with opened(server, namespace) as socket:
        for frame in frames:
            socket.send(json.dumps(frame))
        for answer in read_until_alive(socket):
            assert answer["type"] in {
                *("rpcResult", "rpcError", "channelSend", "channelAck", "channelClose", "channelError"),
                *("signalError", "writableSignalError", "communicationWarning", "keepAliveAck"),
                *("signalUpdate", "writableSignalUpdate"),
            }
            if answer["type"] in ("rpcError", "channelError"):
                assert answer["error"]["title"]


@pytest.mark.fuzz
@settings(max_examples=EXAMPLES // 4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_get_a_warning(server: Server, content: bytes) -> None:
    with opened(server) as socket:
        socket.send(content)
        with contextlib.suppress(ValueError):
            if isinstance(json.loads(content), dict):
                return
        assert [frame["type"] for frame in read_until_alive(socket)] == ["communicationWarning"]


def test_ids_that_are_used_again(server: Server) -> None:
    with opened(server) as socket:
        for _ in range(3):
            socket.send(json.dumps({"type": "rpcCall", "endpoint": "listLoaded", "callId": 5}))
        answers = read_until_alive(socket)
        while len(answers) < 3:
            answers.append(json.loads(socket.recv(timeout=10)))
        assert [(answer["type"], answer["callId"]) for answer in answers] == [("rpcResult", 5)] * 3


def test_what_comes_after_the_end_of_a_channel_is_passed_over(server: Server) -> None:
    with opened(server) as socket:
        create = {"type": "channelCreate", "endpoint": "predict", "channelId": 4, "creationParameter": {}}
        socket.send(json.dumps(create))
        assert json.loads(socket.recv(timeout=10))["type"] == "channelError"
        socket.send(json.dumps({"type": "channelSend", "channelId": 4, "message": {"type": "cancel"}, "ackId": 8}))
        assert read_until_alive(socket) == [{"type": "channelAck", "channelId": 4, "ackId": 8}]
        socket.send(json.dumps(create))  # the number is free again
        assert json.loads(socket.recv(timeout=10))["type"] == "channelError"


def test_more_calls_than_one_socket_may_have(server: Server) -> None:
    with opened(server, "system") as socket:
        for number in range(MAX_OPEN_CALLS + 5):
            create = {"type": "channelCreate", "endpoint": "alive", "channelId": number, "creationParameter": None}
            socket.send(json.dumps(create))
        refused = [json.loads(socket.recv(timeout=20)) for _ in range(5)]  # those that are open say nothing
        assert [frame["type"] for frame in refused] == ["channelError"] * 5
        assert [frame["channelId"] for frame in refused] == [*range(MAX_OPEN_CALLS, MAX_OPEN_CALLS + 5)]
    with opened(server, "system") as socket:
        assert read_until_alive(socket) == []


def test_a_frame_of_a_hundred_megabytes_ends_its_own_socket_alone(server: Server) -> None:
    before = footprint(server.pid)
    with opened(server) as other:
        # Where the client is still sending, the system drops the frame that says why.
        with opened(server) as socket, pytest.raises(ConnectionClosedError, match=r"1009|no close frame"):
            with contextlib.suppress(ConnectionError, ConnectionClosedError):
                socket.send('{"type":"keepAlive","padding":"' + "x" * 100_000_000 + '"}')
            while True:
                socket.recv(timeout=20)
        assert read_until_alive(other) == []
    wait_until(lambda: footprint(server.pid).files <= before.files, "the socket to close")
    assert footprint(server.pid).memory - before.memory < 150 << 20


def test_text_that_is_not_utf_8_ends_its_own_socket_alone(server: Server) -> None:
    with opened(server) as other:
        with opened(server) as socket, pytest.raises(ConnectionClosedError, match="1007"):
            socket.socket.sendall(Frame(Opcode.TEXT, b"\xff\xfe\xfd").serialize(mask=True))
            socket.recv(timeout=20)
        assert read_until_alive(other) == []


def test_a_flood_of_nonsense_leaves_nothing(server: Server) -> None:
    before = footprint(server.pid)
    with opened(server) as socket:
        for _ in range(20):
            for _ in range(500):
                socket.send('{"type":"channelSend","channelId":77,"message":' + "[" * 50 + "]" * 50 + "}")
                socket.send("nonsense")
            assert len(read_until_alive(socket)) == 500
    wait_until(lambda: footprint(server.pid).files <= before.files, "the socket to close")
    assert footprint(server.pid).memory - before.memory < 32 << 20
