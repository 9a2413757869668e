"""LM Studio's REST API: models, loads, downloads, and chats that the server keeps, with a real model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from studiolo.paths import Home
from tests.support.homes import new_home
from tests.support.http_server import EMBEDDING_MODEL, LLM
from tests.support.running import Server, serving

STATS = {
    "input_tokens",
    "total_output_tokens",
    "reasoning_output_tokens",
    "tokens_per_second",
    "time_to_first_token_seconds",
}


def post(http: httpx.Client, path: str, status: int = 200, **body: Any) -> Any:
    answer = http.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def chat(http: httpx.Client, status: int = 200, **body: Any) -> Any:
    settings = {"model": LLM, "input": "Say hello.", "max_output_tokens": 6, "temperature": 0}
    return post(http, "/api/v1/chat", status, **{**settings, **body})


def events(http: httpx.Client, **body: Any) -> list[tuple[str, Any]]:
    """The events of a streamed chat: the name and the data of each."""
    settings = {"model": LLM, "input": "Say hello.", "max_output_tokens": 6, "temperature": 0, "stream": True}
    with http.stream("POST", "/api/v1/chat", json={**settings, **body}) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line and not line.startswith(":")]
    names = [line.removeprefix("event: ") for line in lines[::2]]
    data = [json.loads(line.removeprefix("data: ")) for line in lines[1::2]]
    assert names == [each["type"] for each in data]
    return list(zip(names, data, strict=True))


@pytest.fixture(scope="module")
def own_server(cache_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose model these tests load and unload."""
    folder = tmp_path_factory.mktemp("rest")
    with serving(new_home(folder, cache_home), folder, "--no-load") as server:
        yield server


