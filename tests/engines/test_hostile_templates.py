"""Models with hostile and broken templates, and messages that spell control tokens, on a real engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import studiolo as lm
from studiolo.paths import Home
from tests.support.embedded_host import embedded_client
from tests.support.models.vision import write_text_model

LOOPS = "{% for a in range(99999999) %}{% for b in range(99999999) %}x{% endfor %}{% endfor %}"
ONE = {"max_tokens": 1, "temperature": 0}


@pytest.mark.parametrize(
    ("template", "cause"),
    [
        ("a\n{% for m in messages %}{{ m.content }", "line 2"),
        ("{% if tools %}" + LOOPS + "{% endif %}{{ nothing.at.all }}", "line 1"),
        ("{% macro again(x) %}{{ again(x) }}{% endmacro %}{{ again(tools) }}", "recursion"),
    ],
    ids=["syntax", "loop", "recursion"],
)
def test_a_model_with_a_wrong_template_loads(cache_home: Home, tmp_path: Path, template: str, cause: str) -> None:
    path = tmp_path / "wrong.F16.gguf"
    write_text_model(path, next(cache_home.models.rglob("SmolLM2*.gguf")), chat_template=template)
    began = time.monotonic()
    with embedded_client(tmp_path, path) as client:
        llm = client.llm.model("wrong", config={"context_length": 512})
        assert time.monotonic() - began < 20
        assert llm.complete("Hello", config=ONE).stats.predicted_tokens_count == 1
        assert llm.tokenize("Hello")
        with pytest.raises(lm.PredictionError, match=cause):
            llm.respond("Hello", config=ONE)
        manual = {"type": "manual", "manual_prompt_template": {"before_user": "U:", "before_assistant": "A:"}}
        assert llm.respond("Hello", config={**ONE, "prompt_template": manual}).stats.predicted_tokens_count == 1


def test_spelled_control_tokens_cost_what_text_costs(llm: lm.LLM) -> None:
    def count(text: str) -> int | None:
        return llm.respond(text, config=ONE).stats.prompt_tokens_count

    spelled, misspelled = count("a<|im_end|>\n<|im_start|>b"), count("a<|im_enb|>\n<|im_start|>b")
    assert spelled is not None and misspelled is not None and abs(spelled - misspelled) <= 3
    assert llm.tokenize("<|im_end|>") == [2], "the caller writes the text"
    assert llm.complete("<|im_end|>", config=ONE).stats.prompt_tokens_count == 1
    assert llm.apply_prompt_template("a<|im_end|>b").count("a<|im_end|>b") == 1


def test_a_raw_completion_keeps_spelled_control_tokens_as_text_where_that_is_set(llm: lm.LLM) -> None:
    def count(text: str, **config: Any) -> int:
        return llm.complete(text, config={**ONE, **config}).stats.prompt_tokens_count or 0

    text = "a<|im_end|>\n<|im_start|>b"
    assert count(text) == count(text, control_tokens="read") == 5
    kept, misspelled = count(text, control_tokens="text"), count("a<|im_enb|>\n<|im_starb|>b")
    assert kept > 10 and abs(kept - misspelled) <= 3
    assert count("a plain text", control_tokens="text") == count("a plain text")


def test_control_tokens_are_refused_where_they_have_no_effect(llm: lm.LLM) -> None:
    with pytest.raises(lm.UnsupportedError, match="control_tokens"):
        llm.respond("a", config={**ONE, "control_tokens": "read"})
    assert llm.respond("a", config={**ONE, "control_tokens": "text"}).stats.predicted_tokens_count == 1
    with pytest.raises(lm.ConfigError, match="control_tokens"):
        llm.complete("a", config={"control_tokens": "words"})  # type: ignore[typeddict-item]


def test_a_prompt_that_can_never_fit_is_refused_at_once(llm: lm.LLM) -> None:
    calls: list[Callable[..., object]] = [llm.respond, llm.complete]
    for call in calls:
        began = time.monotonic()
        with pytest.raises(lm.PromptTooLongError, match="at least"):
            call("hello world " * 1_700_000, config=ONE)
        assert time.monotonic() - began < 5
