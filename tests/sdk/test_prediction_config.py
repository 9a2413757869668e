"""Settings of a prediction, by their effect on the real engine. It is served, so that the wire carries each."""

from __future__ import annotations

import math
from typing import Any

import pytest

import studiolo as lm

pytestmark = [pytest.mark.served, pytest.mark.quick_model]

PROMPT = "The best thing about"
GREEDY = {"temperature": 0, "repeat_penalty": False}


def text(llm: lm.LLM, prompt: str = PROMPT, **config: Any) -> str:
    return llm.complete(prompt, config={"max_tokens": 12, **config}).content


def test_temperature_0_repeats_and_a_high_one_varies(llm: lm.LLM) -> None:
    assert text(llm, temperature=0) == text(llm, temperature=0)
    assert len({text(llm, temperature=3, top_p=False, min_p=False, seed=seed) for seed in range(4)}) > 1


def test_a_seed_repeats(llm: lm.LLM) -> None:
    assert text(llm, temperature=1.5, seed=5) == text(llm, temperature=1.5, seed=5)
    assert len({text(llm, temperature=1.5, seed=seed) for seed in range(5)}) > 1
    assert len({text(llm, temperature=1.5, seed=-1) for _ in range(5)}) > 1, "-1 is a random one"


@pytest.mark.parametrize("one", [{"top_k": 1}, {"top_p": 0.0001}, {"min_p": 1.0}])
def test_a_sampler_that_leaves_one_candidate_takes_the_likeliest(llm: lm.LLM, one: dict[str, Any]) -> None:
    hot = {"temperature": 2, "repeat_penalty": False, "top_k": 0, "top_p": False, "min_p": False}
    assert text(llm, **{**hot, **one, "seed": 3}) == text(llm, **GREEDY)
    assert text(llm, **{**hot, "seed": 3}) != text(llm, **GREEDY)


def test_locally_typical_sampling_leaves_out_what_is_untypical(llm: lm.LLM) -> None:
    hot = {"temperature": 1, "repeat_penalty": False, "top_k": 0, "top_p": False, "min_p": False}
    narrow = {text(llm, **hot, locally_typical_sampling=0.01, seed=seed, max_tokens=1) for seed in range(12)}
    wide = {text(llm, **hot, seed=seed, max_tokens=1) for seed in range(12)}
    assert len(narrow) < len(wide)


def test_mirostat_keeps_to_a_level_of_surprise(llm: lm.LLM) -> None:
    def run(target: float) -> str:
        mirostat = {"version": 2, "learning_rate": 1.0, "target_entropy": target}
        return text(llm, temperature=1, repeat_penalty=False, mirostat_sampling=mirostat, seed=1, max_tokens=30)

    assert run(0.0) != run(12.0)
    calm = llm.complete(PROMPT, config={**GREEDY, "max_tokens": 10}).content
    assert run(0.0)[-20:] != run(12.0)[-20:]
    camel = {"mirostatSampling": {"version": 0, "learningRate": 0.5, "targetEntropy": 3}}
    assert llm.complete(PROMPT, config={**GREEDY, **camel, "max_tokens": 10}).content == calm


def test_logit_bias_forces_and_forbids_tokens(llm: lm.LLM) -> None:
    (banana,) = llm.tokenize(" water")
    assert text(llm, **GREEDY, max_tokens=2, logit_bias=[(banana, 100.0)]) == " water water"
    (first,) = llm.tokenize(text(llm, **GREEDY, max_tokens=1))
    forbidden = text(llm, **GREEDY, max_tokens=1, logit_bias=[[first, "-inf"]])
    assert llm.tokenize(forbidden) != [first]


def test_max_tokens(llm: lm.LLM) -> None:
    result = llm.complete("Once upon a time", config={"max_tokens": 3, "temperature": 0})
    assert (result.stats.predicted_tokens_count, result.stats.stop_reason) == (3, "maxPredictedTokensReached")
    assert llm.complete("Hi", config={"max_tokens": 1}).prediction_config.max_tokens == 1
    unlimited = {"max_tokens": -1, "temperature": 0, "stop_strings": ["."]}
    assert llm.complete("Once upon a time", config=unlimited).prediction_config.max_tokens is False


def test_what_only_began_as_a_stop_string_is_given_out(llm: lm.LLM) -> None:
    whole = llm.complete("Count: 1 2 3 4 5 6", config={**GREEDY, "max_tokens": 10}).content
    result = llm.complete("Count: 1 2 3 4 5 6", config={**GREEDY, "max_tokens": 10, "stop_strings": ["7 8 zebra"]})
    assert result.content == whole
    assert result.stats.stop_reason == "maxPredictedTokensReached"


