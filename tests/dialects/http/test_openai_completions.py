"""Completions by the official client's types and a real model, the log-probabilities of prompts among them."""

from __future__ import annotations

import json
import math
from typing import Any

import httpx
import openai
import pytest
from openai.types import Completion

import studiolo as lm
from tests.support.http_server import LLM, SENSIBLE
from tests.support.models.quick import TOKENS

PROMPT = "The sky is blue and the grass is"


def whole(http: httpx.Client, **body: Any) -> Any:
    answer = http.post(
        "/v1/completions", json={"model": LLM, "prompt": PROMPT, "temperature": 0, "max_tokens": 4, **body}
    )
    assert answer.status_code == 200, answer.text
    typed = answer.json()
    for choice in typed["choices"]:
        if body.get("echo"):
            without_nulls(choice["logprobs"])
    Completion.model_validate_json(json.dumps(typed), strict=True)
    return answer.json()


def without_nulls(logprobs: Any) -> None:
    """Replace the nulls of tokens without a probability, which the service has and its type has not."""
    if logprobs is not None:
        logprobs["token_logprobs"] = [each or 0.0 for each in logprobs["token_logprobs"]]
        logprobs["top_logprobs"] = [each or {} for each in logprobs["top_logprobs"]]


def frames(http: httpx.Client, **body: Any) -> list[Any]:
    settings = {"model": LLM, "prompt": PROMPT, "temperature": 0, "max_tokens": 4, "stream": True, **body}
    with http.stream("POST", "/v1/completions", json=settings) as answer:
        assert answer.status_code == 200
        texts = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    assert texts.pop() == "[DONE]"
    for text in texts:
        frame = json.loads(text)
        for choice in frame["choices"]:
            assert choice["finish_reason"] in (None, "stop", "length")
            choice["finish_reason"] = "stop"  # the service has null before the end, and its type has not
            without_nulls(choice["logprobs"])
        Completion.model_validate_json(json.dumps(frame), strict=True)
    return [json.loads(text) for text in texts]


def refusal(http: httpx.Client, **body: Any) -> Any:
    answer = http.post("/v1/completions", json={"model": LLM, "prompt": PROMPT, "max_tokens": 2, **body})
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]


def test_the_text_of_a_stream_is_that_of_the_whole_answer(http: httpx.Client, base_url: str) -> None:
    answer = whole(http)
    sent = frames(http, stream_options={"include_usage": True})
    assert "".join(frame["choices"][0]["text"] for frame in sent[:-1]) == answer["choices"][0]["text"]
    assert sent[-2]["choices"][0]["finish_reason"] == answer["choices"][0]["finish_reason"] == "length"
    assert len({(frame["id"], frame["created"], frame["object"]) for frame in sent}) == 1
    assert sent[-1]["choices"] == [] and sent[-1]["usage"]["completion_tokens"] == 4
    assert answer["usage"]["prompt_tokens"] == sent[-1]["usage"]["prompt_tokens"] == 8
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key="any") as client:
        found = client.completions.create(model=LLM, prompt=PROMPT, temperature=0, max_tokens=4)
    assert found.choices[0].text == answer["choices"][0]["text"]


def test_tokens_are_a_prompt_too(http: httpx.Client, base_url: str) -> None:
    with lm.Client(base_url.removeprefix("http://")) as client:
        tokens = client.llm.model(LLM).tokenize(PROMPT)
    text = whole(http)["choices"][0]["text"]
    assert whole(http, prompt=tokens)["choices"][0]["text"] == text
    assert [each["text"] for each in whole(http, prompt=[tokens, tokens])["choices"]] == [text, text]


def test_the_spelling_of_a_control_token_may_be_text(http: httpx.Client) -> None:
    def count(**more: Any) -> int:
        return whole(http, prompt="a<|im_end|>b", max_tokens=1, **more)["usage"]["prompt_tokens"]

    assert count() == count(control_tokens="read") == 3
    assert count(control_tokens="text") > 6
    assert refusal(http, control_tokens="tokens")["param"] == "control_tokens"
    assert refusal(http, prompt=[1, 2], control_tokens="text")["param"] == "control_tokens"


def test_the_answers_to_several_prompts_are_in_their_order(http: httpx.Client) -> None:
    settings = {"prompt": ["One, two,", "Red, green,"], "n": 2, "temperature": 1, "seed": 5, "max_tokens": 3}
    answer = whole(http, **settings)
    assert [each["index"] for each in answer["choices"]] == [0, 1, 2, 3]
    assert answer["usage"]["completion_tokens"] == 12
    alone = whole(http, **{**settings, "prompt": "Red, green,"})
    assert [each["text"] for each in alone["choices"]] == [each["text"] for each in answer["choices"][2:]]
    sent = frames(http, **settings)
    for choice in answer["choices"]:
        own = [each for frame in sent for each in frame["choices"] if each["index"] == choice["index"]]
        assert "".join(each["text"] for each in own) == choice["text"]


