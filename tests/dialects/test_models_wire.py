"""Models on the bare wire: what is sent of them, how queries find them, what loading on demand does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studiolo.config import PredictionConfig
from studiolo.dialects.lmstudio.encoding import model_info
from studiolo.host.machine import device_name
from studiolo.library.model import Model
from studiolo.protocol.frames import encode
from studiolo.protocol.kv import encode_prediction_config, stack_of
from tests.support.homes import DEFAULT_MODEL, ENDLESS
from tests.support.running import Server
from tests.support.wire_socket import Socket, messages, query

pytestmark = [
    pytest.mark.quick_model,
    pytest.mark.server(models=["embedding_model"], settings="[loading]\nguardrail = 1_000_000_000\n"),
]

EMBEDDER = "tests/all-MiniLM-L6-v2.F16-GGUF"
"""The embedding model, as ``publisher/repo``."""

NO_SETTINGS: dict[str, Any] = {"layers": []}
ENDLESS_STACK = json.loads(encode(stack_of(encode_prediction_config(PredictionConfig(**ENDLESS)))))
SMALL = {
    "layers": [
        {"layerName": "apiOverride", "config": {"fields": [{"key": "llm.load.contextLength", "value": 256}]}},
    ]
}


@pytest.fixture(autouse=True)
def _nothing_stays_loaded(server: Server) -> Iterator[None]:
    yield
    for namespace in ("llm", "embedding"):
        with Socket(server.address, namespace) as socket:
            for info in socket.call("listLoaded")["result"]:
                assert "error" not in socket.call("unloadModel", {"identifier": info["identifier"]})


def get_or_load(socket: Socket, name: str, **more: Any) -> list[dict[str, Any]]:
    stack = NO_SETTINGS if name == EMBEDDER else SMALL
    return messages(socket, "getOrLoad", {"identifier": name, "loadConfigStack": stack, **more})


def test_the_info_of_models_on_disk_and_loaded(server: Server) -> None:
    with Socket(server.address, "system") as socket:
        infos = {info["type"]: info for info in socket.call("listDownloadedModels")["result"]}
    assert set(infos) == {"llm", "embedding"}
    for info in infos.values():
        assert info["deviceIdentifier"] is None
        assert info["indexedModelIdentifier"] == info["path"]
        assert isinstance(info["publisher"], str) and "ttlMs" not in info and "lastUsedTime" not in info
    with Socket(server.address, "llm") as socket:
        parameter = {"modelKey": DEFAULT_MODEL, "identifier": "mine", "loadConfigStack": SMALL}
        received = messages(socket, "loadModel", {**parameter, "deviceIdentifier": None})
        assert received[0]["info"] == infos["llm"]
        loaded = received[-1]["info"]
        assert infos["llm"].items() <= loaded.items()
        assert (loaded["ttlMs"], loaded["lastUsedTime"]) == (None, None)
        assert "ttlMs" in loaded and "lastUsedTime" in loaded
        assert socket.call("listLoaded")["result"] == [loaded]
        assert socket.call("getModelInfo", {"specifier": query(), "throwIfNotFound": True})["result"] == loaded


def test_a_model_in_no_publishers_folder_has_an_empty_publisher() -> None:
    model = Model(key="x", path=Path("/x.gguf"), relative_path="/x.gguf", display_name="X", publisher="", size_bytes=1)
    assert json.loads(encode(model_info(model)))["publisher"] == ""


def test_a_model_loaded_on_demand_is_called_as_asked_and_makes_way(server: Server) -> None:
    with Socket(server.address, "llm") as socket:
        path = socket.call("listLoaded")["result"]
        assert path == []
    with Socket(server.address, "system") as socket:
        (path,) = [info["path"] for info in socket.call("listDownloadedModels")["result"] if info["type"] == "llm"]
    with Socket(server.address, "llm") as llm, Socket(server.address, "embedding") as embedding:
        received = get_or_load(llm, path)
        assert [received[0]["type"], received[-1]["type"]] == ["startLoading", "loadSuccess"]
        first = received[-1]["info"]
        assert received[0]["identifier"] == first["identifier"] == path
        assert (first["ttlMs"], first["lastUsedTime"]) == (3_600_000, None)
        for name in (path, DEFAULT_MODEL, path.rpartition("/")[0]):
            (again,) = get_or_load(llm, name)
            assert (again["type"], again["info"]["instanceReference"]) == ("alreadyLoaded", first["instanceReference"])
        received = get_or_load(embedding, EMBEDDER, loadTtlMs=90_000)
        assert [message["type"] for message in received[:2]] == ["unloadingOtherJITModel", "startLoading"]
        assert received[0]["info"]["identifier"] == path and received[0]["info"]["type"] == "llm"
        assert (received[-1]["info"]["identifier"], received[-1]["info"]["ttlMs"]) == (EMBEDDER, 90_000)
        assert llm.call("listLoaded")["result"] == []
        received = get_or_load(llm, DEFAULT_MODEL)
        assert (received[0]["type"], received[0]["info"]["type"]) == ("unloadingOtherJITModel", "embedding")


def test_what_was_loaded_as_such_stays(server: Server) -> None:
    with Socket(server.address, "llm") as llm, Socket(server.address, "embedding") as embedding:
        messages(llm, "loadModel", {"modelKey": DEFAULT_MODEL, "identifier": "mine", "loadConfigStack": SMALL})
        assert get_or_load(embedding, EMBEDDER)[0]["type"] == "startLoading"
        assert [info["identifier"] for info in llm.call("listLoaded")["result"]] == ["mine"]


def test_queries_find_a_loaded_instance_by_any_name_of_its_model(server: Server) -> None:
    with Socket(server.address, "llm") as socket:
        messages(socket, "loadModel", {"modelKey": DEFAULT_MODEL, "identifier": "mine", "loadConfigStack": SMALL})

        def found(**fields: Any) -> bool:
            answer = socket.call("getModelInfo", {"specifier": query(**fields), "throwIfNotFound": False})
            assert answer["type"] == "rpcResult"
            return "result" in answer and answer["result"]["identifier"] == "mine"

        info = socket.call("listLoaded")["result"][0]
        for name in ("mine", DEFAULT_MODEL, info["path"], info["path"].rpartition("/")[0]):
            assert found(identifier=name), name
        assert found(path=info["path"].rpartition("/")[0]) and found(vision=False, domain="llm")
        assert found(deviceIdentifier=None) and found(deviceIdentifier=device_name())
        assert not found(vision=True) and not found(domain="embedding") and not found(identifier="mine", vision=True)
        assert not found(path="mine")


def test_another_device_is_refused_by_name(server: Server) -> None:
    elsewhere = {"deviceIdentifier": "elsewhere"}
    with Socket(server.address, "llm") as socket:
        load = {"modelKey": DEFAULT_MODEL, "loadConfigStack": SMALL, **elsewhere}
        for error in (
            messages(socket, "loadModel", load)[-1],
            get_or_load(socket, DEFAULT_MODEL, **elsewhere)[-1],
            socket.call("unloadModel", {"identifier": "x", **elsewhere})["error"],
            socket.call("estimateModelUsage", load)["error"],
            socket.call("tokenize", {"specifier": query(**elsewhere), "inputString": "x"})["error"],
            socket.call("getModelInfo", {"specifier": query(**elsewhere), "throwIfNotFound": False})["error"],
        ):
            assert "'elsewhere'" in error["title"]
            data = error["displayData"]
            assert data["code"] == "generic.engineDoesNotSupportFeature" and data["feature"] == "deviceIdentifier"
            assert data.keys() >= {"engineName", "engineType", "installedVersion", "supportedVersion"}


def test_processing_state(server: Server) -> None:
    idle = {"status": "idle", "queued": 0}
    with Socket(server.address, "llm") as socket, Socket(server.address, "llm") as other:
        nowhere = {"specifier": query(identifier="nowhere")}
        assert socket.call("getInstanceProcessingState", {**nowhere, "throwIfNotFound": False})["result"] == idle
        error = socket.call("getInstanceProcessingState", {**nowhere, "throwIfNotFound": True})["error"]
        assert error["displayData"]["code"] == "generic.noModelMatchingQuery"
        messages(socket, "loadModel", {"modelKey": DEFAULT_MODEL, "identifier": "mine", "loadConfigStack": SMALL})
        state = {"specifier": query(identifier="mine"), "throwIfNotFound": True}
        assert socket.call("getInstanceProcessingState", state)["result"] == idle
        prompt = {"modelSpecifier": query(), "rawPrompt": "1 2 3 4 5 6", "predictionConfigStack": ENDLESS_STACK}
        create = {"type": "channelCreate", "endpoint": "completeRawText", "creationParameter": prompt}
        before = time.time() * 1000
        other.send({**create, "channelId": 1})
        while other.receive()["message"]["type"] != "fragment":
            pass
        other.send({**create, "channelId": 2})
        generating = socket.call("getInstanceProcessingState", state)["result"]
        assert generating["status"] == "generating" and generating["queued"] in (1, 2)
        assert socket.call("listLoaded")["result"][0]["lastUsedTime"] is None  # it is in use
        for number in (1, 2):
            other.send({"type": "channelSend", "channelId": number, "message": {"type": "cancel"}})
        ended = 0
        while ended < 2:
            ended += other.receive()["type"] == "channelClose"
        assert socket.call("getInstanceProcessingState", state)["result"] == idle
        assert before <= socket.call("listLoaded")["result"][0]["lastUsedTime"] <= time.time() * 1000 + 1


def test_base_prediction_config(server: Server) -> None:
    with Socket(server.address, "llm") as socket:
        parameter = {"specifier": query(identifier=DEFAULT_MODEL), "ignoreServerSessionConfig": True}
        fields = socket.call("getBasePredictionConfig", parameter)["result"]["fields"]
        received = {field["key"]: field["value"] for field in fields}
        assert received["llm.prediction.temperature"] == 0.8
        assert received["llm.prediction.maxPredictedTokens"]["checked"] is False
        load = socket.call("getLoadConfig", {"specifier": query(identifier=DEFAULT_MODEL)})["result"]["fields"]
        for box in (field["value"] for field in [*fields, *load]):
            assert not isinstance(box, dict) or "checked" not in box or "value" in box, box
    with Socket(server.address, "embedding") as socket:
        answer = socket.call("getBasePredictionConfig", {"specifier": query(identifier=EMBEDDER)})
        assert answer["result"] == {"fields": []}


def test_estimates_of_a_load(server: Server) -> None:
    with Socket(server.address, "system") as socket:
        (size,) = [info["sizeBytes"] for info in socket.call("listDownloadedModels")["result"] if info["type"] == "llm"]
    with Socket(server.address, "llm") as socket:
        estimate = socket.call("estimateModelUsage", {"modelKey": DEFAULT_MODEL, "loadConfigStack": SMALL})["result"]
        memory = estimate["memory"]
        assert memory["confidence"] in ("high", "low") and estimate["passesGuardrails"] is True
        assert 0.9 * size < memory["modelBytes"] < 1.2 * size
        assert memory["totalBytes"] == memory["modelBytes"] + memory["contextBytes"]
        assert memory["totalVramBytes"] == memory["modelVramBytes"] + memory["contextVramBytes"]
        fields = [
            {"key": "llm.load.numParallelSessions", "value": 256},
            {"key": "llm.load.contextLength", "value": 8192},
        ]
        many = {"layers": [{"layerName": "apiOverride", "config": {"fields": fields}}]}
        huge = socket.call("estimateModelUsage", {"modelKey": DEFAULT_MODEL, "loadConfigStack": many})["result"]
        assert huge["passesGuardrails"] is False and huge["memory"]["totalBytes"] > 20 * memory["totalBytes"]
        unknown = socket.call("estimateModelUsage", {"modelKey": "nonesuch", "loadConfigStack": SMALL})
        assert "nonesuch" in unknown["error"]["title"]
        assert socket.call("listLoaded")["result"] == []


def test_the_tokens_around_every_text_of_an_embedding_model_are_not_counted(server: Server) -> None:
    with Socket(server.address, "embedding") as socket:
        text = {"specifier": query(identifier=EMBEDDER), "inputString": "Chaos is a ladder."}
        tokens = socket.call("tokenize", text)["result"]["tokens"]
        assert (tokens[0], tokens[-1]) == (101, 102)
        assert socket.call("countTokens", text)["result"]["tokenCount"] == len(tokens) - 2
    with Socket(server.address, "llm") as socket:
        text["specifier"] = query(identifier=DEFAULT_MODEL)
        tokens = socket.call("tokenize", text)["result"]["tokens"]
        assert socket.call("countTokens", text)["result"]["tokenCount"] == len(tokens)
