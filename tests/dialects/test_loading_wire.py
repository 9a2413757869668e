"""Loading over the wire: progress, cancelling, and every load setting of the official client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lmstudio
import pytest

from tests.support.homes import DEFAULT_MODEL
from tests.support.running import Server, wait_until, workers_of
from tests.support.wire_socket import Socket

pytestmark = pytest.mark.quick_model


def load(socket: Socket, **fields: Any) -> None:
    """Ask for a load with these settings."""
    stack = {"layers": [{"layerName": "apiOverride", "config": {"fields": [*_fields(fields)]}}]}
    parameter = {"modelKey": DEFAULT_MODEL, "identifier": "wired", "loadConfigStack": stack}
    socket.send({"type": "channelCreate", "endpoint": "loadModel", "channelId": 1, "creationParameter": parameter})


def _fields(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for key, value in fields.items():
        yield {"key": f"llm.load.{key}", "value": value}


def test_progress_goes_up_to_its_end(server: Server) -> None:
    with Socket(server.address, "llm") as socket:
        load(socket, contextLength=256, numParallelSessions=1)
        messages: list[dict[str, Any]] = []
        while (frame := socket.receive())["type"] == "channelSend":
            messages.append(frame["message"])
        assert frame["type"] == "channelClose"
        assert [messages[0]["type"], messages[-1]["type"]] == ["resolved", "success"]
        progress = [message["progress"] for message in messages[1:-1]]
        assert progress == sorted(progress) and progress[-1] == 1.0
        assert socket.call("unloadModel", {"identifier": "wired"}, 2)["type"] == "rpcResult"


def stop_in_the_load(server: Server, socket: Socket) -> None:
    """Load a model, and stop its engine before it is loaded: the host kills it when the load is given up."""
    with Socket(server.address, "llm") as other:
        for number in range(10):
            load(socket, contextLength=8192)
            wait_until(lambda: workers_of(server.pid), "the engine's process")
            for worker in workers_of(server.pid):
                worker.suspend()
            if other.call("listLoaded", None, 2 * number)["result"] == []:
                return
            for worker in workers_of(server.pid):  # it was loaded by then: this test was late
                worker.resume()
            while socket.receive()["type"] != "channelClose":
                pass
            other.call("unloadModel", {"identifier": "wired"}, 2 * number + 1)
            wait_until(lambda: not workers_of(server.pid), "the engine's end")
    raise AssertionError("the model was loaded each time")


def test_a_load_is_cancelled_by_a_message(server: Server) -> None:
    with Socket(server.address, "llm") as socket:
        stop_in_the_load(server, socket)
        socket.send({"type": "channelSend", "channelId": 1, "message": {"type": "cancel"}})
        while socket.receive()["type"] == "channelSend":
            pass
        wait_until(lambda: not workers_of(server.pid), "the engine's end")
        assert socket.call("listLoaded", None, 3)["result"] == []


def test_a_load_ends_with_the_only_socket_that_waits_for_it(server: Server) -> None:
    with Socket(server.address, "llm") as socket:
        stop_in_the_load(server, socket)
        socket.socket.socket.close()
    wait_until(lambda: not workers_of(server.pid), "the engine's end")


def test_a_wrong_setting_is_an_error_with_its_name(server: Server) -> None:
    for fields, name in (
        ({"contextLength": -1}, "context_length"),
        ({"contextLength": 100000}, "context_length"),
        ({"llama.evalBatchSize": "many"}, "eval_batch_size"),
        ({"llama.argumentsOverride": "--verbose"}, "llama_cpp_arguments_override"),
        ({"numExperts": 4}, "num_experts"),
    ):
        with Socket(server.address, "llm") as socket:
            load(socket, **fields)
            while (frame := socket.receive())["type"] == "channelSend":
                pass
            assert frame["type"] == "channelError"
            assert name in str(frame["error"]), frame
    assert not workers_of(server.pid)


def test_every_load_setting_of_the_official_client_is_taken_and_returned(server: Server) -> None:
    config: dict[str, Any] = {
        "contextLength": 512,
        "evalBatchSize": 128,
        "flashAttention": True,
        "gpu": {"ratio": 0.5, "mainGpu": 0, "splitStrategy": "favorMainGpu", "disabledGpus": []},
        "gpuStrictVramCap": True,
        "keepModelInMemory": False,
        "llamaKCacheQuantizationType": "q8_0",
        "llamaVCacheQuantizationType": "q8_0",
        "numExperts": 0,
        "offloadKVCacheToGpu": False,
        "ropeFrequencyBase": 100000.0,
        "ropeFrequencyScale": 1.0,
        "seed": 7,
        "tryMmap": True,
        "useFp16ForKVCache": True,
    }
    progress: list[float] = []
    with lmstudio.Client(server.address) as client:
        llm = client.llm.load_new_instance(DEFAULT_MODEL, "official", config=config, on_load_progress=progress.append)
        assert progress == sorted(progress) and progress[-1] == 1.0
        reported = llm.get_load_config().to_dict()
        for name, value in config.items():
            if name != "gpu":
                assert reported[name] == value, name
        assert reported["gpu"]["ratio"] == 0.5 and reported["gpu"]["mainGpu"] == 0
        llm.unload()