def test_log_probs_have_each_token_and_its_rivals(llm: lm.LLM) -> None:
    stream = llm.complete_stream(PROMPT, config={**GREEDY, "max_tokens": 6, "log_probs": 3})
    fragments = list(stream)
    result = stream.result()
    assert result.logprobs is not None
    assert [entry for fragment in fragments for entry in fragment.logprobs or []] == result.logprobs
    assert [entry[0].text for entry in result.logprobs] == [fragment.content for fragment in fragments]
    assert len(result.logprobs) == 6
    for entry in result.logprobs:
        assert len(entry) == 3
        assert all(candidate.logprob <= 0 for candidate in entry)
        assert [c.logprob for c in entry] == sorted((c.logprob for c in entry), reverse=True)  # greedy: likeliest first
        assert sum(math.exp(candidate.logprob) for candidate in entry) <= 1.0001
    assert result.prediction_config.log_probs == 3


def test_log_probs_of_a_token_that_is_not_among_the_likeliest(llm: lm.LLM) -> None:
    forced = {"structured": {"type": "gbnf", "gbnf_grammar": 'root ::= "zebra"'}}
    result = llm.complete(PROMPT, config={**GREEDY, **forced, "log_probs": 2})
    assert result.content == "zebra"
    assert result.logprobs is not None
    assert "".join(entry[0].text for entry in result.logprobs) == "zebra"
    assert all(len(entry) == 3 for entry in result.logprobs[:1])
    assert result.logprobs[0][0].logprob < result.logprobs[0][1].logprob


def test_log_probs_of_0_have_the_tokens_alone_and_false_none(llm: lm.LLM) -> None:
    result = llm.complete(PROMPT, config={**GREEDY, "max_tokens": 3, "log_probs": 0})
    assert result.logprobs is not None
    assert [len(entry) for entry in result.logprobs] == [1, 1, 1]
    assert llm.complete(PROMPT, config={**GREEDY, "max_tokens": 3, "log_probs": False}).logprobs is None
    assert llm.complete(PROMPT, config={**GREEDY, "max_tokens": 3}).logprobs is None


def test_log_probs_with_a_stop_string_are_of_the_text_that_was_given_out(llm: lm.LLM) -> None:
    config = {**GREEDY, "max_tokens": 20, "log_probs": 1, "stop_strings": ["8 9"]}
    result = llm.complete("Count: 1 2 3 4 5 6", config=config)
    assert result.logprobs is not None
    assert "".join(entry[0].text for entry in result.logprobs) == result.content


def test_a_grammar_holds_the_text(llm: lm.LLM) -> None:
    grammar = 'root ::= ("yes" | "no") "!"'
    result = llm.complete(PROMPT, config={"structured": {"type": "gbnf", "gbnfGrammar": grammar}})
    assert result.content in ("yes!", "no!")
    assert result.stats.stop_reason == "eosFound"
    with pytest.raises(lm.PredictionError, match="grammar"):
        llm.complete(PROMPT, config={"structured": {"type": "gbnf", "gbnf_grammar": "root ::= nowhere"}})


def test_raw_settings_win(llm: lm.LLM) -> None:
    raw = {"fields": [{"key": "llm.prediction.maxPredictedTokens", "value": {"checked": True, "value": 2}}]}
    result = llm.complete(PROMPT, config={"max_tokens": 9, "raw": raw})
    assert result.stats.predicted_tokens_count == 2
    with pytest.raises(lm.ConfigError, match="raw"):
        llm.complete(PROMPT, config={"raw": {"felds": []}})


@pytest.mark.parametrize("config", [{"cpu_threads": 2}, {"tail_free_sampling": 0.9}])
def test_what_the_engine_cannot_do_is_refused_by_name(llm: lm.LLM, config: dict[str, Any]) -> None:
    with pytest.raises(lm.UnsupportedError, match=next(iter(config))):
        llm.complete(PROMPT, config={**config, "max_tokens": 1})


def test_the_settings_in_force_are_reported(llm: lm.LLM) -> None:
    given: dict[str, Any] = {
        "temperature": 0.5,
        "max_tokens": 1,
        "stop_strings": ["x"],
        "tool_call_stop_strings": ["y"],
        "top_k": 9,
        "top_p": 0.5,
        "min_p": 0.1,
        "repeat_penalty": 1.3,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "xtc_probability": 0.1,
        "xtc_threshold": 0.2,
        "locally_typical_sampling": 0.9,
        "mirostat_sampling": lm.MirostatSetting(version=1, learning_rate=0.2, target_entropy=3),
        "logit_bias": [(5, 1.0), (6, "-inf")],
        "log_probs": 2,
        "seed": 4,
        "context_overflow_policy": "stopAtLimit",
        "structured": {"type": "gbnf", "gbnf_grammar": 'root ::= "a"'},
    }
    reported = llm.complete(PROMPT, config=given).prediction_config
    assert reported.structured == lm.StructuredSetting(type="gbnf", gbnf_grammar='root ::= "a"')
    for name, value in given.items():
        assert name == "structured" or getattr(reported, name) == value, name


