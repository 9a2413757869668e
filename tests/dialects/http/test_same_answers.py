"""One model says the same to every dialect and to the SDK, and each setting does what it says in each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

import studiolo as lm
from tests.support.http_server import LLM

HELLO = [{"role": "user", "content": "Say hello."}]
THINKING = "quick-thinking"


def chat(http: httpx.Client, model: str, limit: int, **settings: Any) -> str:
    return _post(http, "/v1/chat/completions", model, messages=HELLO, max_tokens=limit, **settings)["choices"][0][
        "message"
    ]["content"]


def responses(http: httpx.Client, model: str, limit: int, **settings: Any) -> str:
    body = _post(http, "/v1/responses", model, input="Say hello.", max_output_tokens=limit, store=False, **settings)
    return "".join(part["text"] for item in body["output"] if item["type"] == "message" for part in item["content"])


def messages(http: httpx.Client, model: str, limit: int, **settings: Any) -> str:
    content = _post(http, "/v1/messages", model, messages=HELLO, max_tokens=limit, **settings)["content"]
    return "".join(block["text"] for block in content if block["type"] == "text")


def ollama(http: httpx.Client, model: str, limit: int, **settings: Any) -> str:
    options = {"num_predict": limit, **settings}
    return _post(http, "/api/chat", model, messages=HELLO, options=options, stream=False)["message"]["content"]


def rest(http: httpx.Client, model: str, limit: int, **settings: Any) -> str:
    body = _post(http, "/api/v1/chat", model, input="Say hello.", max_output_tokens=limit, store=False, **settings)
    return "".join(item["content"] for item in body["output"] if item["type"] == "message")


def _post(http: httpx.Client, path: str, model: str, **body: Any) -> Any:
    answer = http.post(path, json={"model": model, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


Say = Callable[..., str]
DIALECTS: list[Say] = [chat, responses, messages, ollama, rest]


@pytest.mark.parametrize("say", DIALECTS, ids=lambda say: say.__name__)
def test_a_dialect_says_what_the_sdk_says(http: httpx.Client, base_url: str, say: Say) -> None:
    with lm.Client(base_url.removeprefix("http://")) as client:
        expected = client.llm.model(LLM).respond("Say hello.", config={"temperature": 0, "max_tokens": 16}).content
    assert say(http, LLM, 16, temperature=0) == expected != ""


@pytest.mark.parametrize("say", DIALECTS, ids=lambda say: say.__name__)
def test_each_sampling_setting_alone_leaves_the_likeliest_token(http: httpx.Client, say: Say) -> None:
    hot = {"temperature": 2, "top_k": 0, "top_p": 1}
    likeliest = say(http, LLM, 10, temperature=0)
    assert say(http, LLM, 10, **hot) != likeliest
    ways: list[dict[str, Any]] = [{"top_k": 1}, {"top_p": 0}]
    if say is not messages:
        ways.append({"min_p": 1})
        seeded = [say(http, LLM, 10, **hot, seed=seed) for seed in (3, 3, 4)]
        assert seeded[0] == seeded[1] != seeded[2]
        assert say(http, LLM, 30, temperature=0, repeat_penalty=5) != say(http, LLM, 30, temperature=0)
    for way in ways:
        assert say(http, LLM, 10, **{**hot, **way}) == likeliest, way


PENALTIES = [{"presence_penalty": 2}, {"frequency_penalty": 2}]


@pytest.mark.parametrize("say", [chat, responses, ollama], ids=lambda say: say.__name__)
@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda each: next(iter(each)))
def test_each_penalty_alone_changes_the_answer(http: httpx.Client, say: Say, penalty: dict[str, Any]) -> None:
    assert say(http, LLM, 40, temperature=0, **penalty) != say(http, LLM, 40, temperature=0)


def test_a_model_that_reasons_does_so_only_where_it_is_asked_to(http: httpx.Client) -> None:
    def thoughts(path: str, **body: Any) -> Any:
        return _post(http, path, THINKING, temperature=0, **body)

    for effort, wanted in ((None, True), ("none", False), ("high", True)):
        body = thoughts("/v1/chat/completions", messages=HELLO, max_tokens=24, reasoning_effort=effort)
        message, details = body["choices"][0]["message"], body["usage"]["completion_tokens_details"]
        assert (bool(message.get("reasoning_content")), details["reasoning_tokens"] > 0) == (wanted, wanted), effort
        body = thoughts("/v1/responses", input="Say hello.", max_output_tokens=24, reasoning={"effort": effort})
        assert ("reasoning" in [item["type"] for item in body["output"]]) is wanted
    for setting, wanted in ((None, True), ("off", False), ("on", True), ("low", True)):
        body = thoughts("/api/v1/chat", input="Say hello.", max_output_tokens=24, reasoning=setting)
        assert ("reasoning" in [item["type"] for item in body["output"]]) is wanted
        assert (body["stats"]["reasoning_output_tokens"] > 0) is wanted


NULLS: dict[str, dict[str, Any]] = {
    "/v1/completions": {
        "prompt": "One, two,",
        **dict.fromkeys(("best_of", "echo", "logprobs", "n", "seed", "stop", "stream", "suffix", "user", "top_k")),
    },
    "/api/v1/chat": {
        "input": "Say hello.",
        **dict.fromkeys(("system_prompt", "integrations", "stream", "top_p", "reasoning", "context_length", "store")),
    },
}


@pytest.mark.parametrize("path", NULLS)
def test_null_is_absent(http: httpx.Client, path: str) -> None:
    limit = "max_tokens" if path == "/v1/completions" else "max_output_tokens"
    given = {"temperature": 0, limit: 6}
    plain = {name: value for name, value in NULLS[path].items() if value is not None}
    found = [_post(http, path, LLM, **given, **body) for body in (NULLS[path], plain)]
    key = "choices" if path == "/v1/completions" else "output"
    assert found[0][key] == found[1][key]


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("/v1/completions", "max_tokens", -2),
        ("/v1/responses", "max_output_tokens", -2),
        ("/v1/responses", "max_output_tokens", 0),
        ("/api/v1/chat", "max_output_tokens", 0),
        ("/api/v1/chat", "max_output_tokens", -1),
        ("/v1/completions", "num_ctx", 4096),
        ("/v1/responses", "num_ctx", 4096),
        ("/v1/embeddings", "num_ctx", 4096),
    ],
)
def test_a_limit_that_is_none_is_refused_by_name(http: httpx.Client, path: str, field: str, value: int) -> None:
    asked = "prompt" if path == "/v1/completions" else "input"
    answer = http.post(path, json={"model": LLM, asked: "hi", field: value})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == field
