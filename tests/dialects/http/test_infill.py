"""``suffix`` in every dialect that has it, and ``llm.infill()`` over the network, on the fake engine."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import studiolo_fake_engine as fake

import studiolo as lm
from tests.support.fake_models import add_model
from tests.support.http_server import ServerInThread

WORDS = ("[PRE]", "[SUF]", "[MID]")


@pytest.fixture
def url(fake_server: ServerInThread) -> str:
    """A server with the model ``coder``, which has tokens for gaps, and ``alpha``, which has none."""
    tokens = [fake.token(word) for word in WORDS]
    add_model(fake_server.host.home, "coder", infill=tokens)
    return fake_server.url


def prompt() -> Any:
    """The words of the prompt that an engine got last."""
    tokens = fake.engines[-1].requests[-1].prompt
    assert isinstance(tokens, list)
    return [fake._words[token] for token in tokens]


def test_openai(url: str) -> None:
    body = {"model": "coder", "prompt": "one two", "suffix": "four", "n": 2}
    for path in ("/v1/completions", "/api/v0/completions"):
        answer = httpx.post(url + path, json=body).json()
        assert [each["text"] for each in answer["choices"]] == ["One two three."] * 2, answer
        assert prompt() == ["[PRE]", "one", " two", "[SUF]", "four", "[MID]"]
    with httpx.stream("POST", f"{url}/v1/completions", json={**body, "n": 1, "stream": True}) as stream:
        frames = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: {")]
    assert "".join(frame["choices"][0]["text"] for frame in frames) == "One two three."
    httpx.post(f"{url}/v1/completions", json={**body, "prompt": ["a", "b"], "n": 1})
    assert sorted(fake._words[each.prompt[1]] for each in fake.engines[-1].requests[-2:]) == ["a", "b"]
    httpx.post(f"{url}/v1/completions", json={**body, "suffix": "", "n": 1})
    assert fake.engines[-1].requests[-1].prompt == "one two"


def test_ollama(url: str) -> None:
    body = {"model": "coder", "prompt": "one two", "suffix": "four", "stream": False}
    assert httpx.post(f"{url}/api/generate", json=body).json()["response"] == "One two three."
    assert prompt() == ["[PRE]", "one", " two", "[SUF]", "four", "[MID]"]
    assert httpx.post(f"{url}/api/generate", json={**body, "prompt": ""}).json()["response"] == "One two three."
    assert prompt() == ["[PRE]", "[SUF]", "four", "[MID]"]
    lines = httpx.post(f"{url}/api/generate", json={**body, "stream": True}).text.splitlines()
    assert "".join(json.loads(line)["response"] for line in lines) == "One two three."
    for name, wanted in {"coder": True, "alpha": False}.items():
        shown = httpx.post(f"{url}/api/show", json={"model": name}).json()
        assert ("insert" in shown["capabilities"]) is wanted


def test_what_fills_a_gap_is_text_whatever_tags_it_has(url: str) -> None:
    fake.models["coder"] = fake.FakeModel(tokens=("<think>", "hm", "</think>", "yes"))
    body = {"model": "coder", "prompt": "a", "suffix": "b", "stream": False}
    assert httpx.post(f"{url}/api/generate", json=body).json()["response"] == "<think>hm</think>yes"


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_without_tokens_for_gaps_is_named(url: str, stream: bool) -> None:
    body = {"model": "alpha", "prompt": "a", "suffix": "b", "stream": stream}
    answer = httpx.post(f"{url}/v1/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "suffix") and "alpha cannot fill gaps" in error["message"]
    answer = httpx.post(f"{url}/api/generate", json=body)
    assert answer.status_code == 400 and "alpha cannot fill gaps" in answer.json()["error"]


@pytest.mark.parametrize("field", ["raw", "system", "template", "images", "think"])
def test_what_has_no_effect_beside_a_suffix_is_refused(url: str, field: str) -> None:
    value: Any = {"raw": True, "images": [""], "think": True}.get(field, "x")
    body = {"model": "coder", "prompt": "a", "suffix": "b", field: value}
    answer = httpx.post(f"{url}/api/generate", json=body)
    assert answer.status_code == 400 and field in answer.json()["error"]


def test_the_sdk_over_the_network(url: str) -> None:
    with lm.Client(url.removeprefix("http://")) as client:
        coder = client.llm.model("coder")
        assert coder.infill("one two", "four", timeout=30).content == "One two three."
        assert prompt() == ["[PRE]", "one", " two", "[SUF]", "four", "[MID]"]
        limited = coder.infill_stream("a", "b", config={"max_tokens": 2})
        assert "".join(str(each) for each in limited) == "One two "
        assert limited.result().stats.stop_reason == "maxPredictedTokensReached"
        with pytest.raises(lm.UnsupportedError, match="alpha cannot fill gaps"):
            client.llm.model("alpha").infill("a", "b")
        with pytest.raises(lm.ConfigError, match="suffix"):
            coder.infill("a", None)  # type: ignore[arg-type]
        with pytest.raises(lm.UnsupportedError, match="system_prompt"):
            coder.infill("a", "b", config={"system_prompt": "x"})