def test_a_draft_model_drafts(client: lm.Client, llm: lm.LLM) -> None:
    with pytest.raises(lm.UnsupportedError, match="num_draft_tokens_exact"):
        llm.complete(PROMPT, config={"speculative_decoding_num_draft_tokens_exact": 3})
    plain = llm.complete(PROMPT, config={**GREEDY, "max_tokens": 24})
    key = "smollm2-135m-instruct"
    load = {"speculative_draft_model": key, "context_length": 512, "speculative_draft_max_tokens": 4}
    drafted = client.llm.load_new_instance(key, "drafted", config=load)
    try:
        config = {**GREEDY, "max_tokens": 24, "draft_model": key, "speculative_decoding_num_draft_tokens_exact": 4}
        stream = drafted.complete_stream(PROMPT, config=config)
        fragments = list(stream)
        result = stream.result()
        assert result.content == plain.content
        stats = result.stats
        assert stats.used_draft_model_key == key
        assert stats.total_draft_tokens_count and stats.accepted_draft_tokens_count
        reported = (stats.accepted_draft_tokens_count, stats.rejected_draft_tokens_count)
        assert sum(reported) == stats.total_draft_tokens_count  # type: ignore[arg-type]
        assert any(fragment.contains_drafted for fragment in fragments)
        assert not fragments[0].contains_drafted
        with pytest.raises(lm.ModelNotFoundError, match='"other"'):
            drafted.complete(PROMPT, config={"draft_model": "other"})
        with pytest.raises(lm.UnsupportedError, match=f"no log-probabilities of drafted tokens.*{key}"):
            drafted.complete(PROMPT, config={"log_probs": 1})
        # A draft of the same model is always taken, and four tokens are drafted at once: about four in five.
        assert stats.accepted_draft_tokens_count == stats.total_draft_tokens_count
        assert stats.total_draft_tokens_count >= 18
        unasked = list(drafted.complete_stream(PROMPT, config={**GREEDY, "max_tokens": 24}))
        assert any(fragment.contains_drafted for fragment in unasked)
        for field, value, setting in (
            ("num_draft_tokens_exact", 5, "speculative_draft_max_tokens=5"),
            ("min_draft_length_to_consider", 2, "speculative_draft_min_tokens=2"),
            ("min_continue_drafting_probability", 0.5, "speculative_draft_min_continue_probability=0.5"),
        ):
            with pytest.raises(lm.UnsupportedError, match=f"{field}' is {value}.*{setting}"):
                drafted.complete(PROMPT, config={f"speculative_decoding_{field}": value})
        as_loaded = {"speculative_decoding_min_draft_length_to_consider": 0}
        as_loaded["speculative_decoding_min_continue_drafting_probability"] = 0
        assert drafted.complete(PROMPT, config={**config, **as_loaded}).content == plain.content
    finally:
        drafted.unload()
    assert plain.stats.used_draft_model_key is None


def test_a_prediction_names_a_draft_model_of_an_instance_that_has_none(client: lm.Client) -> None:
    key = "smollm2-135m-instruct"
    plain = client.llm.load_new_instance(key, "plain", config={"context_length": 512})
    try:
        config = {**GREEDY, "max_tokens": 16}
        before = plain.complete(PROMPT, config=config)
        assert before.stats.used_draft_model_key is None
        running = plain.complete_stream(PROMPT, config={**GREEDY, "max_tokens": 60, "repeat_penalty": False})
        fragments = iter(running)
        next(fragments)
        drafted = plain.complete(
            PROMPT, config={**config, "draft_model": "smollm2-135m", "speculative_decoding_num_draft_tokens_exact": 2}
        )
        list(fragments)  # there may be none left: they are merged on a busy machine
        assert running.result().stats.predicted_tokens_count == 60, "what ran has come to its end"
        assert drafted.content == before.content
        assert drafted.stats.used_draft_model_key == key and drafted.stats.accepted_draft_tokens_count
        assert drafted.load_config.speculative_draft_max_tokens == 2
        with pytest.raises(lm.ModelNotFoundError, match='"nonesuch"'):
            plain.complete(PROMPT, config={"draft_model": "nonesuch"})
        assert plain.complete(PROMPT, config={**config, "draft_model": key}).content == before.content
    finally:
        plain.unload()
