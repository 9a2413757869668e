"""Models with hostile and broken templates, and messages that spell control tokens, on a real engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import studiolo as lm
from studiolo.paths import Home
from tests.support.embedded_host import embedded_client
from tests.support.models.vision import write_text_model
from tests.support.running import kept_workers_of, processor_sec, workers_of

LOOPS = "{% for a in range(99999999) %}{% for b in range(99999999) %}x{% endfor %}{% endfor %}"
DOUBLES = (
    "{% set n = namespace(s='x'*16) %}{% for i in range(34) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s|length }}"
)
pytestmark = pytest.mark.quick_model

ONE = {"max_tokens": 1, "temperature": 0}
MB = 10**6


@pytest.mark.parametrize(
    ("template", "cause"),
    [
        ("a\n{% for m in messages %}{{ m.content }", "line 2"),
        ("{% if tools %}" + LOOPS + "{% endif %}{{ nothing.at.all }}", "line 1"),
        ("{% macro again(x) %}{{ again(x) }}{% endmacro %}{{ again(tools) }}", "recursion"),
    ],
    ids=["syntax", "loop", "recursion"],
)
def test_a_model_with_a_wrong_template_loads(quick_home: Home, tmp_path: Path, template: str, cause: str) -> None:
    path = tmp_path / "wrong.F16.gguf"
    write_text_model(path, next(quick_home.models.rglob("SmolLM2*.gguf")), chat_template=template)
    began = processor_sec(os.getpid())
    with embedded_client(tmp_path, path) as client:
        llm = client.llm.model("wrong", config={"context_length": 512})
        assert processor_sec(os.getpid()) - began < 4
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


def test_a_prompt_that_can_never_fit_is_refused_before_it_is_tokenized(llm: lm.LLM, place: tuple[str, int]) -> None:
    calls: list[Callable[..., object]] = [llm.respond, llm.complete]
    (engine,) = workers_of(place[1])
    for call in calls:
        began = processor_sec(engine.pid)
        with pytest.raises(lm.PromptTooLongError, match="at least"):
            call("hello world " * 1_700_000, config=ONE)
        assert processor_sec(engine.pid) - began < 0.5


@pytest.mark.served
def test_templates_that_take_memory_leave_none_taken(llm: lm.LLM, place: tuple[str, int]) -> None:
    def render(template: str) -> int:
        of_request = {"type": "jinja", "jinja_prompt_template": {"template": template}}
        answer = llm.respond("hi", config={**ONE, "prompt_template": of_request})
        return answer.stats.predicted_tokens_count

    def ask_too_much(_: object) -> bool:
        with pytest.raises(lm.ConfigError, match="more memory than allowed"):
            render(DOUBLES)
        return True

    def taken() -> int:
        return sum(worker.memory_info().rss for worker in kept_workers_of(place[1]))

    assert all(map(ask_too_much, range(12)))
    assert 0 < taken() < 200 * MB
    with ThreadPoolExecutor(32) as threads:
        hostile = threads.map(ask_too_much, range(30))
        assert render("{{ messages[0].content }}") == 1
        assert llm.respond("hi", config=ONE).stats.predicted_tokens_count == 1
        assert all(hostile)
    assert 0 < taken() < 200 * MB
    for worker in kept_workers_of(place[1]):
        (peak,) = (line for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines() if "VmHWM" in line)
        assert int(peak.split()[1]) * 1024 < 100 * MB
