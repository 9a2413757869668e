"""Ollama's chats and prompts with the official client's types and a real model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import ollama
import pytest
from jsonschema import validate
from ollama import ChatResponse, GenerateResponse

from tests.support.homes import DEFAULT_MODEL as LLM

HELLO = [{"role": "user", "content": "Say hello."}]
OPTIONS = {"num_predict": 12, "temperature": 0}
TYPES = {"/api/chat": ChatResponse, "/api/generate": GenerateResponse}
PROMPTS: dict[str, dict[str, Any]] = {"/api/chat": {"messages": HELLO}, "/api/generate": {"prompt": "Say hello."}}
COUNTERS = {
    *("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"),
    "prompt_eval_cached_count",
}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
def client(base_url: str) -> Iterator[ollama.Client]:
    client = ollama.Client(base_url, timeout=120)
    yield client
    client._client.close()


def whole(http: httpx.Client, path: str = "/api/chat", **body: Any) -> Any:
    """The whole answer, checked."""
    settings = {"model": LLM, "options": OPTIONS, "stream": False, **PROMPTS[path]}
    answer = http.post(path, json={**settings, **body})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    TYPES[path].model_validate_json(answer.text, strict=True)
    return answer.json()


def lines(http: httpx.Client, path: str = "/api/chat", **body: Any) -> list[Any]:
    """The lines of a stream, which is the default, checked."""
    settings = {"model": LLM, "options": OPTIONS, **PROMPTS[path]}
    with http.stream("POST", path, json={**settings, **body}) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"] == "application/x-ndjson"
        texts = answer.read().decode().split("\n")
    assert texts.pop() == "" and all(texts)
    for text in texts:
        TYPES[path].model_validate_json(text, strict=True)
    found = [json.loads(text) for text in texts]
    assert [each["done"] for each in found] == [False] * (len(found) - 1) + [True]
    return found


def refusal(http: httpx.Client, status: int = 400, path: str = "/api/chat", **body: Any) -> str:
    """The error that a request gets, whole and streamed."""
    errors: list[Any] = []
    for stream in (False, True):
        settings = {"model": LLM, "options": OPTIONS, "stream": stream, **PROMPTS[path]}
        answer = http.post(path, json={**settings, **body})
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        errors.append(answer.json())
    assert errors[0] == errors[1] and list(errors[0]) == ["error"]
    return errors[0]["error"]


@pytest.mark.parametrize("path", TYPES)
def test_a_stream_has_the_text_and_the_counters_of_the_whole_answer(http: httpx.Client, path: str) -> None:
    def text(answer: Any) -> str:
        return answer["response"] if path == "/api/generate" else answer["message"]["content"]

    first = whole(http, path)
    streamed = lines(http, path)
    assert "".join(text(each) for each in streamed) == text(first) != ""
    for last in (first, streamed[-1]):
        assert last["model"] == LLM and last["done"] is True and last["done_reason"] in ("stop", "length")
        assert all(type(last[name]) is int for name in COUNTERS)
        parts = ("load_duration", "prompt_eval_duration", "eval_duration")
        assert last["total_duration"] >= sum(last[name] for name in parts)
        assert last["eval_duration"] > 0
    assert streamed[-1]["prompt_eval_count"] == first["prompt_eval_count"] > streamed[-1]["prompt_eval_cached_count"]
    assert streamed[-1]["prompt_eval_cached_count"] > 0
    assert streamed[-1]["eval_count"] == first["eval_count"] <= 12
    for each in streamed:
        assert datetime.fromisoformat(each["created_at"].replace("Z", "+00:00")).tzinfo is not None
        assert each["done"] or not COUNTERS & each.keys()


def test_the_official_client(client: ollama.Client) -> None:
    answer = client.chat(LLM, HELLO, options=OPTIONS)
    pieces = list(client.chat(LLM, HELLO, options=OPTIONS, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == answer.message.content
    assert pieces[-1].done and pieces[-1].eval_count == answer.eval_count
    generated = client.generate(LLM, "Say hello.", options=OPTIONS)
    assert generated.response == answer.message.content
    streamed = list(client.generate(LLM, "Say hello.", options=OPTIONS, stream=True))
    assert "".join(piece.response or "" for piece in streamed) == generated.response
    with pytest.raises(ollama.ResponseError, match="model 'no-such' not found") as caught:
        client.chat("no-such", HELLO)
    assert caught.value.status_code == 404


@pytest.mark.parametrize("name", [LLM, f"{LLM}:latest", LLM.upper(), "an-alias", "an-alias:latest"])
def test_names_of_a_model_and_bodies_without_a_content_type(http: httpx.Client, name: str) -> None:
    body = json.dumps({"model": name, "messages": HELLO, "stream": False, "options": {"num_predict": 1}})
    for headers in ({"content-type": "application/x-www-form-urlencoded"}, {}):
        answer = http.post("/api/chat", content=body, headers=headers)
        assert answer.status_code == 200 and answer.json()["model"] == name


@pytest.mark.parametrize("path", TYPES)
def test_an_unknown_model_is_an_error(http: httpx.Client, path: str) -> None:
    for name in ("no-such-model", "no-such-model:latest", f"{LLM}:8b"):
        assert refusal(http, 404, path, model=name) == f"model '{name}' not found"
    for missing in ("", None):
        assert "model" in refusal(http, 400, path, model=missing)


def test_a_prompt_that_does_not_fit(http: httpx.Client) -> None:
    long = [{"role": "user", "content": "word " * 9000}]
    message = refusal(http, messages=long, truncate=False)
    assert len(re.findall(r"\d{4,}", message)) == 2
    assert "shift" in refusal(http, truncate=False, shift=True)
    assert "shift" in refusal(http, shift=False)


def test_null_means_absent(http: httpx.Client) -> None:
    nulls = dict.fromkeys(("format", "keep_alive", "think", "tools", "logprobs", "top_logprobs", "truncate", "shift"))
    options = {**OPTIONS, **dict.fromkeys(("seed", "stop", "top_k", "num_ctx"))}
    assert whole(http, options=options, **nulls)["message"] == whole(http)["message"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"messages": {"messages": []}}, "messages: expected an array, got an object"),
    ({"messages": [{"role": "user"}]}, "messages.0"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
    ({"messages": [*HELLO, {"role": "user", "content": "x", "images": ["?"]}]}, "messages.1.images.0: is not base64"),
    ({"options": {"temperature": "hot"}}, "options.temperature: expected a number"),
    ({"options": {"num_predict": 0}}, "options.num_predict"),
    ({"options": {"num_predict": -5}}, "options.num_predict"),
    ({"options": {"repeat_last_n": -2}}, "options.repeat_last_n"),
    ({"options": {"tfs_z": 0.5}}, "options.tfs_z: not supported"),
    ({"options": {"mirostat_tau": 3}}, "options.mirostat_tau"),
    ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
    ({"top_logprobs": 2}, "top_logprobs: needs logprobs"),
    ({"format": "xml"}, "format"),
    ({"keep_alive": "-1"}, "keep_alive"),
    ({"keep_alive": "soon"}, "keep_alive"),
    ({"think": "hard"}, "think"),
    ({"think": True}, f'"{LLM}" does not support thinking'),
    ({"think": "high"}, f'"{LLM}" does not support thinking'),
    ({"tools": [TOOL, TOOL]}, "tools.1"),
]


@pytest.mark.parametrize(("body", "message"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_wrong_values_are_refused_by_their_path(http: httpx.Client, body: dict[str, Any], message: str) -> None:
    assert refusal(http, **body).startswith(message)


def test_a_schema_that_cannot_be_held_is_refused(http: httpx.Client) -> None:
    message = refusal(http, format={"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}})
    assert "$ref" in message or "#/$defs/none" in message


@pytest.mark.parametrize("body", ["", "{", "[]", '"x"'])
def test_bodies_that_are_no_object(http: httpx.Client, body: str) -> None:
    answer = http.post("/api/chat", content=body)
    assert answer.status_code == 400 and answer.json()["error"].startswith("The body")


def test_fields_of_a_prompt_that_are_refused(http: httpx.Client) -> None:
    for name, value in {"context": [1, 2], "width": 64}.items():
        assert refusal(http, path="/api/generate", **{name: value}).startswith(f"{name}: not supported")
    assert refusal(http, path="/api/generate", raw=True, system="x").startswith("system")
    assert refusal(http, path="/api/generate", suffix="x", system="x").startswith("system")
    assert LLM in refusal(http, path="/api/generate", suffix="x")
    assert refusal(http, path="/api/generate", template="{{ range .Messages }}x{{ end }}").startswith("template")


def test_the_spelling_of_a_control_token_in_a_raw_prompt_may_be_text(http: httpx.Client) -> None:
    def count(**more: Any) -> int:
        raw = {"prompt": "a<|im_end|>b", "raw": True, "options": {"num_predict": 1, "temperature": 0}}
        return whole(http, "/api/generate", **raw, **more)["prompt_eval_count"]

    assert count() == count(control_tokens="read") == 3
    assert count(control_tokens="text") > 6
    assert refusal(http, path="/api/generate", control_tokens="text").startswith("control_tokens: has an effect")


def test_options_change_the_answer(http: httpx.Client) -> None:
    def text(**options: Any) -> str:
        return whole(http, options={"num_predict": 12, "temperature": 0, **options})["message"]["content"]

    plain = text()
    assert text(stop=[plain[3:6]]) == text(stop=plain[3:6]) == plain[: plain.index(plain[3:6])]
    assert text(num_predict=3) != plain and plain.startswith(text(num_predict=3))
    hot = [text(temperature=2, seed=seed) for seed in (1, 1, 2)]
    assert hot[0] == hot[1] != hot[2]
    assert text(temperature=2, seed=2, top_k=1) == plain
    penalised = {"repeat_penalty": 5.0, "num_predict": 24}
    assert text(**penalised) != text(**penalised, repeat_last_n=0) == text(repeat_penalty=1.0, num_predict=24)
    assert text(mirostat=2, mirostat_tau=0.0, temperature=1, seed=1) == text(mirostat=2, mirostat_tau=0, seed=1)


def test_length_and_stop(http: httpx.Client) -> None:
    assert lines(http, options={"num_predict": 2})[-1]["done_reason"] == "length"
    ended = whole(http, options={"num_predict": 12, "temperature": 0, "stop": ["e"]})
    assert ended["done_reason"] == "stop" and "e" not in ended["message"]["content"]


def test_raw_system_and_template(http: httpx.Client) -> None:
    path = "/api/generate"
    chat = whole(http, path, system="Be brief.")["response"]
    form = "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\nSay hello.<|im_end|>\n<|im_start|>assistant\n"
    assert whole(http, path, prompt=form.format(system="Be brief."), raw=True)["response"] == chat
    simple = (
        "{{- if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}{{ if .Prompt }}<|im_start|>user\n"
        "{{ .Prompt }}<|im_end|>\n{{ end }}<|im_start|>assistant\n{{ .Response }}<|im_end|>\n"
    )
    assert whole(http, path, template=simple, system="Be brief.")["response"] == chat
    jinja = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant{{ '\n' }}"
    )
    assert whole(http, path, template=jinja, system="Be brief.")["response"] == chat
    continued = whole(http, path, prompt="One, two, three,", raw=True)
    assert continued["response"] != whole(http, path, prompt="One, two, three,")["response"]


BOOK = {
    "type": "object",
    "properties": {"kind": {"enum": ["novel", "poem"]}, "pages": {"enum": [7, 99]}},
    "required": ["kind", "pages"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("path", TYPES)
def test_the_form_of_an_answer(http: httpx.Client, path: str) -> None:
    def text(answer: Any) -> str:
        return answer["response"] if path == "/api/generate" else answer["message"]["content"]

    options = {"num_predict": 60, "temperature": 0}
    answer = whole(http, path, format=BOOK, options=options)
    validate(json.loads(text(answer)), BOOK)
    assert "".join(text(each) for each in lines(http, path, format=BOOK, options=options)) == text(answer)
    assert text(whole(http, path, format="json")).lstrip().startswith("{")
    assert text(whole(http, path, format="")) == text(whole(http, path))


def test_log_probabilities(http: httpx.Client) -> None:
    answer = whole(http, logprobs=True, top_logprobs=2, options={"num_predict": 4, "temperature": 0})
    assert "".join(each["token"] for each in answer["logprobs"]) == answer["message"]["content"]
    for each in answer["logprobs"]:
        assert each["logprob"] <= 0 and bytes(each["bytes"]).decode() == each["token"]
        assert len(each["top_logprobs"]) == 2 and each["top_logprobs"][0]["token"] == each["token"]
    streamed = lines(http, "/api/generate", logprobs=True, options={"num_predict": 4, "temperature": 0})
    tokens = [token for line in streamed for token in line.get("logprobs", ())]
    assert "".join(each["token"] for each in tokens) == "".join(line["response"] for line in streamed)
    assert all("top_logprobs" not in each for each in tokens)


def test_what_clients_send_back_of_tools(http: httpx.Client) -> None:
    call = {"function": {"name": "weather", "arguments": {"city": "Rome"}}}
    for result in ({"tool_name": "weather"}, {"tool_call_id": "call_1"}, {}):
        messages = [
            {"role": "system", "content": "Be brief."},
            *HELLO,
            {
                "role": "assistant",
                "content": "",
                "thinking": "I need a tool.",
                "tool_calls": [{**call, "id": "call_1"}],
            },
            {"role": "tool", "content": "42 degrees", **result},
        ]
        for tools in (None, [TOOL]):
            answer = whole(http, messages=messages, tools=tools, options={"num_predict": 1})
            assert answer["prompt_eval_count"] > 40


def test_an_image_is_refused_where_the_model_does_not_see(http: httpx.Client) -> None:
    picture = "iVBORw0KGgo="
    assert "image" in refusal(http, messages=[{"role": "user", "content": "What?", "images": [picture]}])
    assert "image" in refusal(http, path="/api/generate", images=[picture])
