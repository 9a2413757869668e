"""The settings of a prediction and structured output, asked for by the official Python client."""

from __future__ import annotations

import pytest

from studiolo.paths import Home
from tests.support.official_clients import run_python
from tests.support.running import Server

pytestmark = [pytest.mark.quick_model, pytest.mark.server]

PROGRAM = """
import sys
from typing import Literal

import lmstudio as lm
import pydantic

class Book(pydantic.BaseModel):
    title: str = pydantic.Field(max_length=20)
    year: int = pydantic.Field(ge=1900, le=1999)

class OtherBook(lm.BaseModel):
    title: Literal["Emma", "The Hobbit"]
    year: Literal[1815, 1937]

with lm.Client(sys.argv[1]) as client:
    llm = client.llm.model("smollm2-135m-instruct", config={"contextLength": 512})
    small = client.llm.load_new_instance("smollm2-135m-instruct", config={"contextLength": 64})
    greedy = {"temperature": 0, "repeatPenalty": False}
    calm = {**greedy, "maxTokens": 120}

    # Settings, by their effect and as they are reported.
    hot = {"temperature": 2.0, "repeatPenalty": False, "maxTokens": 8, "topKSampling": 1}
    plain = llm.complete("The best thing about", config={**greedy, "maxTokens": 8})
    assert llm.complete("The best thing about", config=hot).content == plain.content
    likeliest = {**hot, "topKSampling": 0, "minPSampling": 1.0}
    assert llm.complete("The best thing about", config=likeliest).content == plain.content
    stop = plain.content[8:12]
    stops = {"stopStrings": [stop], "toolCallStopStrings": ["zz"]}
    stopped = llm.complete("The best thing about", config={**greedy, **stops})
    assert stopped.stats.stop_reason == "stopStringFound"
    assert stopped.content == plain.content.partition(stop)[0]
    called = llm.complete("The best thing about", config={**greedy, "toolCallStopStrings": [stop]})
    assert called.stats.stop_reason == "toolCalls"
    result = llm.complete("x", config={"maxTokens": 1, "minPSampling": 0.2, "contextOverflowPolicy": "rollingWindow"})
    assert result.prediction_config.min_p_sampling == 0.2
    assert result.prediction_config.context_overflow_policy == "rollingWindow"

    # Overflow.
    full = small.complete("1 2 3 4 5 6 7", config={**greedy, "contextOverflowPolicy": "stopAtLimit"})
    assert full.stats.stop_reason == "contextLengthReached", full.stats
    past = small.complete("1 2 3 4 5 6 7", config={**greedy, "contextOverflowPolicy": "rollingWindow", "maxTokens": 90})
    assert past.stats.stop_reason == "maxPredictedTokensReached" and past.stats.predicted_tokens_count == 90
    cut = small.complete("word " * 900, config={**greedy, "contextOverflowPolicy": "truncateMiddle", "maxTokens": 4})
    assert cut.stats.prompt_tokens_count == 60

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


def test_the_official_python_client(server: Server, empty_home: Home) -> None:
    assert "all good" in run_python(PROGRAM, empty_home, server.address)
