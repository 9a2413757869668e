"""Ollama's lists of models, embeddings and changes of the library, with the official client's types."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest
import studiolo_fake_engine as fake
from ollama import EmbeddingsResponse, EmbedResponse, ListResponse, ProcessResponse, ProgressResponse, ShowResponse

from studiolo.dialects.ollama.keep_alive import FOREVER, seconds
from studiolo.errors import InvalidRequestError
from tests.support.http_server import EMBEDDING_MODEL, LLM, ServerInThread
from tests.support.running import wait_until

SHA256 = "f7af6f66802f4df86eda10fe9bbcfc75c39562bed48ef6ace719a251cf1c2fdb"
"""The embedding model's, as the catalog has it."""


@pytest.fixture
def client(base_url: str) -> Iterator[ollama.Client]:
    client = ollama.Client(base_url, timeout=120)
    yield client
    client._client.close()


@pytest.fixture
def own(fake_server: ServerInThread) -> Iterator[httpx.Client]:
    """A client of a server whose models may change."""
    with httpx.Client(base_url=fake_server.url, timeout=30) as client:
        yield client


def test_the_server_is_recognised(http: httpx.Client) -> None:
    assert http.get("/").text == "Ollama is running"
    version = http.get("/api/version").json()["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version) and tuple(map(int, version.split("."))) >= (0, 18, 0)
    for path in ("/", "/api/version", "/api/tags"):
        answer = http.head(path)
        assert answer.status_code == 200 and answer.content == b""
        assert answer.headers["content-length"] == str(len(http.get(path).content))


def test_unknown_paths_and_wrong_methods(http: httpx.Client) -> None:
    for path in ("/api/health", "/api/chat/completions"):
        answer = http.get(path)
        assert answer.status_code == 404 and isinstance(answer.json()["error"], str)
    answer = http.get("/api/chat")
    assert answer.status_code == 405 and "POST" in answer.headers["allow"] and isinstance(answer.json()["error"], str)
    assert http.post("/").status_code == 405


def test_the_models_on_disk(http: httpx.Client, client: ollama.Client) -> None:
    answer = http.get("/api/tags")
    ListResponse.model_validate_json(answer.text, strict=True)
    found = {each["name"]: each for each in answer.json()["models"]}
    assert {f"{name}:latest" for name in (LLM, EMBEDDING_MODEL, "an-alias")} <= set(found)
    for entry in found.values():
        assert entry["name"] == entry["model"] and entry["size"] > 1000
        assert re.fullmatch("[0-9a-f]{64}", entry["digest"])
        assert entry["details"]["format"] == "gguf" and entry["details"]["quantization_level"]
    assert found[f"{EMBEDDING_MODEL}:latest"]["digest"] == SHA256
    assert {each.model for each in client.list().models} == set(found)
    assert http.get("/api/tags").json() == answer.json()


def test_what_is_known_of_a_model(http: httpx.Client) -> None:
    for body in ({"model": LLM}, {"name": LLM}, {"model": f"{LLM}:latest"}, {"model": LLM, "verbose": False}):
        answer = http.post("/api/show", json=body)
        ShowResponse.model_validate_json(answer.text, strict=True)
    found = answer.json()
    assert "completion" in found["capabilities"] and "embedding" not in found["capabilities"]
    assert found["model_info"]["general.architecture"] == "llama"
    assert found["model_info"]["llama.context_length"] == 8192
    assert found["details"]["family"] == "llama" and "messages" in found["template"]
    assert f"FROM {LLM}:latest" in found["modelfile"]
    embedding = http.post("/api/show", json={"model": EMBEDDING_MODEL}).json()
    assert embedding["capabilities"] == ["embedding"]
    assert http.post("/api/show", json={"model": "no-such"}).json() == {"error": "model 'no-such' not found"}
    assert http.post("/api/show", json={}).status_code == 400


def embed(http: httpx.Client, text: Any, status: int = 200, **body: Any) -> Any:
    answer = http.post("/api/embed", json={"model": EMBEDDING_MODEL, "input": text, **body})
    assert answer.status_code == status, answer.text
    if status == 200:
        EmbedResponse.model_validate_json(answer.text, strict=True)
    return answer.json()


def test_vectors(http: httpx.Client, client: ollama.Client) -> None:
    found = embed(http, ["b", "a"])
    assert len(found["embeddings"]) == 2 and found["prompt_eval_count"] > 0
    assert found["total_duration"] >= found["load_duration"] > 0
    for vector in found["embeddings"]:
        assert math.isclose(sum(each * each for each in vector), 1, rel_tol=1e-4)
    alone = embed(http, "a")["embeddings"][0]
    assert sum(x * y for x, y in zip(alone, found["embeddings"][1], strict=True)) > 0.99
    short = embed(http, "a", dimensions=64)["embeddings"][0]
    assert len(short) == 64 and math.isclose(sum(each * each for each in short), 1, rel_tol=1e-4)
    assert embed(http, [])["embeddings"] == embed(http, "")["embeddings"] == []
    assert list(client.embed(EMBEDDING_MODEL, "a").embeddings[0]) == alone
    for wrong in ({"a": 1}, [1], 7):
        assert embed(http, wrong, 400)["error"].startswith("input")
    old = http.post("/api/embeddings", json={"model": EMBEDDING_MODEL, "prompt": "a"})
    EmbeddingsResponse.model_validate_json(old.text, strict=True)
    assert old.json()["embedding"] == pytest.approx(alone, abs=1e-6)
    assert http.post("/api/embed", json={"model": LLM, "input": "a"}).status_code == 400


def test_a_text_that_is_too_long_is_refused(http: httpx.Client) -> None:
    text = " ".join(f"word {number}" for number in range(4000))
    for given in (text, ["a", text]):
        assert embed(http, given, 400, truncate=False) == {"error": "the input length exceeds the context length"}


def test_of_a_text_that_is_far_too_long_the_beginning_alone_is_tokenized_on_a_fake_engine(
    own: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    tokens = fake.FakeEngine._tokens

    def counted(self: fake.FakeEngine, text: str) -> list[int]:
        sizes.append(len(text))
        return tokens(self, text)

    monkeypatch.setattr(fake.FakeEngine, "_tokens", counted)
    for text, limit in ("a " * 3_000_000, 2048), (" " * 200_000 + "a " * 3_000_000, 2048), ("a " * 1000, 1001):
        answer = own.post("/api/embed", json={"model": "vectors", "input": [text, "a b"]})
        assert answer.json()["prompt_eval_count"] == limit + 2
    assert max(sizes) < 2_000_000


def test_a_text_that_is_too_long_is_cut_to_the_context_on_a_fake_engine(own: httpx.Client) -> None:
    text = " ".join(["a"] * 1000 + ["longer"] * 5000)
    body = {"model": "vectors", "input": [text, "a b"]}
    for options, limit in ({}, 2048), ({"num_ctx": 100}, 100):
        for truncate in (None, True):
            answer = own.post("/api/embed", json={**body, "options": options, "truncate": truncate})
            assert answer.json()["prompt_eval_count"] == limit + 2
        assert own.post("/api/embed", json={**body, "options": options, "truncate": False}).status_code == 400
    assert len(own.post("/api/embeddings", json={"model": "vectors", "prompt": text}).json()["embedding"]) == 2


def test_every_route_reads_bodies_without_a_content_type_on_a_fake_engine(own: httpx.Client) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "/api/show": {"model": "ALPHA:latest"},
        "/api/generate": {"model": "ALPHA:latest", "prompt": "hi"},
        "/api/embed": {"model": "VECTORS:latest", "input": "hi"},
        "/api/embeddings": {"model": "vectors", "prompt": "hi"},
        "/api/copy": {"source": "alpha", "destination": "other"},
        "/api/create": {"model": "third", "from": "alpha"},
        "/api/pull": {"model": "alpha"},
        "/api/delete": {"model": "other"},
    }
    for headers in ({"content-type": "application/x-www-form-urlencoded"}, {}):
        for path, body in bodies.items():
            method = "DELETE" if path == "/api/delete" else "POST"
            answer = own.request(method, path, content=json.dumps(body), headers=headers)
            assert answer.status_code == 200, (path, answer.text)


KEEP_ALIVE = {"10m": 600, "1h30m": 5400, "1.5s": 1.5, "500ms": 0.5, "0": 0, "0s": 0, "-1m": FOREVER, "+2s": 2}


def test_durations() -> None:
    assert {text: seconds(text) for text in KEEP_ALIVE} == KEEP_ALIVE
    assert [seconds(each) for each in (300, 0, -1, 2.5, None)] == [300, 0, FOREVER, 2.5, None]
    for wrong in ("-1", "10", "soon", "", "5 m", "m", "1d"):
        with pytest.raises(InvalidRequestError):
            seconds(wrong)


def loaded(http: httpx.Client) -> dict[str, Any]:
    answer = http.get("/api/ps")
    ProcessResponse.model_validate_json(answer.text, strict=True)
    return {each["name"].removesuffix(":latest"): each for each in answer.json()["models"]}


def expires_in(entry: Any) -> timedelta:
    return datetime.fromisoformat(entry["expires_at"].replace("Z", "+00:00")) - datetime.now(UTC)


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_load_and_unload_without_a_prompt_on_a_fake_engine(own: httpx.Client, path: str) -> None:
    def ask(**body: Any) -> Any:
        answer = own.post(path, json={"model": "alpha", **body})
        assert answer.status_code == 200, answer.text
        assert answer.json()["done"] is True
        return answer.json()["done_reason"]

    assert ask() == "load" and list(loaded(own)) == ["alpha"]
    assert loaded(own)["alpha"]["context_length"] > 0 and loaded(own)["alpha"]["size_vram"] == 0
    for keep, expected in {"10m": 600, 300: 300, "-1m": None, -1: None}.items():
        assert ask(keep_alive=keep) == "load"
        left = expires_in(loaded(own)["alpha"])
        if expected is None:
            assert left > timedelta(days=3650)
        else:
            assert timedelta(seconds=expected - 10) < left <= timedelta(seconds=expected)
    for zero in (0, "0s"):
        assert ask(keep_alive=60) == "load"
        assert ask(keep_alive=zero) == "unload" and loaded(own) == {}
    assert ask(keep_alive=0) == "unload"  # also where it is not loaded
    assert len(fake.engines) == 2


def test_keep_alive_of_an_answer_on_a_fake_engine(own: httpx.Client) -> None:
    body = {"model": "alpha", "prompt": "hi", "raw": True}
    own.post("/api/generate", json={**body, "keep_alive": "20m"})
    assert timedelta(minutes=19) < expires_in(loaded(own)["alpha"]) <= timedelta(minutes=20)
    own.post("/api/generate", json={**body, "keep_alive": 0})
    wait_until(lambda: loaded(own) == {}, "the end of the model")
    own.post("/api/embed", json={"model": "vectors", "input": "x", "keep_alive": 0})
    wait_until(lambda: loaded(own) == {}, "the end of the model")


def test_another_context_replaces_the_one_copy_on_a_fake_engine(own: httpx.Client) -> None:
    for size in (512, 1024, 1024, 100_000):
        answer = own.post(
            "/api/chat",
            json={"model": "alpha", "messages": [{"role": "user", "content": "hi"}], "options": {"num_ctx": size}},
        )
        assert answer.status_code == 200 and json.loads(answer.text.splitlines()[-1])["done"]
        assert {name: each["context_length"] for name, each in loaded(own).items()} == {"alpha": min(size, 2048)}
    assert len(fake.engines) == 3


@pytest.mark.slow
def test_a_long_prompt_loses_its_oldest_turns_on_a_fake_engine(own: httpx.Client) -> None:
    turns = [{"role": "user" if number % 2 == 0 else "assistant", "content": "word " * 50} for number in range(21)]
    messages = [{"role": "system", "content": "Be brief."}, *turns]
    body = {"model": "alpha", "messages": messages, "stream": False, "options": {"num_ctx": 300, "num_predict": 3}}
    cut = own.post("/api/chat", json=body)
    assert cut.status_code == 200 and 100 < cut.json()["prompt_eval_count"] < 300
    for stream in (False, True):
        refused = own.post("/api/chat", json={**body, "truncate": False, "stream": stream})
        assert refused.status_code == 400 and "300" in refused.json()["error"]


def test_a_derived_model_has_its_settings_on_a_fake_engine(own: httpx.Client) -> None:
    parameters = {"num_ctx": 1024, "num_predict": 2, "stop": ["x"], "temperature": 0.5}
    made = {"model": "Mario:v1", "from": "alpha:latest", "system": "You are Mario.", "parameters": parameters}
    answer = own.post("/api/create", json=made)
    lines = answer.text.splitlines()
    assert answer.status_code == 200 and json.loads(lines[-1]) == {"status": "success"}
    for line in lines:
        ProgressResponse.model_validate_json(line, strict=True)
    shown = own.post("/api/show", json={"model": "mario:v1"}).json()
    assert shown["system"] == "You are Mario." and shown["details"]["parent_model"] == "alpha"
    assert "num_ctx" in shown["parameters"] and "SYSTEM" in shown["modelfile"]
    hi = [{"role": "user", "content": "hi"}]
    said = own.post("/api/chat", json={"model": "mario:v1", "messages": hi, "stream": False}).json()
    assert (said["model"], said["eval_count"], said["done_reason"]) == ("mario:v1", 2, "length")
    assert loaded(own)["alpha"]["context_length"] == 1024
    plain = own.post("/api/chat", json={"model": "alpha", "messages": hi, "stream": False}).json()
    assert plain["eval_count"] > 2 and plain["prompt_eval_count"] < said["prompt_eval_count"]
    openai = own.post("/v1/chat/completions", json={"model": "mario:v1", "messages": hi}).json()
    assert openai["usage"]["completion_tokens"] == 2
    assert own.post("/api/generate", json={"model": "mario:v1", "prompt": "a", "raw": True}).status_code == 200


def test_names_of_copies_on_a_fake_engine(own: httpx.Client, fake_server: ServerInThread) -> None:
    assert own.post("/api/copy", json={"source": "alpha", "destination": "backup"}).status_code == 200
    assert own.post("/api/copy", json={"source": "backup:latest", "destination": "second"}).status_code == 200
    tags = {each["name"].removesuffix(":latest"): each for each in own.get("/api/tags").json()["models"]}
    assert set(tags) == {"alpha", "beta", "text-embedding-vectors", "backup", "second"}
    assert len({each["digest"] for each in tags.values()}) == len(tags)
    assert own.post("/api/generate", json={"model": "second"}).json()["done_reason"] == "load"
    for name, status in {"alpha": 400, "/etc/passwd": 400, "": 400}.items():
        assert own.post("/api/copy", json={"source": "beta", "destination": name}).status_code == status
    assert own.post("/api/copy", json={"source": "no-such", "destination": "x"}).status_code == 404
    assert own.request("DELETE", "/api/delete", json={"model": "backup"}).status_code == 200
    assert own.request("DELETE", "/api/delete", json={"model": "backup"}).status_code == 404
    assert fake_server.host.home.derived_models.exists()
    assert own.post("/api/chat", json={"model": "backup"}).status_code == 404


def test_a_model_is_deleted_on_a_fake_engine(own: httpx.Client, fake_server: ServerInThread) -> None:
    assert own.post("/api/generate", json={"model": "alpha"}).status_code == 200
    answer = own.request("DELETE", "/api/delete", content='{"name": "alpha"}')
    assert answer.status_code == 200, answer.text
    assert loaded(own) == {} and not (fake_server.host.home.models / "fake" / "alpha").exists()
    answer = own.request("DELETE", "/api/delete", json={"model": "alpha"})
    assert answer.status_code == 404 and answer.json() == {"error": "model 'alpha' not found"}


def test_an_alias_is_never_deleted_on_a_fake_engine(own: httpx.Client, fake_server: ServerInThread) -> None:
    with fake_server.host.home.settings.open("a") as settings:
        settings.write('\n[server.aliases]\n"gpt-4o" = "alpha"\n"*" = "alpha"\n')
    assert own.post("/api/generate", json={"model": "anything"}).json()["done_reason"] == "load"
    for name, status in {"gpt-4o": 400, "gpt-4o:latest": 400, "anything": 404, "*": 400}.items():
        assert own.request("DELETE", "/api/delete", json={"model": name}).status_code == status, name
    for name in ("/x.gguf", " /x.gguf", "hf.co//x.gguf", "~/x.gguf", "https://localhost/x.gguf", "file:/x", "../x:q4"):
        refused = own.post("/api/pull", json={"model": name})
        assert refused.status_code == 400 and "neither a name of the catalog" in refused.json()["error"], name
    assert (fake_server.host.home.models / "fake" / "alpha" / "alpha.gguf").exists()


def test_what_is_refused_on_a_fake_engine(own: httpx.Client) -> None:
    for path, body in {
        "/api/push": {"model": "alpha"},
        f"/api/blobs/sha256:{'0' * 64}": {},
        "/api/create": {"model": "x", "from": "alpha", "quantize": "q4_K_M"},
        "/api/pull": {"model": "/etc/passwd"},
    }.items():
        answer = own.post(path, json=body)
        assert answer.status_code == 400 and isinstance(answer.json()["error"], str), answer.text
    assert own.post("/api/create", json={"model": "x"}).json()["error"] == "from: missing"
    assert own.post("/api/create", json={"model": "x", "from": "no-such"}).status_code == 404


def test_a_model_of_the_library_is_pulled_at_once_on_a_fake_engine(own: httpx.Client) -> None:
    answer = own.post("/api/pull", json={"model": "alpha:latest"})
    assert [json.loads(line) for line in answer.text.splitlines()][-1] == {"status": "success"}
    assert own.post("/api/pull", json={"name": "alpha", "stream": False}).json() == {"status": "success"}


def test_a_model_in_ollamas_own_store_has_its_name_and_digest_on_a_fake_engine(
    own: httpx.Client, fake_server: ServerInThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = "ab" * 32
    blob = tmp_path / "blobs" / f"sha256-{digest}"
    blob.parent.mkdir()
    blob.write_bytes(next(fake_server.host.home.models.rglob("beta.gguf")).read_bytes())
    layers = [{"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}]
    for tag in ("latest", "3b"):
        manifest = tmp_path / "manifests" / "registry.ollama.ai" / "library" / f"llama{len(tag)}" / tag
        manifest.parent.mkdir(parents=True)
        manifest.write_text(json.dumps({"layers": layers}))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    settings = fake_server.host.home.settings
    settings.write_text(settings.read_text().replace("programs = []", 'programs = ["ollama"]'))
    tags = {each["name"]: each for each in own.get("/api/tags").json()["models"]}
    names = {name for name in tags if name.startswith("llama")}
    assert names and all(tags[name]["digest"] == digest for name in names)
    for name in names:
        for sent in (name, name.removesuffix(":latest"), name.upper()):
            answer = own.post("/api/generate", json={"model": sent, "prompt": "hi", "stream": False})
            assert answer.status_code == 200 and answer.json()["model"] == sent, answer.text
        refused = own.request("DELETE", "/api/delete", json={"model": name})
        assert refused.status_code == 409 and "Ollama" in refused.json()["error"] and blob.exists()
