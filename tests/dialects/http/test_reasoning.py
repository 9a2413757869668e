"""Reasoning apart from the answer over HTTP, with answers that the fake engine is scripted to give."""

from __future__ import annotations

import json
from typing import Any

import httpx
import studiolo_fake_engine as fake

from tests.support.http_server import ServerInThread

THOUGHT = ("<think>", "I ", "wonder", "</think>", "Forty", "-two.")


def chat(server: ServerInThread, **body: Any) -> Any:
    settings = {"model": "alpha", "messages": [{"role": "user", "content": "hi"}], **body}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=settings)
    assert answer.status_code == 200, answer.text
    return answer.json()


def deltas(server: ServerInThread, **body: Any) -> list[dict[str, Any]]:
    settings = {"model": "alpha", "messages": [{"role": "user", "content": "hi"}], "stream": True, **body}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=settings) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: {")]
    return [json.loads(line)["choices"][0]["delta"] for line in lines]


def test_reasoning_is_beside_the_content_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(tokens=THOUGHT)
    answer = chat(fake_server)
    message = answer["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("I wonder", "Forty-two.")
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 4
    sent = deltas(fake_server)
    assert "".join(each.get("reasoning_content") or "" for each in sent) == "I wonder"
    assert "".join(each.get("content") or "" for each in sent) == "Forty-two."
    assert not any("think>" in json.dumps(each) for each in sent)


def test_an_answer_that_is_cut_within_its_reasoning_is_empty_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(tokens=THOUGHT)
    choice = chat(fake_server, max_tokens=2)["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "length")


def test_stop_strings_apply_to_the_answer_alone_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(tokens=THOUGHT)
    message = chat(fake_server, stop=["wonder", "two"])["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("I wonder", "Forty-")


def test_the_events_of_rest_keep_reasoning_apart_on_a_fake_engine(fake_server: ServerInThread) -> None:
    fake.models["alpha"] = fake.FakeModel(tokens=THOUGHT)
    answer = httpx.post(f"{fake_server.url}/api/v1/chat", json={"model": "alpha", "input": "hi"}).json()
    assert answer["output"] == [
        {"type": "reasoning", "content": "I wonder"},
        {"type": "message", "content": "Forty-two."},
    ]
    assert answer["stats"]["reasoning_output_tokens"] == 4