def test_a_stop_string_ends_the_text_before_it(http: httpx.Client) -> None:
    settings = {"model": SENSIBLE, "prompt": "1, 2, 3, 4,", "stop": ["6", "never"], "max_tokens": 12}
    choice = whole(http, **settings)["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == (" 5, ", "stop")
    assert "".join(frame["choices"][0]["text"] for frame in frames(http, **settings)) == choice["text"]


def test_version_zero_of_lm_studio_describes_the_engine(http: httpx.Client) -> None:
    settings = {"model": LLM, "prompt": PROMPT, "temperature": 0, "max_tokens": 4}
    answer = http.post("/api/v0/completions", json=settings).json()
    assert answer["choices"] == whole(http)["choices"]
    assert answer["model_info"]["format"] == "gguf" and answer["runtime"]["name"]


def test_the_best_of_several_is_returned(http: httpx.Client) -> None:
    settings = {"temperature": 1.2, "seed": 3, "max_tokens": 3, "logprobs": 0}
    several = whole(http, n=4, **settings)["choices"]
    best = whole(http, n=1, best_of=4, **settings)
    means = [sum(each["logprobs"]["token_logprobs"]) / 3 for each in several]
    assert best["choices"][0]["text"] == several[means.index(max(means))]["text"]
    assert best["usage"]["completion_tokens"] == 12
    assert refusal(http, n=2, best_of=1)["param"] == refusal(http, best_of=2, stream=True)["param"] == "best_of"


def test_a_prompt_has_its_log_probabilities(http: httpx.Client, base_url: str) -> None:
    answer = whole(http, max_tokens=0, echo=True, logprobs=3)
    choice = answer["choices"][0]
    scores = choice["logprobs"]
    assert choice["text"] == PROMPT == "".join(scores["tokens"]) and answer["usage"]["completion_tokens"] == 0
    assert scores["token_logprobs"][0] is None and scores["top_logprobs"][0] is None
    assert scores["text_offset"] == [len("".join(scores["tokens"][:index])) for index in range(len(scores["tokens"]))]
    assert all(3 <= len(each) <= 4 for each in scores["top_logprobs"][1:])
    with lm.Client(base_url.removeprefix("http://")) as client:
        tokens = client.llm.model(LLM).tokenize(PROMPT)
    compared = 0
    for index in range(2, len(tokens)):  # what the model says at each beginning of the prompt
        top = whole(http, prompt=tokens[:index], max_tokens=1, logprobs=50)["choices"][0]["logprobs"]["top_logprobs"][0]
        if (token := scores["tokens"][index]) in top:
            compared += 1
            assert top[token] == pytest.approx(scores["token_logprobs"][index], abs=0.02)
    assert compared >= 4


def test_an_error_of_one_of_several_answers_ends_a_stream(http: httpx.Client) -> None:
    assert refusal(http, prompt=["word " * 9000, "word " * 9000], stream=True)["param"] == "prompt"


@pytest.mark.parametrize("prompt", ["Hi 🦜 né, 日本 x", "Hi<|im_end|>\nno", "🦜"])
def test_every_token_of_a_prompt_has_its_log_probability(http: httpx.Client, prompt: str) -> None:
    settings = {"prompt": prompt, "max_tokens": 0, "echo": True, "logprobs": 2}
    choice = whole(http, **settings)["choices"][0]
    assert choice["text"] == prompt
    assert "<|im_end|>" not in prompt or "<|im_end|>" in choice["logprobs"]["tokens"]
    assert all(value < 0 for value in choice["logprobs"]["token_logprobs"][1:])
    assert all(1 <= len(each) <= 3 for each in choice["logprobs"]["top_logprobs"][1:])
    assert whole(http, **settings)["choices"][0] == choice


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"prompt": "How can I help you today?", "logit_bias": {"2": 100}}, "stop"),
        ({"prompt": "I like ", "logit_bias": {"187": 100}}, "length"),  # the first byte of a character
    ],
)
def test_each_token_that_is_counted_is_listed(http: httpx.Client, settings: dict[str, Any], reason: str) -> None:
    scores = whole(http, **settings, max_tokens=0, echo=True, logprobs=1)["choices"][0]["logprobs"]
    body = {**settings, "max_tokens": 1, "echo": True, "logprobs": 1}
    sent = [frame["choices"][0] for frame in frames(http, **body)]
    answer = http.post("/v1/completions", json={"model": LLM, "temperature": 0, **body}).json()
    found = answer["choices"][0]
    assert found["finish_reason"] == sent[-1]["finish_reason"] == reason
    assert found["text"] == settings["prompt"] and answer["usage"]["completion_tokens"] == 1
    for key in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
        assert found["logprobs"][key] == [each for choice in sent for each in choice["logprobs"][key]], key
        assert found["logprobs"][key][:-1] == scores[key], key  # evaluators drop the last one, which was generated
    assert (found["logprobs"]["token_logprobs"][-1] is None) == (reason == "length")


