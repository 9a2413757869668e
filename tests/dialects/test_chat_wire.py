"""Chats and files on the bare wire: what LM Studio's clients send, and what they never would."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from tests.support.models.audio import tone
from tests.support.running import Server

pytestmark = [pytest.mark.quick_model, pytest.mark.server(settings="[presets.short]\nmax_tokens = 2\n", load=True)]

ANY_MODEL = {"type": "query", "query": {}}


@contextlib.contextmanager
def opened(server: Server, namespace: str) -> Iterator[ClientConnection]:
    with connect(f"ws://{server.address}/{namespace}", max_size=None, proxy=None) as socket:
        socket.send(json.dumps({"authVersion": 1, "clientIdentifier": "wire", "clientPasskey": "wire"}))
        assert json.loads(socket.recv(timeout=20)) == {"success": True}
        yield socket


def call(socket: ClientConnection, endpoint: str, parameter: Any) -> dict[str, Any]:
    """The answer to a call."""
    socket.send(json.dumps({"type": "rpcCall", "endpoint": endpoint, "callId": 7, "parameter": parameter}))
    return json.loads(socket.recv(timeout=60))


def predict(socket: ClientConnection, messages: Any, layers: Any = (), **more: Any) -> list[dict[str, Any]]:
    """The messages of a prediction's channel; an error is the last."""
    stack = {"layers": list(layers)}
    parameter = {"modelSpecifier": ANY_MODEL, "history": {"messages": messages}, "predictionConfigStack": stack, **more}
    socket.send(
        json.dumps({"type": "channelCreate", "endpoint": "predict", "channelId": 3, "creationParameter": parameter})
    )
    reported: list[dict[str, Any]] = []
    while True:
        frame = json.loads(socket.recv(timeout=60))
        match frame["type"]:
            case "channelSend":
                reported.append(frame["message"])
            case "channelError":
                return [*reported, frame["error"]]
            case "channelClose":
                return reported
            case other:
                raise AssertionError(other)


def layer(key: str, value: Any, name: str = "apiOverride") -> dict[str, Any]:
    return {"layerName": name, "config": {"fields": [{"key": f"llm.prediction.{key}", "value": value}]}}


def said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": text}]}]


GREEDY = [layer("temperature", 0), layer("maxPredictedTokens", {"checked": True, "value": 6})]


def test_a_chat_is_answered_with_lm_studios_messages(server: Server) -> None:
    with opened(server, "llm") as socket:
        reported = predict(socket, said("Say hi."), GREEDY)
        kinds = [message["type"] for message in reported]
        assert kinds[0] == "promptProcessingProgress" and kinds[-1] == "success" and "fragment" in kinds
        fragment = next(message["fragment"] for message in reported if message["type"] == "fragment")
        assert set(fragment) >= {"content", "tokensCount", "containsDrafted", "reasoningType"}
        in_force = {field["key"]: field["value"] for field in reported[-1]["predictionConfig"]["fields"]}
        assert in_force["llm.prediction.reasoning.parsing"] == {
            "enabled": True,
            "startString": "<think>",
            "endString": "</think>",
        }


def test_templates_and_presets_on_the_wire(server: Server) -> None:
    manual = {"beforeSystem": "", "afterSystem": "", "beforeUser": "Q: ", "afterUser": "\n"}
    manual |= {"beforeAssistant": "A:", "afterAssistant": "\n"}
    template = {"type": "manual", "manualPromptTemplate": manual, "stopStrings": ["Q:"]}
    with opened(server, "llm") as socket:
        stack = {"layers": [layer("promptTemplate", template)]}
        parameter = {"specifier": ANY_MODEL, "history": {"messages": said("hi")}, "predictionConfigStack": stack}
        answer = call(socket, "applyPromptTemplate", {**parameter, "opts": {}})
        assert answer["result"] == {"formatted": "Q: hi\nA:"}
        success = predict(socket, said("hi"), [layer("promptTemplate", template)], fuzzyPresetIdentifier="short")[-1]
        assert success["stats"]["predictedTokensCount"] == 2
        in_force = {field["key"]: field["value"] for field in success["predictionConfig"]["fields"]}
        assert in_force["llm.prediction.promptTemplate"] == template
        error = predict(socket, said("hi"), fuzzyPresetIdentifier="long")[-1]
        assert error["displayData"]["code"] == "generic.presetNotFound"
        assert error["displayData"]["totalAvailablePresets"] == 1


