"""Settings whose effect shows in what a model says: penalties, stop strings, the budget of reasoning.

The model is the whole default model. It is served, so that the wire carries each setting.
"""

from __future__ import annotations

from typing import Any

import pytest

import studiolo as lm

pytestmark = pytest.mark.served

PROMPT = "The best thing about"
REPETITIVE = " ".join(["ha"] * 12)
LAUGH = {"structured": {"type": "gbnf", "gbnf_grammar": 'root ::= (" ha" | " ho")+'}}
GREEDY = {"temperature": 0, "repeat_penalty": False}
CALM: dict[str, Any] = {"temperature": 0, "max_tokens": 24}
COUNTING = "Say exactly: one two three four five six seven eight nine ten"


def text(llm: lm.LLM, prompt: str = PROMPT, **config: Any) -> str:
    return llm.complete(prompt, config={"max_tokens": 12, **config}).content


@pytest.mark.parametrize("penalty", [{"repeat_penalty": 2.0}, {"presence_penalty": 5.0}, {"frequency_penalty": 5.0}])
def test_a_penalty_ends_a_repetition(llm: lm.LLM, penalty: dict[str, Any]) -> None:
    assert text(llm, REPETITIVE, **GREEDY, **LAUGH) == " ha" * 12
    assert text(llm, REPETITIVE, **{**GREEDY, **LAUGH, **penalty}) != " ha" * 12


def test_a_penalty_of_false_is_none(llm: lm.LLM) -> None:
    off = {"repeat_penalty": False, "presence_penalty": False, "frequency_penalty": False, "xtc_probability": False}
    assert text(llm, REPETITIVE, temperature=0, **LAUGH, **off) == " ha" * 12


def test_presence_is_counted_once_and_frequency_each_time(llm: lm.LLM) -> None:
    """A small penalty for presence never suffices; the same for frequency adds up."""
    assert text(llm, REPETITIVE, **GREEDY, **LAUGH, presence_penalty=0.2, max_tokens=40).count("ho") == 0
    assert text(llm, REPETITIVE, **GREEDY, **LAUGH, frequency_penalty=0.2, max_tokens=40).count("ho") > 0


def test_xtc_leaves_out_the_likeliest(llm: lm.LLM) -> None:
    first = llm.complete(PROMPT, config={**GREEDY, "max_tokens": 1, "log_probs": 5}).logprobs
    assert first is not None
    likeliest = first[0][0].text
    excluding = text(llm, **GREEDY, max_tokens=1, xtc_probability=1.0, xtc_threshold=0.001)
    assert excluding != likeliest
    assert text(llm, **GREEDY, max_tokens=1, xtc_probability=1.0, xtc_threshold=0.999) == likeliest
    assert text(llm, **GREEDY, max_tokens=1, xtc_probability=0.0, xtc_threshold=0.001) == likeliest


@pytest.mark.parametrize("stop", ["8", "7 8", " 7 8 ", "9 1"])
def test_stop_strings_in_and_across_fragments(llm: lm.LLM, stop: str) -> None:
    whole = llm.complete("Count: 1 2 3 4 5 6", config={**GREEDY, "max_tokens": 20}).content
    assert stop in whole
    stream = llm.complete_stream(
        "Count: 1 2 3 4 5 6", config={**GREEDY, "max_tokens": 20, "stop_strings": ["zz", stop]}
    )
    fragments = [fragment.content for fragment in stream]
    result = stream.result()
    assert "".join(fragments) == result.content == whole[: whole.index(stop)]
    assert (result.stats.stop_reason, result.stats.stop_string) == ("stopStringFound", stop)


def test_tool_call_stop_strings_have_a_stop_reason_of_their_own(llm: lm.LLM) -> None:
    stops = {"stop_strings": ["zz"], "tool_call_stop_strings": ["8"]}
    result = llm.complete("Count: 1 2 3 4 5 6", config={**GREEDY, "max_tokens": 20, **stops})
    assert (result.stats.stop_reason, result.stats.stop_string) == ("toolCalls", "8")


def test_reasoning_is_cut_short_at_its_budget(llm: lm.LLM) -> None:
    plain = llm.respond(COUNTING, config=CALM)
    first, second = plain.content.split()[:2]
    parsing = {"enabled": True, "start_string": first, "end_string": "</think>"}
    config = {**CALM, "reasoning_parsing": parsing, "reasoning_budget": 3}
    result = llm.respond(COUNTING, config=config)
    thought = result.reasoning_content
    assert thought and plain.content.startswith(first + thought) and second in thought
    assert len(llm.tokenize(thought)) == 3
    assert result.content.startswith(f"{first}{thought}</think>\n\n")
    prompt = llm.apply_prompt_template(COUNTING)
    stats = result.stats
    assert stats.prompt_tokens_count == llm.count_tokens(prompt)
    answer = result.non_reasoning_content.removeprefix("\n\n")
    assert answer and stats.predicted_tokens_count is not None and 4 < stats.predicted_tokens_count <= 24
    assert stats.total_tokens_count == stats.prompt_tokens_count + stats.predicted_tokens_count
    # What follows is what the model says after that prompt.
    follows = llm.complete(f"{prompt}{first}{thought}</think>\n\n", config=CALM).content
    assert follows.startswith(answer)
    none = llm.respond(COUNTING, config={**config, "reasoning_budget": 0})
    assert none.content.startswith(f"{first}</think>\n\n") and none.reasoning_content == ""
    wide = llm.respond(COUNTING, config={**config, "reasoning_budget": 1000})
    assert wide.content == plain.content