@pytest.fixture
def own(own_server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{own_server.address}", timeout=60) as client:
        yield client


def test_the_events_of_a_chat_with_and_without_a_load(own: httpx.Client) -> None:
    first = events(own)
    names = [name for name, _ in first]
    kinds = list(dict.fromkeys(names))
    processing = ["prompt_processing.start", "prompt_processing.progress", "prompt_processing.end"]
    message = ["message.start", "message.delta", "message.end", "chat.end"]
    loading = ["model_load.start", "model_load.progress", "model_load.end"]
    assert kinds == ["chat.start", *loading, *processing, *message]
    ratios = [data["progress"] for name, data in first if name == "model_load.progress"]
    assert ratios == sorted(ratios) and ratios[0] >= 0 and ratios[-1] <= 1
    assert set(first[-1][1]["result"]["stats"]) == {*STATS, "model_load_time_seconds"}
    again = events(own)
    assert list(dict.fromkeys(name for name, _ in again)) == ["chat.start", *processing, *message]
    result = again[-1][1]["result"]
    assert set(result["stats"]) == STATS and result["model_instance_id"] == LLM
    assert result["output"] == [{"type": "message", "content": result["output"][0]["content"]}]
    text = "".join(data["content"] for name, data in again if name == "message.delta")
    assert text == result["output"][0]["content"] == chat(own)["output"][0]["content"]


def test_settings_in_force_are_shown(own: httpx.Client) -> None:
    loaded = post(own, "/api/v1/models/load", model=LLM, context_length=2048, echo_load_config=True)
    assert loaded["load_config"]["context_length"] == 2048 and loaded["status"] == "loaded"
    again = post(own, "/api/v1/models/load", model=LLM)
    assert again["instance_id"] == loaded["instance_id"] and "load_config" not in again
    entry = next(each for each in own.get("/api/v1/models").json()["models"] if each["key"] == LLM)
    assert [each["id"] for each in entry["loaded_instances"]] == [LLM]
    config = entry["loaded_instances"][0]["config"]
    assert config["context_length"] == 2048 and config["parallel"] >= 1
    chat(own, context_length=1024, max_output_tokens=1)
    entry = next(each for each in own.get("/api/v1/models").json()["models"] if each["key"] == LLM)
    assert [each["config"]["context_length"] for each in entry["loaded_instances"]] == [1024]
    assert post(own, "/api/v1/models/unload", instance_id=LLM) == {"instance_id": LLM}
    missing = post(own, "/api/v1/models/unload", 404, instance_id=LLM)
    assert missing["error"]["type"] == "model_not_found"


def test_unknown_keys_and_models_are_errors(http: httpx.Client) -> None:
    chat(http, store=False)  # the model is loaded: what is refused is refused before a stream
    error = chat(http, 400, repeat_penalty=1.1, seed=1, nonsense=1)["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request", "unrecognized_keys", "nonsense")
    for stream in (True, False):
        error = chat(http, 404, model="no-such-model", stream=stream)["error"]
        assert error["type"] == "model_not_found" and "no-such-model" in error["message"]
    assert chat(http, 400, model=None)["error"]["param"] == "model"
    for stream in (True, False):
        error = chat(http, 400, input="word " * 9000, stream=stream)["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", "input")
    assert chat(http, 400, reasoning="high")["error"]["param"] == "reasoning"
    assert chat(http, 400, reasoning="on")["error"]["param"] == "reasoning"
    assert chat(http, 400, context_length=999_999)["error"]["param"] == "context_length"
    for setting in ({"context_length": 999_999}, {"num_experts": 2}):
        error = post(http, "/api/v1/models/load", 400, model=LLM, **setting)["error"]
        assert error["param"] == next(iter(setting)) and error["type"] == "invalid_request"
    assert chat(http, 400, integrations=["mcp/files"])["error"]["param"] == "integrations.0"
    assert chat(http, 400, input=[])["error"]["param"] == "input"
    assert chat(http, 400, input=[{"type": "message"}])["error"]["param"] == "input.0.content"
    assert chat(http, 400, input=[{"type": "smell"}])["error"]["param"] == "input.0.type"
    image = {"type": "image", "data_url": "data:image/png;base64,iVBORw0KGgo="}
    assert chat(http, 400, input=[image])["error"]["param"] == "input"


def test_both_spellings_of_a_text_item_are_text(http: httpx.Client) -> None:
    found = [chat(http, input=[{"type": kind, "content": "Say hello."}], store=False) for kind in ("message", "text")]
    assert found[0]["output"] == found[1]["output"] == chat(http, store=False)["output"]


def test_the_models_of_version_0(http: httpx.Client) -> None:
    found = {each["id"]: each for each in http.get("/api/v0/models").json()["data"]}
    assert found[LLM]["type"] == "llm" and found[EMBEDDING_MODEL]["type"] == "embeddings"
    assert found[LLM]["quantization"] == "Q4_1" and found[LLM]["max_context_length"] == 8192
    assert http.get(f"/api/v0/models/{LLM}").json()["arch"] == "llama"
    assert http.get("/api/v0/models/nope").status_code == 404


def test_a_completion_of_version_0_describes_model_and_engine(http: httpx.Client) -> None:
    messages = [{"role": "user", "content": "hi"}]
    answer = post(http, "/api/v0/chat/completions", model=LLM, messages=messages, max_tokens=2)
    assert answer["model_info"] == {"arch": "llama", "quant": "Q4_1", "format": "gguf", "context_length": 8192}
    assert answer["runtime"]["name"] == "llama.cpp" and answer["stats"]["tokens_per_second"] > 0
    continued = post(http, "/api/v0/completions", model=LLM, prompt="One, two,", max_tokens=2)
    assert continued["model_info"]["arch"] == "llama" and continued["choices"][0]["text"]
    vectors = post(http, "/api/v0/embeddings", model=EMBEDDING_MODEL, input="a")
    assert len(vectors["data"][0]["embedding"]) == 768


def test_what_is_here_is_not_downloaded(http: httpx.Client) -> None:
    assert post(http, "/api/v1/models/download", model="nomic-embed-text-v1.5") == {"status": "already_downloaded"}
    assert http.get("/api/v1/models/download/status/job_none").status_code == 404


def test_a_download_is_followed_by_its_job(empty_home: Home, tmp_path: Path) -> None:
    from tests.support.fake_models import add_model
    from tests.support.http_server import serving_in_thread
    from tests.support.model_files import write_catalog
    from tests.support.running import wait_until

    source = add_model(Home(tmp_path / "elsewhere"), "gamma")
    write_catalog(empty_home, {"type": "file", "path": str(source)}, name="gamma")
    with serving_in_thread() as server, httpx.Client(base_url=server.url) as client:
        job = post(client, "/api/v1/models/download", model="gamma")
        assert job["status"] in ("downloading", "completed") and job["job_id"].startswith("job_")

        def state() -> Any:
            return client.get(f"/api/v1/models/download/status/{job['job_id']}").json()

        wait_until(lambda: state()["status"] == "completed", "the download")
        assert state()["downloaded_bytes"] == state()["total_size_bytes"] == source.stat().st_size
        assert state()["completed_at"] >= state()["started_at"]
        for name in (str(source), f" {source}", source.as_uri(), "~/gamma.gguf", "https://example.com/gamma.gguf"):
            error = post(client, "/api/v1/models/download", 400, model=name)["error"]
            assert (error["type"], error["param"]) == ("invalid_request", "model"), name


def test_a_chat_continues_from_any_of_its_answers(http: httpx.Client) -> None:
    first = chat(http, input="My name is Ann.", system_prompt="Be kind.")
    assert first["response_id"].startswith("resp_")
    tokens = first["stats"]["input_tokens"]
    second = chat(http, input="What is my name?", previous_response_id=first["response_id"])
    assert second["stats"]["input_tokens"] > tokens + 5
    branch = chat(http, input="What is my name?", previous_response_id=first["response_id"])
    assert branch["stats"]["input_tokens"] == second["stats"]["input_tokens"]
    assert branch["output"] == second["output"] and branch["response_id"] != second["response_id"]
    third = chat(http, input="And?", previous_response_id=second["response_id"])
    assert third["stats"]["input_tokens"] > second["stats"]["input_tokens"]
    replaced = chat(http, input="What is my name?", previous_response_id=first["response_id"], system_prompt="Be kind.")
    assert replaced["stats"]["input_tokens"] == second["stats"]["input_tokens"]


def test_a_streamed_chat_can_be_continued_at_once(http: httpx.Client) -> None:
    result = events(http)[-1][1]["result"]
    assert chat(http, input="And?", previous_response_id=result["response_id"])["output"]


def test_a_chat_that_is_not_stored_has_no_id(http: httpx.Client) -> None:
    assert "response_id" not in chat(http, store=False)
    error = chat(http, 400, previous_response_id="resp_unknown")["error"]
    assert (error["type"], error["param"]) == ("invalid_request", "previous_response_id")
    assert error["code"] == "previous_response_not_found"
