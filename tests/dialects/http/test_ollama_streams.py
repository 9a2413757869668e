"""Ollama's streams: tools, reasoning, faults, clients that leave, loads that take long; mostly on the fake engine."""

from __future__ import annotations

import base64
import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import studiolo_fake_engine as fake
from ollama import ChatResponse, GenerateResponse

from studiolo.config import PredictionConfig
from studiolo.dialects.http import answers
from studiolo.dialects.ollama.chat import read_messages
from studiolo.dialects.ollama.generate import GenerateBody
from studiolo.dialects.ollama.template import is_jinja, rendered
from studiolo.domain.chat import ChatRequest, Image
from studiolo.errors import InvalidRequestError
from tests.support.fake_models import add_model
from tests.support.http_server import ServerInThread
from tests.support.running import wait_until

pytestmark = pytest.mark.slow

HI = [{"role": "user", "content": "hi"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = '{"name": "weather", "arguments": {"city": "Rome"}}'
THOUGHT = ("<think>", "I ", "wonder", "</think>", "Forty", "-two.")


def ask(server: ServerInThread, path: str = "/api/chat", **body: Any) -> list[Any]:
    """The lines of an answer."""
    prompt = {"prompt": "hi"} if path == "/api/generate" else {"messages": HI}
    answer = httpx.post(f"{server.url}{path}", json={"model": "alpha", **prompt, **body}, timeout=30)
    assert answer.status_code == 200, answer.text
    kind = GenerateResponse if path == "/api/generate" else ChatResponse
    found = [json.loads(line) for line in answer.text.split("\n") if line or answer.text.endswith("\n\n")]
    for line in found:
        if "error" not in line:
            kind.model_validate_json(json.dumps(line), strict=True)
    return found


def test_calls_of_tools_come_whole_on_a_fake_engine(fake_server: ServerInThread) -> None:
    text = f"Sure. [TOOL_REQUEST]{CALL}[END_TOOL_REQUEST]\n[TOOL_REQUEST]{CALL}[END_TOOL_REQUEST]"
    fake.models["alpha"] = fake.FakeModel(tokens=[text[place : place + 7] for place in range(0, len(text), 7)])
    lines = ask(fake_server, tools=[TOOL])
    calls = [call for line in lines for call in line["message"].get("tool_calls", ())]
    assert [call["function"] for call in calls] == [
        {"index": index, "name": "weather", "arguments": {"city": "Rome"}} for index in range(2)
    ]
    assert len({call["id"] for call in calls}) == 2
    assert lines[-1]["done_reason"] == "stop" and "tool_calls" not in lines[-1]["message"]
    whole = ask(fake_server, tools=[TOOL], stream=False)[0]
    assert [call["function"] for call in whole["message"]["tool_calls"]] == [call["function"] for call in calls]
    assert whole["done_reason"] == "stop" and whole["message"]["content"].strip() == "Sure."
    assert "".join(line["message"]["content"] for line in lines) == whole["message"]["content"]


def test_a_call_that_is_cut_off_is_left_out_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(tokens=["[TOOL_REQUEST]", '{"name": "weather", ', '"arguments": {'])
    for stream in (True, False):
        last = ask(fake_server, tools=[TOOL], stream=stream, options={"num_predict": 2})[-1]
        assert last["done_reason"] == "length" and "tool_calls" not in last["message"]


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_reasoning_is_beside_the_content_on_a_fake_engine(fake_server: ServerInThread, path: str) -> None:
    def of(line: Any) -> Any:
        return line if path == "/api/generate" else line["message"]

    name = "response" if path == "/api/generate" else "content"
    fake.models["alpha"] = fake.FakeModel(tokens=THOUGHT)
    lines = [of(line) for line in ask(fake_server, path)]
    assert "".join(line.get("thinking", "") for line in lines) == "I wonder"
    assert "".join(line[name] for line in lines) == "Forty-two."
    whole = of(ask(fake_server, path, stream=False)[0])
    assert (whole["thinking"], whole[name]) == ("I wonder", "Forty-two.")


def test_a_model_that_reasons(http: httpx.Client) -> None:
    def message(think: Any) -> Any:
        body = {"model": "quick-thinking", "messages": HI, "stream": False, "think": think}
        answer = http.post("/api/chat", json={**body, "options": {"num_predict": 16, "temperature": 0}})
        assert answer.status_code == 200, answer.text
        return answer.json()["message"]

    for think in (None, True, "high"):
        assert message(think)["thinking"]
    silent = message(False)
    assert "thinking" not in silent and silent["content"]
    assert {"thinking", "tools"} <= set(http.post("/api/show", json={"model": "quick-thinking"}).json()["capabilities"])


def test_an_engine_that_dies_ends_a_stream_with_an_error_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(dies_after=2)
    lines = ask(fake_server, options={"num_predict": 10})
    assert list(lines[-1]) == ["error"] and isinstance(lines[-1]["error"], str)
    assert len(lines) > 1 and all(line["done"] is False for line in lines[:-1])
    answer = httpx.post(f"{fake_server.url}/api/chat", json={"model": "alpha", "messages": HI, "stream": False})
    assert answer.status_code >= 500 and list(answer.json()) == ["error"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slot_on_a_fake_engine(fake_server: ServerInThread, stream: bool) -> None:
    fake.models["alpha"] = fake.FakeModel(endless=True, token=fake.Step(0.01))
    with pytest.raises(httpx.ReadTimeout), httpx.Client(timeout=0.5) as client:
        body = {"model": "alpha", "prompt": "hi", "stream": stream}
        with client.stream("POST", f"{fake_server.url}/api/generate", json=body) as answer:
            until = time.monotonic() + 0.5
            for _ in answer.iter_lines():
                if time.monotonic() > until:
                    raise httpx.ReadTimeout("enough")
    wait_until(lambda: fake_server.host.requests_under_way() == 0, "the slot")


def test_a_stream_has_no_sign_of_life_while_its_model_loads_on_a_fake_engine(
    fake_server: ServerInThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "KEEP_ALIVE_SEC", 0.1)
    loaded = threading.Event()
    fake.models["alpha"] = fake.FakeModel(load=fake.Step(gate=loaded))
    body = {"model": "alpha", "messages": HI}
    with httpx.stream("POST", f"{fake_server.url}/api/chat", json=body, timeout=60) as answer:
        assert answer.status_code == 200
        time.sleep(0.5)
        loaded.set()
        lines = answer.read().decode().split("\n")
    assert lines.pop() == "" and all(json.loads(line)["model"] == "alpha" for line in lines)
    assert json.loads(lines[-1])["load_duration"] > 5e8


def test_an_answer_without_a_limit_ends_at_ten_contexts_on_a_fake_engine(fake_server: ServerInThread) -> None:
    for options in ({"num_ctx": 64}, {"num_ctx": 64, "num_predict": -1}):
        ask(fake_server, "/api/generate", options=options)
        config = fake.engines[-1].requests[-1].config
        assert (config.max_tokens, config.context_overflow_policy) == (640, "rollingWindow")
    with fake_server.host.home.settings.open("a") as settings:
        settings.write('\n[models."alpha".prediction]\nmax_tokens = 7\n')
    for options, limit in ({}, 7), ({"num_predict": 9}, 9), ({"num_predict": -1}, 640):
        ask(fake_server, "/api/generate", options=options)
        assert fake.engines[-1].requests[-1].config.max_tokens == limit


def test_the_beginning_of_a_prompt_is_kept_on_a_fake_engine(fake_server: ServerInThread) -> None:
    for number, kept in {5: 5, 0: 0, 100: 32, -1: 2}.items():
        options = {"num_ctx": 64, "num_keep": number}
        prompt = "one two" if number == -1 else "word " * 60
        ask(fake_server, "/api/generate", prompt=prompt, raw=True, options=options)
        assert fake.engines[-1].requests[-1].keep == kept


EVERY_OPTION = {
    "num_keep": 5,
    "seed": 42,
    "num_predict": 100,
    "top_k": 20,
    "top_p": 0.9,
    "min_p": 0.0,
    "typical_p": 0.7,
    "repeat_last_n": 33,
    "temperature": 0.8,
    "repeat_penalty": 1.2,
    "presence_penalty": 1.5,
    "frequency_penalty": 1.0,
    "penalize_newline": True,
    "stop": ["\n", "user:"],
    "numa": False,
    "num_ctx": 1024,
    "num_batch": 2,
    "num_gpu": 1,
    "main_gpu": 0,
    "use_mmap": True,
    "num_thread": 8,
}
"""The options of the example in Ollama's documentation."""


def test_the_options_of_the_documentation_are_taken_on_a_fake_engine(fake_server: ServerInThread) -> None:
    for _ in range(2):
        assert ask(fake_server, "/api/generate", options=EVERY_OPTION)[-1]["done"] is True
    (engine,) = fake.engines
    assert engine.spec.config.context_length == 1024 and engine.spec.config.eval_batch_size == 2
    config = engine.requests[-1].config
    assert (config.seed, config.penalty_tokens, config.locally_typical_sampling) == (42, 33, 0.7)


def test_a_server_that_is_full_says_when_to_come_back_on_a_fake_engine(fake_server: ServerInThread) -> None:
    with fake_server.host.home.settings.open("a") as settings:
        settings.write("\n[limits]\nqueue_length = 0\n")
    fake.models["alpha"] = fake.FakeModel(endless=True, token=fake.Step(0.01))
    url = f"{fake_server.url}/api/generate"
    body = {"model": "alpha", "prompt": "hi"}
    with httpx.Client(timeout=30) as client:
        streams = [client.send(client.build_request("POST", url, json=body), stream=True) for _ in range(4)]
        answer = client.post(url, json=body)
        assert answer.status_code == 503 and "retry-after" in answer.headers and list(answer.json()) == ["error"]
        for stream in streams:
            stream.close()
    wait_until(lambda: fake_server.host.requests_under_way() == 0, "the slots")


def test_a_download_is_streamed(fake_server: ServerInThread, tmp_path: Path) -> None:
    source = next(fake_server.host.home.models.rglob("beta.gguf"))
    (tmp_path / "gamma.gguf").write_bytes(source.read_bytes())
    sources = f'[{{type = "file", path = "{tmp_path}/gamma.gguf"}}]'
    fake_server.host.home.catalog.write_text(f'[models.gamma]\nfile = "fake/gamma/gamma.gguf"\nsources = {sources}\n')
    answer = httpx.post(f"{fake_server.url}/api/pull", json={"model": "gamma:latest"}, timeout=30)
    assert answer.status_code == 200, answer.text
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[0] == {"status": "pulling manifest"} and lines[-1] == {"status": "success"}
    assert any(line.get("completed") == source.stat().st_size for line in lines)
    names = [each["name"] for each in httpx.get(f"{fake_server.url}/api/tags").json()["models"]]
    assert "gamma:latest" in names
    for name in ("no-such-model", "no-such-model:8b"):
        refused = httpx.post(f"{fake_server.url}/api/pull", json={"model": name})
        assert refused.status_code == 404 and list(refused.json()) == ["error"]


SIMPLE = (
    "{{ if .System }}<s>{{ .System }}</s>{{ else }}none{{ end }}\n"
    "{{- if .Prompt }} <u>{{ .Prompt }}{{ end }} {{ .Response }}!"
)


def test_simple_templates() -> None:
    assert rendered(SIMPLE, "hi", "be") == "<s>be</s> <u>hi "
    assert rendered(SIMPLE, "hi", "") == "none <u>hi "
    assert rendered("{{/* a comment */}}{{ .Prompt }}:", "x", "") == "x:"
    for unknown in ("{{ range .Messages }}{{ end }}", "{{ if .System }}", "{{ end }}", "{{ .Tools }}"):
        assert not is_jinja(unknown)
        with pytest.raises(InvalidRequestError, match="template"):
            rendered(unknown, "", "")
    assert is_jinja("{{ messages[0].content }}") and is_jinja("{% if x %}{% endif %}") and not is_jinja("plain")


def test_images_are_parts_of_their_message() -> None:
    data = base64.b64encode(b"a picture").decode()
    (message,) = read_messages([{"role": "user", "content": "What?", "images": [data, data], "tool_calls": None}])
    assert message.text == "What?"
    assert [part.data for part in message.parts if isinstance(part, Image)] == [b"a picture"] * 2
    body = GenerateBody(model="eyes", prompt="What?", system="Be brief.", images=[data])
    chat = body.to_answer(PredictionConfig())
    assert isinstance(chat, ChatRequest) and [each.role for each in chat.messages] == ["system", "user"]
    assert [part.data for part in chat.messages[1].parts if isinstance(part, Image)] == [b"a picture"]


def test_a_model_that_sees_says_so_on_a_fake_engine(fake_server: ServerInThread) -> None:
    add_model(fake_server.host.home, "eyes", vision=True)
    shown = httpx.post(f"{fake_server.url}/api/show", json={"model": "eyes"}).json()
    assert shown["capabilities"] == ["completion", "vision"]
