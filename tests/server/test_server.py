"""The server: what it listens on, how it answers, how it stops."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import studiolo as lm
from studiolo.errors import StoppingError
from studiolo.paths import Home
from studiolo.protocol.declarations import NAMESPACES
from studiolo.sdk import discovery
from tests.support.homes import ENDLESS
from tests.support.running import PATIENCE_SEC, Server, environment, free_port, has_ended, serving, wait_until
from tests.support.wire_socket import HANDSHAKE, Socket

pytestmark = [pytest.mark.server(load=True, sdk_port=True), pytest.mark.quick_model]


def fetch(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def test_health_and_greeting_answer_on_both_ports(server: Server) -> None:
    health = fetch(f"http://{server.address}/health")
    assert health["status"] == "ok"
    assert health["instances"] == [{"identifier": "smollm2-135m-instruct", "state": "idle"}]
    for address in (server.address, f"127.0.0.1:{server.sdk_port}"):
        assert fetch(f"http://{address}/lmstudio-greeting")["lmstudio"] is True
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetch(f"http://{server.address}/nonesuch")
    with caught.value as answer:
        assert answer.code == 404
        assert "error" in json.load(answer)


def test_foreign_pages_and_names_are_refused_on_both_ports(server: Server) -> None:
    for address in (server.address, f"127.0.0.1:{server.sdk_port}"):
        for header in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "rebind.example"}):
            request = urllib.request.Request(f"http://{address}/lmstudio-greeting", headers=header)
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(request, timeout=10)
            with caught.value as answer:
                assert answer.code == 403


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_every_namespace_shakes_hands_and_names_what_it_does_not_know(server: Server, namespace: str) -> None:
    with Socket(server.address, namespace) as socket:
        answer = socket.call("nonesuch", number=7)
        assert (answer["type"], answer["callId"]) == ("rpcError", 7)
        assert "nonesuch" in answer["error"]["title"] and namespace in answer["error"]["title"]
        socket.send({"type": "channelCreate", "endpoint": "nonesuch", "channelId": 3, "creationParameter": {}})
        answer = socket.receive()
        assert (answer["type"], answer["channelId"]) == ("channelError", 3)
        socket.send({"type": "signalSubscribe", "endpoint": "nonesuch", "subscribeId": 4, "creationParameter": None})
        assert (answer := socket.receive())["type"] == "signalError" and answer["subscribeId"] == 4
        socket.send({"type": "keepAlive"})
        assert socket.receive() == {"type": "keepAliveAck"}


@pytest.mark.parametrize(
    "handshake", ["not json", "[]", {"authVersion": 1}, {**HANDSHAKE, "authVersion": 2}, b"\xff\xfe", "[" * 10000]
)
def test_a_wrong_handshake_is_refused_with_the_reason(server: Server, handshake: Any) -> None:
    socket = Socket(server.address, "llm", handshake)
    answer = socket.receive()
    assert answer["success"] is False and answer["error"]
    with pytest.raises(Exception, match=r"1000|close"):
        socket.receive()
    socket.opened.close()


@pytest.mark.parametrize(
    "frame",
    [
        *("not json", "null", "[]", "{}", b"\xff\xfe", "[" * 100000, '{"type":"rpcCall"}', '{"type":"nonesuch"}'),
        '{"type":"rpcCall","endpoint":"listLoaded","callId":1e400}',
        '{"type":"rpcCall","endpoint":"listLoaded","callId":true}',
        f'{{"type":"rpcCall","endpoint":"listLoaded","callId":{2**70},"parameter":NaN}}',
        {"type": "rpcCall", "endpoint": "listLoaded", "callId": "one"},
        {"type": "channelSend", "channelId": 1.5},
    ],
)
def test_a_malformed_frame_gets_a_warning_and_the_socket_lives_on(server: Server, frame: Any) -> None:
    with Socket(server.address, "llm") as socket:
        socket.send(frame)
        assert socket.receive()["type"] == "communicationWarning"
        assert socket.call("listLoaded")["result"][0]["identifier"] == "smollm2-135m-instruct"


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": 1},
        {"endpoint": "listLoaded", "studioloTimeLimitSec": []},
        {"endpoint": "x", "parameter": float("nan")},
    ],
)
def test_a_malformed_call_that_can_be_identified_gets_an_error(server: Server, wrong: dict[str, Any]) -> None:
    """The client would wait for ever."""
    with Socket(server.address, "llm") as socket:
        socket.send({"type": "rpcCall", "callId": 5, **wrong})
        answer = socket.receive()
        assert (answer["type"], answer["callId"]) == ("rpcError", 5)
        creation = {"endpoint": "predict", "creationParameter": {}, **wrong}
        socket.send({"type": "channelCreate", "channelId": 6, **creation})
        answer = socket.receive()
        assert (answer["type"], answer["channelId"]) == ("channelError", 6)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
RPCS = [
    *(("llm", name) for name in ("unloadModel", "getModelInfo", "getLoadConfig", "tokenize", "countTokens")),
    ("embedding", "getModelInfo"),
]
CHANNELS = [
    *(("llm", name) for name in ("loadModel", "getOrLoad", "predict", "completeRawText")),
    ("repository", "downloadModel"),
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(RPCS), json_values)
def test_any_parameter_of_a_call_gets_an_answer(server: Server, where: tuple[str, str], parameter: Any) -> None:
    with Socket(server.address, where[0]) as socket:
        assert socket.call(where[1], parameter)["type"] in ("rpcError", "rpcResult")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(CHANNELS), json_values)
def test_any_parameter_of_a_channel_gets_an_end(server: Server, where: tuple[str, str], parameter: Any) -> None:
    with Socket(server.address, where[0]) as socket:
        socket.send({"type": "channelCreate", "endpoint": where[1], "channelId": 1, "creationParameter": parameter})
        while (frame := socket.receive())["type"] == "channelSend":
            pass
        assert frame["type"] in ("channelError", "channelClose")


ENDLESS_FIELDS = {"temperature": 0, "repeatPenalty": {"checked": False}, "contextOverflowPolicy": "rollingWindow"}


def predict(prompt: str, **fields: Any) -> dict[str, Any]:
    settings = [{"key": f"llm.prediction.{key}", "value": value} for key, value in fields.items()]
    return {
        "modelSpecifier": {"type": "query", "query": {"identifier": "smollm2-135m-instruct"}},
        "rawPrompt": prompt,
        "predictionConfigStack": {"layers": [{"layerName": "apiOverride", "config": {"fields": settings}}]},
    }


def test_a_raw_completion_streams_is_cancelled_and_acknowledged(server: Server) -> None:
    with Socket(server.address, "llm") as socket:
        request = predict("1 2 3 4 5 6 7", **ENDLESS_FIELDS)
        socket.send(
            {"type": "channelCreate", "endpoint": "completeRawText", "channelId": 9, "creationParameter": request}
        )
        while (frame := socket.receive())["message"]["type"] != "fragment":
            assert frame["channelId"] == 9
        assert set(frame["message"]["fragment"]) == {
            *("content", "tokensCount", "containsDrafted", "reasoningType", "isStructural")
        }
        socket.send({"type": "channelCreate", "endpoint": "predict", "channelId": 9, "creationParameter": {}})
        socket.send({"type": "channelSend", "channelId": 9, "message": {"type": "sing"}, "ackId": 5})
        socket.send({"type": "channelSend", "channelId": 9, "message": {"type": "cancel"}, "ackId": 6})
        frames = [socket.receive()]
        while frames[-1]["type"] != "channelClose":
            frames.append(socket.receive())
    kinds = [frame["type"] for frame in frames]
    assert [frame["ackId"] for frame in frames if frame["type"] == "channelAck"] == [5, 6]
    assert kinds.count("communicationWarning") == 2  # the number in use, and the message it does not take
    success = frames[-2]["message"]
    assert success["type"] == "success" and success["stats"]["stopReason"] == "userStopped"
    assert {field["key"] for field in success["predictionConfig"]["fields"]} >= {"llm.prediction.temperature"}
    assert {field["key"] for field in success["loadModelConfig"]["fields"]} >= {"llm.load.contextLength"}


def test_what_the_engine_cannot_do_is_refused_as_a_feature(server: Server) -> None:
    with Socket(server.address, "llm") as socket:
        request = predict("hi", **{"llama.cpuThreads": 2})
        socket.send(
            {"type": "channelCreate", "endpoint": "completeRawText", "channelId": 1, "creationParameter": request}
        )
        error = socket.receive()["error"]
        assert error["displayData"]["code"] == "generic.engineDoesNotSupportFeature"


def test_a_socket_that_vanishes_frees_its_slot(server: Server) -> None:
    for _ in range(6):  # more than there are slots
        with Socket(server.address, "llm") as socket:
            request = predict("1 2 3 4 5 6 7", **ENDLESS_FIELDS)
            socket.send(
                {"type": "channelCreate", "endpoint": "completeRawText", "channelId": 1, "creationParameter": request}
            )
            while socket.receive()["message"]["type"] != "fragment":
                pass
            socket.socket.socket.close()
    wait_until(lambda: fetch(f"http://{server.address}/health")["instances"][0]["state"] == "idle", "idleness")


def serve_again(home: Home, port: int, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "studiolo", "serve", "--port", str(port), *options]
    return subprocess.run(command, env=environment(home), capture_output=True, text=True, timeout=60)


def test_a_second_server_on_the_port_is_refused_and_a_strangers_port_too(server: Server, home: Home) -> None:
    second = serve_again(home, int(server.address.rpartition(":")[2]))
    assert second.returncode == 1
    assert "already runs" in second.stderr and "--port" in second.stderr
    assert "Traceback" not in second.stderr
    import socket

    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        taken = serve_again(home, stranger.getsockname()[1])
    assert taken.returncode == 1
    assert "taken by another program" in taken.stderr and "Traceback" not in taken.stderr


def test_an_address_that_is_not_ours_is_refused(home: Home) -> None:
    done = serve_again(home, free_port(), "--host", "203.0.113.1")
    assert done.returncode == 1 and "203.0.113.1" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 0)])
def test_a_signal_stops_the_server_and_its_engines(
    number: signal.Signals, status: int, home: Home, tmp_path: Path
) -> None:
    with serving(home, tmp_path) as server:
        wait_until(lambda: "is loaded" in server.said(), "the first model")
        (worker,) = server.workers()
        with lm.Client(server.address) as client:
            stream = iter(client.llm.model().complete_stream("1 2 3 4 5 6 7", config=ENDLESS))
            next(stream)
            server.process.send_signal(number)
            wait_until(lambda: "up to 30 s for the requests under way (1)" in server.said(), "the server to drain")
            with pytest.raises(lm.StudioloError, match=r"stopping|is not reachable"):
                client.llm.model().complete("Too late")
            server.process.send_signal(number)  # passed on twice, by a process group and its shell: it counts once
            assert next(stream).content
            other = signal.SIGINT if number == signal.SIGTERM else signal.SIGTERM
            assert server.stop(other) == status
            with pytest.raises(lm.ConnectionFailedError, match="lost"):
                list(stream)
        assert has_ended(worker)
        assert "Traceback" not in server.said()


@pytest.mark.parametrize(
    ("drain_limit_sec", "context_length", "reason"),
    [(30.0, 256, "contextLengthReached"), (0.5, 8192, "modelUnloaded")],
    ids=["to its end", "no longer than the limit"],
)
def test_what_runs_when_the_server_stops_is_finished(
    drain_limit_sec: float, context_length: int, reason: str, home: Home, tmp_path: Path
) -> None:
    home.settings.write_text(f"[server]\ndrain_limit_sec = {drain_limit_sec}\n")
    with serving(home, tmp_path, "--no-load") as server, lm.Client(server.address) as client:
        llm = client.llm.load_new_instance("smollm2-135m-instruct", config={"context_length": context_length})
        config = ENDLESS if reason == "modelUnloaded" else {"temperature": 0, "repeat_penalty": False}
        stream = llm.complete_stream("1 2 3 4 5 6 7", config=config)
        for count, _ in enumerate(stream):
            if count == 0:
                server.process.send_signal(signal.SIGTERM)
        assert stream.result().stats.stop_reason == reason
        assert server.process.wait(30) == 0


def test_a_server_that_stops_refuses_new_work_on_open_sockets(home: Home, tmp_path: Path) -> None:
    with (
        serving(home, tmp_path, "--no-load") as server,
        lm.Client(server.address) as client,
        Socket(server.address, "embedding") as embedding,
    ):
        llm = client.llm.load_new_instance("smollm2-135m-instruct", config={"context_length": 8192})
        stream = iter(llm.complete_stream("1 2 3 4 5 6 7", config=ENDLESS))
        next(stream)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "up to 30 s for the requests under way (1)" in server.said(), "the server to drain")
        refused: list[Callable[[], object]] = [
            lambda: llm.complete("Too late"),
            lambda: llm.respond("Too late"),
            lambda: client.llm.load_new_instance("smollm2-135m-instruct", "another"),
            lambda: client.llm.model("another"),
        ]
        for call in refused:
            with pytest.raises(StoppingError, match="shutting down"):
                call()
        specifier = {"type": "query", "query": {}}
        answer = embedding.call("embedString", {"modelSpecifier": specifier, "inputString": "Too late"})
        assert answer["type"] == "rpcError" and "shutting down" in answer["error"]["title"]
        assert [each.identifier for each in client.llm.list_loaded()] == ["smollm2-135m-instruct"]
        assert next(stream).content  # what runs continues
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0


def test_no_engine_outlives_a_killed_server(home: Home, tmp_path: Path) -> None:
    with serving(home, tmp_path) as server:
        wait_until(lambda: "is loaded" in server.said(), "the first model")
        workers = server.workers()
        server.stop(signal.SIGKILL)
        wait_until(lambda: all(has_ended(worker) for worker in workers), "the engine to end")


def test_an_old_handle_works_again_after_the_server_was_restarted(home: Home, tmp_path: Path) -> None:
    with serving(home, tmp_path, "--no-load") as server:
        address = server.address
        client = lm.Client(address)
        llm = client.llm.model()
        assert llm.complete("My name is", config={"max_tokens": 1, "temperature": 0}).content
    with pytest.raises(lm.ConnectionFailedError, match=address):
        llm.complete("x")
    # It must come back on the same port, and serving() takes a free one.
    command = [sys.executable, "-m", "studiolo", "serve", "--port", address.rpartition(":")[2], "--no-load"]
    again = subprocess.Popen(command, env=environment(home), stderr=subprocess.PIPE, text=True)
    try:
        assert again.stderr is not None and "serves at" in again.stderr.readline()
        assert llm.complete("My name is", config={"max_tokens": 1, "temperature": 0}).content
        client.close()
    finally:
        again.terminate()
        again.communicate(timeout=30)


def test_a_client_that_insists_on_a_host_gets_it_or_an_error(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    with pytest.raises(lm.ConnectionFailedError, match=nowhere):
        lm.Client(nowhere).connect()
    monkeypatch.setenv("STUDIOLO_HOST", nowhere)
    with pytest.raises(lm.ConnectionFailedError, match=nowhere):
        lm.Client().connect()
    with pytest.raises(lm.ConfigError, match="host:port"):
        lm.Client("nonsense").connect()


def test_the_environment_names_the_host(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIOLO_HOST", f"http://{server.address}/")
    with lm.Client() as client:
        assert client.api_host == server.address
        assert client.system.info().pid == server.pid


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server is waited for, however busy the machine is, until it has answered whether it is one."""
    monkeypatch.setattr(discovery.is_server, "__defaults__", (PATIENCE_SEC,))


@pytest.mark.usefixtures("patient")
async def test_a_server_is_asked_whether_it_is_one(server: Server) -> None:
    assert lm.Client.is_valid_api_host(server.address)
    assert not lm.Client.is_valid_api_host(f"127.0.0.1:{free_port()}")
    found = lm.Client.find_default_local_api_host()
    assert found is not None and lm.Client.is_valid_api_host(found)
    assert await lm.AsyncClient.find_default_local_api_host() == found


@pytest.mark.usefixtures("patient")
def test_a_server_on_this_machine_is_found(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STUDIOLO_HOST", raising=False)
    with lm.Client() as client:
        assert client.api_host.startswith("127.0.0.1:")
        assert client.system.info().version == lm.__version__