def test_a_prompt_that_can_never_fit_is_not_scored_and_its_tokens_are_not_counted(http: httpx.Client) -> None:
    fault = refusal(http, prompt="word " * 400_000, max_tokens=0, echo=True, logprobs=1)
    assert "at least" in fault["message"] and fault["param"] == "prompt", fault


def test_a_stream_scores_a_prompt_and_generates_nothing(http: httpx.Client) -> None:
    settings = {"max_tokens": 0, "echo": True, "logprobs": 1}
    answer = whole(http, **settings)
    *sent, last = frames(http, **settings, stream_options={"include_usage": True})
    assert "".join(frame["choices"][0]["text"] for frame in sent) == PROMPT
    assert sent[0]["choices"][0]["logprobs"] == answer["choices"][0]["logprobs"]
    assert sent[-1]["choices"][0]["finish_reason"] == "length"
    assert (
        last["usage"]["completion_tokens"] == 0 and last["usage"]["prompt_tokens"] == answer["usage"]["prompt_tokens"]
    )


def test_an_echo_comes_before_the_answer(http: httpx.Client) -> None:
    usual = whole(http, logprobs=1)["choices"][0]
    echoed = whole(http, echo=True, logprobs=1)["choices"][0]
    assert echoed["text"] == PROMPT + usual["text"]
    assert echoed["logprobs"]["tokens"][-4:] == usual["logprobs"]["tokens"]
    assert echoed["logprobs"]["text_offset"][-4] == len(PROMPT)
    sent = frames(http, echo=True, logprobs=1)
    joined = [token for frame in sent for token in frame["choices"][0]["logprobs"]["tokens"]]
    offsets = [each for frame in sent for each in frame["choices"][0]["logprobs"]["text_offset"]]
    assert (joined, offsets) == (echoed["logprobs"]["tokens"], echoed["logprobs"]["text_offset"])
    assert whole(http, echo=True, max_tokens=0)["choices"][0] == {
        "index": 0,
        "text": PROMPT,
        "logprobs": None,
        "finish_reason": "length",
    }


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [""], "stop": [""]}, "stop.0"),
        ({"prompt": ["a", 1]}, "prompt.1"),
        ({"prompt": [[]]}, "prompt.0"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": [2**31 - 1]}, "prompt"),
        ({"prompt": [[5], [TOKENS]], "stream": True}, "prompt"),
        ({"prompt": [TOKENS], "echo": True, "logprobs": 1, "max_tokens": 0}, "prompt"),
        ({"prompt": ["a", "word " * 9000, "b"], "echo": True, "logprobs": 1, "max_tokens": 0}, "prompt"),
        ({"suffix": "end"}, "suffix"),
        ({"suffix": "end", "stream": True}, "suffix"),
        ({"suffix": "end", "prompt": [1, 2]}, "suffix"),
        ({"suffix": "end", "echo": True}, "echo"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"logprobs": -1}, "logprobs"),
        ({"n": 128, "prompt": ["a"] * 100}, "n"),
        ({"prompt": "word " * 9000}, "prompt"),
        ({"prompt": "word " * 9000, "stream": True}, "prompt"),
        ({"prompt": "word " * 9000, "echo": True, "logprobs": 1}, "prompt"),
        ({"prompt": "word " * 9000, "echo": True, "stream": True}, "prompt"),
    ],
)
def test_a_wrong_field_is_refused_by_its_path(http: httpx.Client, body: dict[str, Any], param: str) -> None:
    whole(http, max_tokens=1)
    assert refusal(http, **body)["param"] == param


def test_reasoning_is_text_of_a_completion_on_a_fake_engine(fake_server: Any) -> None:
    import studiolo_fake_engine as fake

    fake.models["alpha"] = fake.FakeModel(tokens=("<think>", "hm", "</think>", "yes"))
    answer = httpx.post(f"{fake_server.url}/v1/completions", json={"model": "alpha", "prompt": "x"}).json()
    assert answer["choices"][0]["text"] == "<think>hm</think>yes"