@pytest.mark.parametrize(
    "messages",
    [
        None,
        3,
        [3],
        [{"role": "cook", "content": []}],
        [{"role": "user"}],
        [{"role": "user", "content": "text"}],
        [{"role": "user", "content": [{"type": "video"}]}],
        [{"role": "user", "content": [{"type": "text", "text": 3}]}],
        [{"role": "user", "content": [{"type": "toolCallResult", "content": "x"}]}],
        [{"role": "user", "content": [{"type": "file", "name": "x"}]}],
    ],
)
def test_what_is_no_chat_is_refused_and_the_socket_goes_on(server: Server, messages: Any) -> None:
    with opened(server, "llm") as socket:
        (error,) = predict(socket, messages)
        assert "$" in (error.get("cause") or "") + error["title"], error
        assert predict(socket, said("hi"), GREEDY)[-1]["type"] == "success"


def test_a_chat_of_nothing_ends_well(server: Server) -> None:
    with opened(server, "llm") as socket:
        assert predict(socket, [], GREEDY)[-1]["type"] == "success"
        assert predict(socket, [{"role": "user", "content": []}], GREEDY)[-1]["type"] == "success"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("promptTemplate", 3),
        ("promptTemplate", {"type": "jinja", "stopStrings": []}),
        ("promptTemplate", {"type": "jinja", "jinjaPromptTemplate": {"template": "{{"}, "stopStrings": []}),
        ("reasoning.parsing", {"enabled": True, "startString": 3, "endString": "x"}),
        ("reasoning.budgetTokens", {"checked": True, "value": -1}),
        ("systemPrompt", {"text": "x"}),
    ],
)
def test_settings_of_a_wrong_form(server: Server, key: str, value: Any) -> None:
    with opened(server, "llm") as socket:
        (error,) = [reported for reported in predict(socket, said("hi"), [layer(key, value)]) if "type" not in reported]
        assert error["errorData"]["code"] == "studiolo.config", error


def test_files_on_the_wire(server: Server, tmp_path: Path) -> None:
    out = BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, "PNG")
    with opened(server, "files") as socket:
        content = base64.b64encode(out.getvalue()).decode()
        stored = call(socket, "uploadFileBase64", {"name": "a.png", "contentBase64": content})["result"]
        assert (stored["fileType"], stored["sizeBytes"]) == ("image", len(out.getvalue()))
        path = call(socket, "getLocalFileAbsolutePath", {"fileName": stored["identifier"]})["result"]["path"]
        assert Path(path).read_bytes() == out.getvalue()
        wave = base64.b64encode(tone(seconds=1)).decode()
        stored = call(socket, "uploadFileBase64", {"name": "a.wav", "contentBase64": wave})["result"]
        assert (stored["fileType"], stored["isAudio"]) == ("unknown", True), "LM Studio's clients know no such type"
        damaged = base64.b64encode(tone(seconds=1)[:-1]).decode()
        assert (
            "damaged" in call(socket, "uploadFileBase64", {"name": "a.wav", "contentBase64": damaged})["error"]["title"]
        )
        text = base64.b64encode(b"hello").decode()
        assert call(socket, "uploadFileBase64", {"name": "a.txt", "contentBase64": text})["result"]["fileType"] == (
            "text/plain"
        )
        for wrong in ({"name": "a", "contentBase64": "***"}, {"name": "a"}, {"name": "a", "contentBase64": 3}, None):
            assert call(socket, "uploadFileBase64", wrong)["type"] == "rpcError"
        empty = call(socket, "uploadFileBase64", {"name": "a", "contentBase64": ""})["result"]
        assert empty["sizeBytes"] == 0
        for stranger in ("../config.toml", "0" * 64, "/etc/passwd"):
            assert "has no file" in call(socket, "getLocalFileAbsolutePath", {"fileName": stranger})["error"]["title"]
