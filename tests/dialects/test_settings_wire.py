"""Every setting that LM Studio's client 2.0.0 sends has its effect, is refused by name, or is ignored with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studiolo.config import LoraSetting
from studiolo.errors import ConfigError, UnsupportedError
from studiolo.protocol import kv
from studiolo.protocol.settings_keys import IGNORED
from tests.support.homes import DEFAULT_MODEL
from tests.support.running import Server
from tests.support.wire_socket import Socket

pytestmark = pytest.mark.quick_model

DOCS = Path(__file__).parents[2] / "docs"
JINJA = {"type": "jinja", "jinjaPromptTemplate": {"template": "{{ messages[0].content }}"}}
SPECULATIVE = "llama.speculativeDecoding."
DRAFT = {SPECULATIVE + "draftModel": "small"}
OVERRIDE = {"disabledParameters": [], "overrideParameters": {"a": "b"}, "excludeAllConfig": False}

LOAD: dict[str, tuple[Any, dict[str, Any], Any]] = {
    # the key: a value of it, what it needs beside it, and the field and the value that it becomes
    "autoFitMinContextLength": (256, {}, ("auto_fit_min_context_length", 256)),
    "llama.autoFit": (False, {}, ("auto_fit", False)),
    "numParallelSessions": (2, {}, ("max_parallel_predictions", 2)),
    "useUnifiedKvCache": (True, {}, ("use_unified_kv_cache", True)),
    "llama.evalBatchSize": (2048, {}, ("eval_batch_size", 2048)),
    "llama.physicalBatchSize": (64, {}, ("physical_batch_size", 64)),
    "llama.tryDirectIO": (True, {}, ("try_direct_io", True)),
    "llama.contextCheckpoints": (3, {}, ("context_checkpoints", 3)),
    "llama.reasoningBudgetMessage": ("Enough.", {}, ("reasoning_budget_message", "Enough.")),
    "promptTemplate": (JINJA, {}, ("prompt_template", None)),
    SPECULATIVE + "draftMtp": (True, {}, ("speculative_draft_mtp", True)),
    SPECULATIVE + "draftSimple": (True, DRAFT, ("speculative_draft_simple", True)),
    SPECULATIVE + "draftModel": ("small", {}, ("speculative_draft_model", "small")),
    SPECULATIVE + "draftMaxTokens": (4, DRAFT, ("speculative_draft_max_tokens", 4)),
    SPECULATIVE + "draftMinTokens": (1, DRAFT, ("speculative_draft_min_tokens", 1)),
    SPECULATIVE + "draftMinContinueProbability": (0.5, DRAFT, ("speculative_draft_min_continue_probability", 0.5)),
}
PREDICTION: dict[str, tuple[Any, Any]] = {
    "reasoning.enableThinking": (False, ("enable_thinking", False)),
    "reasoning.stopStringsInReasoning": (True, ("stop_strings_in_reasoning", True)),
    "reasoning.budgetTokens": ({"checked": True, "value": 7}, ("reasoning_budget", 7)),
    "toolChoice": ({"type": "generic", "mode": "none"}, ("tool_choice", "none")),
    "llama.presencePenalty": ({"checked": True, "value": 0.5}, ("presence_penalty", 0.5)),
    "vision.userMaxImageDimensionPixels": ({"checked": True, "value": 9}, ("user_max_image_dimension_pixels", 9)),
    "studiolo.keepTokens": (5, ("keep_tokens", 5)),
    "studiolo.controlTokens": ("text", ("control_tokens", "text")),
    "studiolo.penaltyTokens": (-1, ("penalty_tokens", -1)),
    "studiolo.lora": (
        [{"adapter": "a", "scale": 1.0}, {"adapter": "b", "scale": 0.5}],
        ("lora", [LoraSetting("a"), LoraSetting("b", 0.5)]),
    ),
    "vision.ignoreModelPreferredMaxImageDimension": (False, ("ignore_model_preferred_max_image_dimension", False)),
}
REFUSED: dict[str, tuple[Any, Any]] = {
    # the key: a value that is refused, and one that says nothing
    "llama.argumentsOverride": ({"enabled": True, **OVERRIDE}, {"enabled": False, **OVERRIDE}),
    SPECULATIVE + "draftDflashSidecar": (True, False),
    SPECULATIVE + "draftDsparkSidecar": (True, False),
    SPECULATIVE + "draftMtpSidecar": (True, False),
    "numParallelSessions": (1023, 256),
    SPECULATIVE + "draftMaxTokens": (4, None),
}


@pytest.mark.parametrize("key", LOAD)
def test_a_load_setting_is_taken_and_comes_back_in_the_same_form(key: str) -> None:
    value, needs, (field, becomes) = LOAD[key]
    sent = {f"llm.load.{name}": item for name, item in {**needs, key: value}.items()}
    config = kv.decode_load_config(sent)
    assert getattr(config, field) == becomes or key == "promptTemplate"
    back = kv.flatten(kv.stack_of(kv.encode_load_config(config)))
    if key == "promptTemplate":
        back[f"llm.load.{key}"] = {name: back[f"llm.load.{key}"][name] for name in JINJA}
    assert back == sent


@pytest.mark.parametrize("key", PREDICTION)
def test_a_prediction_setting_is_taken_and_comes_back_in_the_same_form(key: str) -> None:
    value, (field, becomes) = PREDICTION[key]
    sent = {f"llm.prediction.{key}": value}
    config = kv.decode_prediction_config(sent)
    assert getattr(config, field) == becomes
    assert kv.flatten(kv.stack_of(kv.encode_prediction_config(config))) == sent


def test_a_budget_that_is_off_has_no_limit() -> None:
    off = kv.decode_prediction_config({"llm.prediction.reasoning.budgetTokens": {"checked": False, "value": 1024}})
    assert off.reasoning_budget is False
    with pytest.raises(UnsupportedError, match=r"reasoning\.budget'"):
        kv.refuse_prediction_keys({"llm.prediction.reasoning.budget": 5})


@pytest.mark.parametrize("key", REFUSED)
def test_what_cannot_be_done_is_refused_by_name(key: str) -> None:
    value, nothing = REFUSED[key]
    kv.decode_load_config({f"llm.load.{key}": nothing})
    name = key.rpartition(".")[2].replace("argumentsOverride", "arguments_override")
    words = {"numParallelSessions": "max_parallel_predictions", "draftMaxTokens": "draft_max_tokens"}.get(name, name)
    words = {"draftDflashSidecar": "dflash", "draftDsparkSidecar": "dspark", "draftMtpSidecar": "mtp"}.get(name, words)
    with pytest.raises((UnsupportedError, ConfigError), match=words):
        kv.decode_load_config({f"llm.load.{key}": value})


def test_the_page_names_what_is_ignored() -> None:
    page = (DOCS / "loading.md").read_text()
    for key in IGNORED:
        assert f"`{key.removeprefix('llm.load.')}`" in page, key


def test_settings_in_force_are_reported_and_ignored_ones_logged_once(server: Server) -> None:
    fields: dict[str, Any] = {
        **{f"{engine}.autoFit": False for engine in ("llama", "mlx", "yuzu")},
        "mlx.diskCache": True,
        "vllm.toolCallParser": "hermes",
        "futureThing": 1,
        "promptTemplate": JINJA,
        "llama.reasoningBudgetMessage": "Enough.",
        "numParallelSessions": 1,
    }
    stack = {
        "layers": [
            {
                "layerName": "apiOverride",
                "config": {"fields": [{"key": f"llm.load.{key}", "value": value} for key, value in fields.items()]},
            }
        ]
    }
    with Socket(server.address, "llm") as socket:
        for number in (1, 2):
            parameter = {"modelKey": DEFAULT_MODEL, "identifier": f"wired-{number}", "loadConfigStack": stack}
            socket.send(
                {"type": "channelCreate", "endpoint": "loadModel", "channelId": number, "creationParameter": parameter}
            )
            while (frame := socket.receive())["type"] == "channelSend":
                pass
            assert frame["type"] == "channelClose", frame
        specifier = {"specifier": {"type": "query", "query": {"identifier": "wired-1"}}}
        answer = socket.call("getLoadConfig", specifier, 3)["result"]
        load = {field["key"].removeprefix("llm.load."): field["value"] for field in answer["fields"]}
        assert (load["llama.autoFit"], load["contextLength"]) == (False, 4096)
        assert load["llama.reasoningBudgetMessage"] == "Enough."
        assert load["promptTemplate"]["jinjaPromptTemplate"] == JINJA["jinjaPromptTemplate"]
        answer = socket.call("getBasePredictionConfig", specifier, 4)["result"]
        base = {field["key"].removeprefix("llm.prediction."): field["value"] for field in answer["fields"]}
        assert base["reasoning.enableThinking"] is True
        assert base["promptTemplate"]["jinjaPromptTemplate"] == JINJA["jinjaPromptTemplate"]
    for key in ("mlx.diskCache", "vllm.toolCallParser", "futureThing"):
        assert server.said().count(f"'llm.load.{key}' has no effect") == 1, server.said()
    assert "autoFit" not in server.said()
