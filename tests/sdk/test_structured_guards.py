"""What stands between a form and an answer without it, on real engines: guards, thoughts, and what a client sees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import studiolo as lm
from studiolo.engines.llama_cpp import client as engine_client
from studiolo.paths import Home
from tests.support.embedded_host import embedded_client
from tests.support.models.built import built
from tests.support.models.thinking import write_thinking

CALM: dict[str, Any] = {"temperature": 0, "max_tokens": 60}
BOOK = {"type": "object", "properties": {"title": {"type": "string", "maxLength": 12}}, "required": ["title"]}
DIGIT = {"type": "integer", "minimum": 1, "maximum": 9}


@pytest.fixture(scope="module")
def client(quick_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lm.Client]:
    with embedded_client(tmp_path_factory.mktemp("guards"), next(quick_home.models.rglob("*.gguf"))) as client:
        yield client


def test_an_engine_that_drops_its_grammar_is_noticed_at_the_first_byte(client: lm.Client) -> None:
    llm = client.llm.model()
    grammar = {"type": "gbnf", "gbnfGrammar": '%llguidance {}\nstart: "yes" | "no"'}
    body = engine_client.completion_body

    def without_grammar(*arguments: Any) -> dict[str, Any]:
        made = body(*arguments)
        assert made.pop("grammar").startswith("%llguidance")
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_client, "completion_body", without_grammar)
        stream = llm.complete_stream("My name is", response_format=BOOK, config=CALM)
        with pytest.raises(lm.LMStudioPredictionError, match="left the form"):
            for _ in stream:
                pass
        with pytest.raises(lm.LMStudioPredictionError, match="left the form"):
            llm.complete("My name is", response_format=grammar, config=CALM)
    assert llm.complete("My name is", response_format=grammar, config=CALM).content in ("yes", "no")


@pytest.mark.parametrize("grammar", ["root ::= (", 'root ::= "a" nothing', "root ::= root", "%llguidance {}\nstart: x"])
def test_a_faulty_grammar_is_an_error_and_never_free_text(client: lm.Client, grammar: str) -> None:
    with pytest.raises(lm.LMStudioError, match="grammar"):
        client.llm.model().complete("x", response_format={"type": "gbnf", "gbnfGrammar": grammar}, config=CALM)
    assert client.llm.model().complete("x", config={"max_tokens": 1}).content is not None


def test_a_grammar_has_a_limit(client: lm.Client) -> None:
    long = {"type": "gbnf", "gbnfGrammar": 'root ::= "' + "a" * 2**18 + '"'}
    with pytest.raises(lm.UnsupportedError, match="are the limit"):
        client.llm.model().complete("x", response_format=long)


def test_an_answer_that_breaks_its_schema_says_why(client: lm.Client) -> None:
    llm = client.llm.model()
    likely = llm.complete("x", response_format=DIGIT, config=CALM)
    assert likely.structured
    result = llm.complete("x", response_format={**DIGIT, "not": {"const": likely.parsed}}, config=CALM)
    assert (result.content, result.parsed, result.structured) == (likely.content, likely.content, False)
    assert result.stats.stop_reason == "failed"
    assert "$ breaks $.not" in str(result.structured_problem)
    with pytest.raises(lm.ConfigError, match=r"\$\.not"):
        result.parsed_as(int)


def test_a_stop_string_within_the_answer_is_no_broken_schema(client: lm.Client) -> None:
    result = client.llm.model().complete("x", response_format=BOOK, config={**CALM, "stop_strings": ["title"]})
    assert result.stats.stop_reason == "stopStringFound" and not result.structured
    assert result.structured_problem == "The answer ended before it was complete: a stop string ended it"


def test_a_whole_answer_at_the_limit_is_parsed(client: lm.Client) -> None:
    llm = client.llm.model()
    full = llm.complete("x", response_format=BOOK, config=CALM)
    assert full.structured
    count = full.stats.predicted_tokens_count or 0
    limits = {
        limit: llm.complete("x", response_format=BOOK, config={**CALM, "max_tokens": limit})
        for limit in (count - 1, count)
    }
    assert any(result.structured and result.parsed == full.parsed for result in limits.values())
    for result in limits.values():
        assert result.structured or "maxPredictedTokensReached" in str(result.structured_problem)


def test_a_typo_in_a_schema_is_logged_and_returned(client: lm.Client, caplog: pytest.LogCaptureFixture) -> None:
    result = client.llm.model().complete("x", response_format={"type": "boolean", "minLenght": 3}, config=CALM)
    assert result.parsed in (True, False)
    (warning,) = result.structured_warnings
    assert warning.startswith("$.minLenght") and warning in caplog.text


def test_importing_studiolo_imports_no_library_for_schemas() -> None:
    import subprocess
    import sys

    program = "import sys, studiolo; studiolo.LLM; print([n for n in ('llguidance', 'jsonschema') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def thinking(cache_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lm.LLM]:
    """A model whose template begins a thought, and whose tags are tokens."""
    source = next(cache_home.models.rglob("SmolLM2*.gguf"))
    model = built(cache_home.root, "smol-thinking.Q4_1.gguf", write_thinking, source)
    with embedded_client(tmp_path_factory.mktemp("thinking"), model) as client:
        yield client.llm.load_new_instance("smol-thinking", "plain", config={"context_length": 512})


def test_a_thought_is_closed_where_none_is_asked_for(thinking: lm.LLM) -> None:
    result = thinking.respond("Name a book.", response_format=BOOK, config=CALM)
    assert result.reasoning_content == "" and json.loads(result.content) == result.parsed


@pytest.mark.parametrize("budget", [3, 12])
def test_with_a_reasoning_budget_the_model_thinks_first_and_answers_in_form(thinking: lm.LLM, budget: int) -> None:
    config = {**CALM, "max_tokens": 80, "reasoning_budget": budget}
    result = thinking.respond("Name a book.", response_format=BOOK, config=config)
    assert result.reasoning_content.strip() and "</think>" not in result.reasoning_content
    assert result.structured and json.loads(result.non_reasoning_content) == result.parsed
    assert list(result.parsed) == ["title"]
    assert result.content.endswith(result.non_reasoning_content) and "</think>" in result.content
