"""The settings of a prediction and structured output, asked for by the official Python client."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from studiolo.paths import Home
from tests.support.running import environment, serving

PROGRAM = """
import sys
import lmstudio as lm
import pydantic

class Book(pydantic.BaseModel):
    title: str = pydantic.Field(max_length=20)
    year: int = pydantic.Field(ge=1900, le=1999)

class OtherBook(lm.BaseModel):
    title: str
    year: int

with lm.Client(sys.argv[1]) as client:
    llm = client.llm.model("smollm2-135m-instruct", config={"contextLength": 256})
    greedy = {"temperature": 0, "repeatPenalty": False}
    calm = {**greedy, "maxTokens": 120}

    # Settings, by their effect and as they are reported.
    hot = {"temperature": 2.0, "repeatPenalty": False, "maxTokens": 8, "topKSampling": 1}
    plain = llm.complete("The best thing about", config={**greedy, "maxTokens": 8})
    assert llm.complete("The best thing about", config=hot).content == plain.content
    likeliest = {**hot, "topKSampling": 0, "minPSampling": 1.0}
    assert llm.complete("The best thing about", config=likeliest).content == plain.content
    stops = {"stopStrings": ["8 9"], "toolCallStopStrings": ["zz"]}
    stopped = llm.complete("Count: 1 2 3 4 5 6", config={**greedy, **stops})
    assert stopped.stats.stop_reason == "stopStringFound" and stopped.content.strip() == "7"
    called = llm.complete("Count: 1 2 3 4 5 6", config={**greedy, "toolCallStopStrings": ["8"]})
    assert called.stats.stop_reason == "toolCalls"
    result = llm.complete("x", config={"maxTokens": 1, "minPSampling": 0.2, "contextOverflowPolicy": "rollingWindow"})
    assert result.prediction_config.min_p_sampling == 0.2
    assert result.prediction_config.context_overflow_policy == "rollingWindow"

    # Overflow.
    full = llm.complete("1 2 3 4 5 6 7", config={**greedy, "contextOverflowPolicy": "stopAtLimit"})
    assert full.stats.stop_reason == "contextLengthReached", full.stats
    past = llm.complete("1 2 3 4 5 6 7", config={**greedy, "contextOverflowPolicy": "rollingWindow", "maxTokens": 300})
    assert past.stats.stop_reason == "maxPredictedTokensReached" and past.stats.predicted_tokens_count == 300
    cut = llm.complete("word " * 900, config={**greedy, "contextOverflowPolicy": "truncateMiddle", "maxTokens": 4})
    assert cut.stats.prompt_tokens_count == 252

    # Structured output.
    for form in (Book, OtherBook, Book.model_json_schema(), {"type": "json", "jsonSchema": Book.model_json_schema()}):
        result = llm.respond("Describe the book The Hobbit.", response_format=form, config=calm)
        assert result.structured and set(result.parsed) == {"title", "year"}, result.content
    Book.model_validate(llm.complete("A book: ", response_format=Book, config=calm).parsed)
    short = llm.complete("A book: ", response_format=Book, config={**calm, "maxTokens": 3})
    assert short.parsed == short.content and short.stats.stop_reason == "maxPredictedTokensReached"
    grammar = {"type": "gbnf", "gbnfGrammar": 'root ::= "yes" | "no"'}
    assert llm.complete("Is it? ", response_format=grammar, config=calm).content in ("yes", "no")

    # What cannot be done is an error.
    no_schema = {"structured": {"type": "json", "jsonSchema": {"properties": {"a": {"type": "x"}}}}}
    for wrong in ({"cpuThreads": 2}, {"draftModel": "nonesuch"}, no_schema):
        try:
            llm.complete("x", config={"maxTokens": 1, **wrong})
        except lm.LMStudioServerError as error:
            assert any(word in str(error) for word in ("cpu_threads", "nonesuch", "$.properties.a.type")), error
        else:
            raise AssertionError(f"no error for {wrong}")
print("all good")
"""


def test_the_official_python_client(home: Home, tmp_path: Path) -> None:
    with serving(home, tmp_path, "--no-load") as server:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, server.address],
            env=environment(home),
            capture_output=True,
            text=True,
            timeout=150,
        )
    assert done.returncode == 0, done.stderr
    assert "all good" in done.stdout
