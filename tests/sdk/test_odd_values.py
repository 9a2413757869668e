"""Odd values are either right or a clear error that names the place, embedded and served alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.sync.client import connect

import studiolo as lm
from tests.support.models.quick import TOKENS

pytestmark = [pytest.mark.served, pytest.mark.quick_model]

SHORT = {"max_tokens": 3, "temperature": 0}
HALF = "\ud83d"  # of an emoji
NAN, INF = float("nan"), float("inf")
TOOL = {"type": "function", "function": {"name": "look"}}


def nested(levels: int) -> dict[str, Any]:
    """A JSON schema of lists of lists."""
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    "config",
    [
        {"stop_strings": ["👍", "\0", "\n\n\n\n", "x" * 100_000]},
        {"stop_strings": [f"never {number}" for number in range(10_000)]},
        {"stop_strings": [], "tool_call_stop_strings": [], "logit_bias": []},
        {"temperature": 1e30, "top_k": 2**31 - 1, "seed": 2**32 - 1},
        {"repeat_penalty": 1e30, "presence_penalty": -1e30, "frequency_penalty": 1e30},
        {"top_p": 0.0, "min_p": 1.0, "locally_typical_sampling": 0.0, "xtc_probability": 1.0, "xtc_threshold": 0.0},
        {"mirostat_sampling": {"version": 1, "learning_rate": 1e30, "target_entropy": 1e30}},
        {"logit_bias": [[5, 1e30], [5, "-inf"], [TOKENS - 1, -1e30]], "log_probs": 100},
        {"reasoning_parsing": {"enabled": True, "start_string": "a", "end_string": "a"}, "reasoning_budget": 2**31 - 1},
        {"raw": {"fields": [{"key": "llm.prediction.of.another.version", "value": {"a": [1]}}]}},
    ],
)
def test_what_is_odd_and_allowed(llm: lm.LLM, config: dict[str, Any]) -> None:
    result = llm.complete("Hello", config={**SHORT, **config})
    assert result.stats.predicted_tokens_count in range(4)


@pytest.mark.parametrize("prompt", ["", " ", "a\0b", "👍🏽👨‍👩‍👧", "<|im_start|><|im_end|>"])
def test_prompts_of_every_kind(llm: lm.LLM, prompt: str) -> None:
    for result in (llm.complete(prompt, config=SHORT), llm.respond(prompt, config=SHORT)):
        assert result.stats.stop_reason in ("maxPredictedTokensReached", "eosFound")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"temperature": NAN}, "'temperature' is nan"),
        ({"logit_bias": [[5, INF]]}, r"'logit_bias\[0\]\[1\]' is inf"),
        ({"mirostat_sampling": {"version": 2, "learning_rate": -INF}}, "'mirostat_sampling.learning_rate' is -inf"),
        ({"raw": {"fields": [{"key": "k", "value": NAN}]}}, r"'raw.fields\[0\].value' is nan"),
        ({"temperature": 10**400}, "'temperature'"),
        ({"temperature": 1e31}, "'temperature'"),
        ({"repeat_penalty": 0}, "'repeat_penalty'"),
        ({"presence_penalty": 1e300}, "'presence_penalty'"),
        ({"stop_strings": ["a", ""]}, r"'stop_strings\[1\]'"),
        ({"tool_call_stop_strings": [""]}, r"'tool_call_stop_strings\[0\]'"),
        ({"stop_strings": [b"a"]}, r"'stop_strings\[0\]' is bytes"),
        ({"stop_strings": [HALF]}, r"'stop_strings\[0\]' is invalid Unicode"),
        ({"system_prompt": object()}, "'system_prompt'"),
        ({"raw_tools": nested(3000)}, "'raw_tools' is nested too deeply"),
        ({"raw_tools": {}}, "'type'"),
        ({"raw_tools": {"type": "toolArray", "tools": [], "force": True}}, "forces a call"),
        ({"tool_choice": "required"}, "'tool_choice' is 'required'"),
        ({"logit_bias": [[5, 1.0], [TOKENS, 1.0]]}, rf"'logit_bias\[1\]'.*0 to {TOKENS - 1}"),
        ({"logit_bias": [[token, "-inf"] for token in range(TOKENS)]}, "'logit_bias' forbids every token"),
        ({"structured": {"type": "json", "gbnf_grammar": "root ::= 'a'"}}, "'json' and has a gbnf_grammar"),
        ({"prompt_template": {"type": "manual", "manual_prompt_template": {}, "stop_strings": [""]}}, "stop_strings"),
        ({"tool_naming": "kebab-case"}, "'tool_naming'"),
        ({"user_max_image_dimension_pixels": 0}, "'user_max_image_dimension_pixels'"),
    ],
)
def test_a_wrong_value_is_refused_by_name(llm: lm.LLM, config: dict[str, Any], named: str) -> None:
    with pytest.raises(lm.ConfigError, match=named):
        llm.respond("Hello", config={**SHORT, **config})


@pytest.mark.parametrize(
    "config",
    [
        {"raw_tools": {"type": "toolArray", "tools": [TOOL]}},
        {"tool_choice": "required"},
        {"system_prompt": "Be brief."},
        {"prompt_template": {"type": "manual", "manual_prompt_template": {}}},
    ],
)
def test_what_only_a_chat_can_have_is_refused_for_a_text(llm: lm.LLM, config: dict[str, Any]) -> None:
    with pytest.raises(lm.UnsupportedError, match=f"'{next(iter(config))}' has no effect"):
        llm.complete("Hello", config={**SHORT, **config})


@pytest.mark.parametrize(
    ("config", "error", "named"),
    [
        ({"ignore_model_preferred_max_image_dimension": True}, lm.UnsupportedError, "ignore_model_preferred"),
        ({"raw": [("contextPrefill", [{"type": "jsonFile"}])]}, lm.UnsupportedError, "contextPrefill"),
        ({"raw": [("speculativeDecoding.maxTokensToDraft", 3)]}, lm.UnsupportedError, "num_draft_tokens_exact"),
        ({"raw": [("speculativeDecoding.numReuseTokens", 3)]}, lm.UnsupportedError, "numReuseTokens"),
        (
            {"reasoning_budget": 3, "structured": {"type": "gbnf", "gbnf_grammar": 'root ::= "a"'}},
            lm.UnsupportedError,
            "reasoning_budget cannot be combined with a grammar",
        ),
    ],
)
def test_what_cannot_be_is_refused(llm: lm.LLM, config: dict[str, Any], error: Any, named: str) -> None:
    if "raw" in config:
        fields = [{"key": f"llm.prediction.{key}", "value": value} for key, value in config["raw"]]
        config = {"raw": {"fields": fields}}
    with pytest.raises(error, match=named):
        llm.complete("Hello", config={**SHORT, **config})


def test_half_of_a_character_is_refused_wherever_it_stands(llm: lm.LLM) -> None:
    where = r"history\.messages\[0\]\.content\[0\]\.text"
    for call, named in ((llm.complete, "'prompt'"), (llm.respond, where), (llm.apply_prompt_template, where)):
        with pytest.raises(lm.ConfigError, match=named):
            call(f"a{HALF}b")
    with pytest.raises(lm.ConfigError, match="'input' contains a lone surrogate"):
        llm.tokenize(HALF)
    with pytest.raises(lm.ConfigError, match="'preset'"):
        llm.complete("Hello", preset=HALF)
    with pytest.raises(lm.ConfigError, match=r"'structured\.json_schema\.const'"):
        llm.complete("Hello", response_format={"const": HALF})


def test_arguments_of_a_wrong_type(llm: lm.LLM) -> None:
    for prompt in (b"Hello", None, 3, ["Hello"]):
        with pytest.raises(lm.ConfigError, match="prompt"):
            llm.complete(prompt)  # type: ignore[call-overload]
    with pytest.raises(lm.ConfigError, match="'preset'"):
        llm.complete("Hello", preset=3)  # type: ignore[call-overload]
    with pytest.raises(lm.ConfigError, match="nested too deeply"):
        llm.complete("Hello", response_format=nested(3000))
    with pytest.raises(lm.ConfigError, match=r"tools\[0\]"):
        llm.apply_prompt_template("Hello", {"tool_definitions": [{}]})


async def _never() -> None:
    raise AssertionError("nobody awaits it")


@pytest.mark.parametrize(("callback", "says"), [(3, "cannot be called"), (_never, "is async")])
def test_a_callback_is_an_ordinary_function(llm: lm.LLM, callback: Any, says: str) -> None:
    for name in ("on_first_token", "on_prediction_fragment", "on_prompt_processing_progress", "on_message"):
        with pytest.raises(lm.ConfigError, match=f"{name}.*{says}"):
            llm.complete("Hello", config=SHORT, **{name: callback})
    with pytest.raises(lm.ConfigError, match=f"on_round_start.*{says}"):
        llm.act("Hello", [], on_round_start=callback)


def test_a_prompt_of_a_megabyte(llm: lm.LLM) -> None:
    with pytest.raises(lm.PromptTooLongError, match=r"at least [0-9]+ tokens"):
        llm.complete("word " * 200_000, config=SHORT)
    with pytest.raises(lm.PromptTooLongError):
        llm.respond("word " * 200_000, config=SHORT)


def _chat(*messages: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in messages]}


@pytest.mark.parametrize(
    "chat",
    [
        lm.Chat(),
        _chat(("system", "Be brief.")),
        _chat(("user", "Hi."), ("system", "Be brief.")),
        _chat(("assistant", "Hello."), ("user", "Hi.")),
        _chat(("user", "Hi."), ("assistant", "Hello.")),
        _chat(("tool", [{"content": "3"}])),
        _chat(("user", "Hi."), ("tool", [{"content": "3", "toolCallId": "nobody's"}])),
        _chat(("user", "Hi."), ("assistant", ["", {"name": "look", "arguments": {}}]), ("user", "And?")),
        _chat(("user", "")),
    ],
    ids=lambda chat: " ".join(m["role"] for m in chat["messages"]) if isinstance(chat, dict) else "empty",
)
def test_chats_in_any_order(llm: lm.LLM, chat: Any) -> None:
    result = llm.respond(chat, config=SHORT)
    assert result.stats.stop_reason in ("maxPredictedTokensReached", "eosFound")


def test_half_of_a_character_of_another_client(place: tuple[str, int], llm: lm.LLM) -> None:
    """Others write it as an escape, which is well-formed JSON and no text."""
    if place[0] == "embedded":
        return
    with connect(f"ws://{place[0]}/llm") as socket:
        socket.send(json.dumps({"authVersion": 1, "clientIdentifier": "a", "clientPasskey": "b"}))
        socket.recv()
        specifier = {"type": "query", "query": {"identifier": llm.identifier}}
        for text in (HALF, f"{HALF} and more"):
            call = {"type": "rpcCall", "endpoint": "tokenize", "callId": 7}
            socket.send(json.dumps({**call, "parameter": {"specifier": specifier, "inputString": text}}))
            answer = json.loads(socket.recv(20))
            assert (answer["type"], answer["callId"]) == ("rpcError", 7)
            create = {"type": "channelCreate", "endpoint": "predict", "channelId": 8}
            socket.send(json.dumps({**create, "creationParameter": {"fuzzyPresetIdentifier": text}}))
            answer = json.loads(socket.recv(20))
            assert (answer["type"], answer["channelId"]) == ("channelError", 8)
