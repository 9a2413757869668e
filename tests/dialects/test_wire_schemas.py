"""What checks the server's answers can fail: on each kind of fault that a client does not take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import studiolo as lm
from studiolo.paths import Home
from tests.support.recording import wire_recorder
from tests.support.running import environment, serving
from tests.support.wire_schemas import WireSchemas, judge, wire_schemas

pytestmark = pytest.mark.quick_model

VERSION = {"version": "0.4.0", "build": 1}
FRAGMENT = {"content": "a", "tokensCount": 1, "containsDrafted": False, "reasoningType": "none", "isStructural": False}
NOT_FOUND = {"code": "generic.noModelMatchingQuery", "query": {}, "loadedModelsSample": [], "totalLoadedModels": 0}


@pytest.fixture(scope="module")
def judges(cache_home: Home) -> list[WireSchemas]:
    return wire_schemas(cache_home.root)


def result(of: str, value: Any) -> str:
    return json.dumps({"of": of, "frame": {"type": "rpcResult", "callId": 0, "result": value}})


def message(of: str, value: Any) -> str:
    return json.dumps({"of": of, "frame": {"type": "channelSend", "channelId": 0, "message": value}})


def config(max_tokens: Any) -> str:
    return result("llm/getLoadConfig", {"fields": [{"key": "llm.prediction.maxPredictedTokens", "value": max_tokens}]})


def failure(display_data: Any) -> str:
    error = {"title": "No such model", "displayData": display_data}
    return json.dumps({"of": "llm/predict", "frame": {"type": "rpcError", "callId": 0, "error": error}})


@pytest.mark.parametrize(
    "line",
    [
        result("system/version", VERSION),
        result("system/version", {**VERSION, "unknown": 1}),  # ignored by the client
        message("llm/predict", {"type": "fragment", "fragment": FRAGMENT}),
        json.dumps({"of": "llm/unloadModel", "frame": {"type": "rpcResult", "callId": 0}}),
        failure(NOT_FOUND),
    ],
)
def test_what_fits_is_taken(line: str, judges: list[WireSchemas]) -> None:
    assert judge([line], judges) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (result("system/version", {"version": "0.4.0"}), ["result: 'build' is a required property"]),
        (result("system/version", {**VERSION, "build": "1"}), ["result.build: '1' is not of type 'number'"]),
        (message("llm/predict", {"type": "fragment", "fragment": {**FRAGMENT, "reasoningType": "deep"}}), ["'deep'"]),
        (message("llm/predict", {"type": "toolCallGenerationStart", "toolCallId": None}), ["toolCallId: None is not"]),
        (message("llm/predict", {"type": "fragments"}), ["is not valid under any"]),
        (result("llm/unloadModel", {}), ["result"]),
        (json.dumps({"of": "system/version", "frame": {"type": "rpcResult", "callId": 0}}), ["result: absent"]),
        (failure({**NOT_FOUND, "totalLoadedModels": "none"}), ["displayData.totalLoadedModels"]),
        (failure({"code": "generic.unheardOf"}), ["displayData"]),
        (config({"checked": False}), ["llm.prediction.maxPredictedTokens: 'value' is a required property"]),
        (json.dumps({"of": "llm/", "frame": {"type": "shrug"}}), ["frame: "]),
    ],
)
def test_what_a_client_would_drop_is_found_in_both_versions(
    line: str, words: list[str], judges: list[WireSchemas]
) -> None:
    found = judge([line], judges)
    assert [fault[:5] for fault in found] == ["1.5.0", "2.0.0"]
    assert all(word in fault for word in words for fault in found), found


def test_an_endpoint_of_no_official_client_is_found(judges: list[WireSchemas]) -> None:
    assert judge([result("system/unheardOf", {})], judges)
    assert not judge([json.dumps({"of": "system/unheardOf", "frame": failing()})], judges)


def failing() -> dict[str, Any]:
    return {"type": "rpcError", "callId": 0, "error": {"title": "no such endpoint"}}


def recorded(since: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(wire_recorder.recording_file()).read_text().splitlines()[since:]]


def lines_so_far() -> int:
    file = Path(wire_recorder.recording_file())
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_a_server_and_an_embedded_host_are_recorded(home: Home, tmp_path: Path) -> None:
    since = lines_so_far()
    with serving(home, tmp_path, "--no-load") as server, lm.Client(server.address) as client:
        client.system.version()
        client.llm.model(config={"contextLength": 256}).complete("Hi", config={"maxTokens": 1})
    served = {(line["of"], line["frame"].get("message", {}).get("type")) for line in recorded(since)}
    assert {("system/version", None), ("llm/predict", "fragment"), ("llm/predict", "success")} <= served
    since = lines_so_far()
    program = 'import studiolo as lm\nwith lm.Client("embedded") as client:\n    client.system.version()\n'
    program += '    client.llm.model(config={"contextLength": 256}).complete("Hi", config={"maxTokens": 1})\n'
    subprocess.run([sys.executable, "-c", program], env=environment(home), check=True)
    embedded = {(line["of"], line["frame"].get("message", {}).get("type")) for line in recorded(since)}
    assert {("system/version", None), ("llm/predict", "fragment"), ("llm/predict", "success")} <= embedded


def test_the_recorder_imports_nothing_at_the_start_of_a_process() -> None:
    """Every process of a run starts with it; what it imports, thousands of interpreters import."""
    program = "import sys; print(*sys.modules)"
    recording = {**os.environ, "PYTHONPATH": str(Path(wire_recorder.__file__).parent)}
    bare = {name: value for name, value in recording.items() if name != "PYTHONPATH"}
    modules: list[set[str]] = []
    for variables in (recording, bare):
        done = subprocess.run(
            [sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True
        )
        modules.append(set(done.stdout.split()))
    assert "wire_recorder" in modules[0] - modules[1] <= {"sitecustomize", "wire_recorder", "__future__"}