def test_a_decision_between_answers(http: httpx.Client) -> None:
    body = {"model": SENSIBLE, "prompt": "The capital of France is", "choices": [" Paris", " Potato", " Rome"]}
    answer = http.post("/v1/decisions", json=body).json()
    assert answer["choice"] == " Paris" and sum(answer["probabilities"].values()) == pytest.approx(1)
    settings = {"max_tokens": 0, "echo": True, "logprobs": 0}
    scores = [
        whole(http, model=SENSIBLE, prompt=body["prompt"] + choice, **settings)["choices"][0]["logprobs"]
        for choice in (" Paris", " Rome")
    ]
    ratio = sum(scores[0]["token_logprobs"][5:]) - sum(scores[1]["token_logprobs"][5:])
    found = answer["probabilities"]
    assert math.log(found[" Paris"] / found[" Rome"]) == pytest.approx(ratio, abs=0.05)
    chat = {"model": LLM, "messages": [{"role": "user", "content": "Is ice cold?"}], "choices": ["Yes", "No"]}
    assert set(http.post("/v1/decisions", json=chat).json()["probabilities"]) == {"Yes", "No"}


def test_decisions_about_one_context(http: httpx.Client) -> None:
    questions = [
        {"question": "Is the sky blue?"},
        {"question": "How warm is it?", "levels": ["cold", "warm", "hot"]},
        {"question": "How many clouds?", "levels": [10, 20]},
    ]
    body = {"model": LLM, "context": "The sky is blue, and it is warm.", "questions": questions}
    answer = http.post("/v1/decisions", json=body).json()
    assert [each["index"] for each in answer["data"]] == [0, 1, 2]
    assert set(answer["data"][0]["probabilities"]) == {"Yes", "No"} and "level" not in answer["data"][0]
    warmth, clouds = answer["data"][1:]
    assert warmth["level"] == pytest.approx(warmth["probabilities"]["warm"] + 2 * warmth["probabilities"]["hot"])
    assert clouds["level"] == pytest.approx(10 + 10 * clouds["probabilities"]["20"])
    alone = {"model": LLM, "context": body["context"], **questions[1]}
    one = http.post("/v1/decisions", json=alone).json()
    assert one["probabilities"] == pytest.approx(warmth["probabilities"], abs=0.02)


def test_a_decision_is_calibrated_and_normalized(http: httpx.Client) -> None:
    body = {"model": LLM, "prompt": "The capital of France is", "choices": [" Paris", " Rome"]}
    plain = http.post("/v1/decisions", json=body).json()["probabilities"]
    calibration = lm.Calibration(temperature=2, bias={" Rome": 1}, error_before=0.1).to_dict()
    scaled = http.post("/v1/decisions", json={**body, "calibration": calibration}).json()["probabilities"]
    log_odds = math.log(plain[" Paris"] / plain[" Rome"]) / 2 - 1
    assert math.log(scaled[" Paris"] / scaled[" Rome"]) == pytest.approx(log_odds, abs=0.05)
    longer = {**body, "choices": [" Paris", " Rome, the city of seven hills"]}
    whole = http.post("/v1/decisions", json=longer).json()["probabilities"]
    means = http.post("/v1/decisions", json={**longer, "normalization": "tokens"}).json()["probabilities"]
    assert whole[" Paris"] > means[" Paris"]


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"choices": ["a"]}, "choices"),
        ({"choices": ["a", "a"]}, "choices"),
        ({"levels": [1, 2]}, "choices"),
        ({"prompt": None}, "question"),
        ({"messages": []}, "prompt"),
        ({"context": "Once."}, "context"),
        ({"questions": [{"question": "?"}]}, "choices"),
        ({"choices": None, "questions": [{"choices": ["a", "b"]}]}, "questions.0.question"),
        ({"choices": None, "questions": [{"question": "?", "levels": [1, "1"]}]}, "questions.0.levels"),
        ({"choices": None, "questions": []}, "questions"),
        ({"normalization": "sum"}, "normalization"),
        ({"calibration": {"temperature": 0}}, "calibration.temperature"),
    ],
    ids=str,
)
def test_a_wrong_decision_is_refused_by_name(http: httpx.Client, wrong: dict[str, Any], param: str) -> None:
    body = {"model": LLM, "prompt": "The capital of France is", "choices": ["a", "b"], **wrong}
    answer = http.post("/v1/decisions", json=body)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == param
