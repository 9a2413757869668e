"""Settings: what is accepted, what is refused, and how they travel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studiolo.config import (
    LoadConfig,
    MirostatSetting,
    PredictionConfig,
    StructuredSetting,
    explicit_fields,
    load_config,
    prediction_config,
)
from studiolo.errors import ConfigError, UnsupportedError
from studiolo.host.drafting import check_draft
from studiolo.protocol import kv
from studiolo.protocol.settings_keys import PREDICTION_KEYS


@pytest.mark.parametrize(
    ("given_config", "field", "value"),
    [
        ({"temperature": 0}, "temperature", 0),
        ({"maxTokens": 5}, "max_tokens", 5),
        ({"max_tokens": False}, "max_tokens", False),
        ({"stopStrings": ["a"]}, "stop_strings", ["a"]),
        ({"top_k": 3}, "top_k_sampling", 3),
        ({"topKSampling": 3}, "top_k", 3),
        ({"top_k": 40.0}, "top_k", 40),
        ({"topP": 0.5}, "top_p_sampling", 0.5),
        ({"min_p": False}, "min_p_sampling", False),
        ({"repeatPenalty": 1.2}, "repeat_penalty", 1.2),
        ({"seed": 7}, "seed", 7),
        (PredictionConfig(top_p=0.5), "top_p_sampling", 0.5),
    ],
)
def test_prediction_settings_are_accepted(given_config: Any, field: str, value: Any) -> None:
    assert getattr(prediction_config(given_config), field) == value


@pytest.mark.parametrize(
    ("given_config", "named"),
    [
        ({"temprature": 1}, "'temperature'"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"top_k": -2}, "top_k"),
        ({"log_probs": 101}, "log_probs"),
        ({"log_probs": True}, "log_probs"),
        ({"contextOverflowPolicy": "explode"}, "context_overflow_policy"),
        ({"xtc_probability": 1.5}, "xtc_probability"),
        ({"mirostatSampling": {"version": 3}}, "mirostat_sampling.version"),
        ({"mirostat_sampling": {"version": 2, "learning_rate": float("inf")}}, "mirostat_sampling"),
        ({"logitBias": [[1, "+inf"]]}, "logit_bias[0][1]"),
        ({"logit_bias": [[-1, 2]]}, "logit_bias[0][0]"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"structured": {"type": "xml"}}, "structured.type"),
        ({"structured": {"type": "gbnf"}}, "gbnf_grammar"),
        ({"cpuThreads": 0}, "cpu_threads"),
        ({"top_k": 1.5}, "top_k"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"stop_strings": "a"}, "stop_strings"),
        ({"stop_strings": ["a", 3]}, "stop_strings[1]"),
        ({"seed": 2**40}, "seed"),
        ({"top_k": 1, "top_k_sampling": 2}, "top_k"),
        (PredictionConfig(temperature="hot"), "temperature"),  # type: ignore[arg-type]
        (3, "int"),
    ],
)
def test_a_wrong_prediction_setting_is_refused_by_name(given_config: Any, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        prediction_config(given_config)
    assert named in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("given_config", "named"),
    [
        ({"contextLength": 0}, "context_length"),
        ({"gpu": {"ratio": "all"}}, "gpu.ratio"),
        ({"gpu": {"ratio": 1.5}}, "gpu.ratio"),
        ({"llamaKCacheQuantizationType": "q9"}, "llama_k_cache_quantization_type"),
        ({"max_parallel_predictions": 0}, "max_parallel_predictions"),
        ({"context_lenght": 10}, "'context_length'"),
    ],
)
def test_a_wrong_load_setting_is_refused_by_name(given_config: Any, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(given_config)
    assert named in str(caught.value)


probabilities = st.floats(0, 1) | st.just(False)
prediction_configs = st.builds(
    PredictionConfig,
    temperature=st.none() | st.floats(0, 10),
    max_tokens=st.none() | st.integers(1, 10**6) | st.just(False),
    stop_strings=st.none() | st.lists(st.text(min_size=1)),
    top_k_sampling=st.none() | st.integers(0, 1000),
    top_p_sampling=st.none() | probabilities,
    min_p_sampling=st.none() | probabilities,
    repeat_penalty=st.none() | st.floats(0.01, 10) | st.just(False),
    seed=st.none() | st.integers(0, 2**32 - 1),
    context_overflow_policy=st.none() | st.sampled_from(["stopAtLimit", "truncateMiddle", "rollingWindow"]),
    structured=st.none()
    | st.builds(StructuredSetting, type=st.just("json"), json_schema=st.just({"type": "object", "aB": {"c_d": 1}})),
    presence_penalty=st.none() | st.floats(-2, 2) | st.just(False),
    frequency_penalty=st.none() | st.floats(-2, 2) | st.just(False),
    xtc_probability=st.none() | probabilities,
    xtc_threshold=st.none() | probabilities,
    locally_typical_sampling=st.none() | probabilities,
    mirostat_sampling=st.none() | st.builds(MirostatSetting, version=st.sampled_from([0, 1, 2])),
    logit_bias=st.none() | st.lists(st.tuples(st.integers(0, 10**5), st.floats(-9, 9) | st.just("-inf"))),
    log_probs=st.none() | st.integers(0, 100) | st.just(False),
    cpu_threads=st.none() | st.integers(1, 64),
    draft_model=st.none() | st.text(),
    speculative_decoding_num_draft_tokens_exact=st.none() | st.integers(1, 64),
    speculative_decoding_min_draft_length_to_consider=st.none() | st.integers(0, 64),
    speculative_decoding_min_continue_drafting_probability=st.none() | st.floats(0, 1),
    tool_naming=st.none() | st.sampled_from(["passThrough", "removeSpecial", "snakeCase", "camelCase"]),
    user_max_image_dimension_pixels=st.none() | st.integers(1, 4096) | st.just(False),
    ignore_model_preferred_max_image_dimension=st.none() | st.booleans(),
)
cache_types = st.none() | st.sampled_from(["f16", "q8_0", "q4_0"])
load_configs = st.builds(
    LoadConfig,
    context_length=st.none() | st.integers(1, 10**6),
    max_parallel_predictions=st.none() | st.integers(1, 64),
    flash_attention=st.none() | st.booleans(),
    try_mmap=st.none() | st.booleans(),
    rope_frequency_base=st.none() | st.floats(1, 10**6),
    llama_k_cache_quantization_type=cache_types,
    use_fp16_for_kv_cache=st.none() | st.booleans(),
    seed=st.none() | st.integers(0, 2**32 - 1),
)


@given(prediction_configs)
def test_prediction_settings_survive_the_wire(config: PredictionConfig) -> None:
    sent = msgspec.json.encode(kv.stack_of(kv.encode_prediction_config(config)))
    received = kv.decode_prediction_config(kv.flatten(msgspec.json.decode(sent, type=kv.KvConfigStack)))
    assert explicit_fields(received) == explicit_fields(config)


@settings(deadline=None)
@given(load_configs, st.sampled_from(["llm", "embedding"]))
def test_load_settings_survive_the_wire(config: LoadConfig, domain: str) -> None:
    sent = msgspec.json.encode(kv.stack_of(kv.encode_load_config(config, domain)))
    received = kv.decode_load_config(kv.flatten(msgspec.json.decode(sent, type=kv.KvConfigStack)), domain)
    assert explicit_fields(received) == explicit_fields(config)


def test_gpu_settings_survive_the_wire() -> None:
    config = load_config({"gpu": {"ratio": 0.5, "mainGpu": 1, "splitStrategy": "favorMainGpu", "disabledGpus": [2]}})
    assert kv.decode_load_config(kv.flatten(kv.stack_of(kv.encode_load_config(config)))) == config


def test_the_later_layer_wins() -> None:
    def layer(value: float) -> kv.KvLayer:
        field = kv.KvField(key="llm.prediction.temperature", value=value)
        return kv.KvLayer(layer_name="any", config=kv.KvConfig(fields=[field]))

    stack = kv.KvConfigStack(layers=[layer(0.1), layer(0.9)])
    assert kv.decode_prediction_config(kv.flatten(stack)).temperature == 0.9


def test_unknown_keys_are_passed_over() -> None:
    assert kv.decode_prediction_config({"llm.prediction.futureThing": 1}) == PredictionConfig()
    with pytest.raises(ConfigError, match="checkbox"):
        kv.decode_prediction_config({"llm.prediction.maxPredictedTokens": 5})


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())))
def test_any_dict_is_either_a_config_or_a_config_error(config: dict[str, Any]) -> None:
    try:
        prediction_config(config)
    except ConfigError as error:
        assert str(error)


def test_the_page_on_the_prediction_config_has_every_field_and_key() -> None:
    page = (Path(__file__).parents[2] / "docs" / "prediction-config.md").read_text()
    for field in PredictionConfig.__struct_fields__:
        assert f"`{field}`" in page, field
    for entry in PREDICTION_KEYS:
        assert f"`{entry.key}`" in page, entry


@pytest.mark.parametrize(("name", "other"), [("top_k", "top_k_sampling"), ("top_k_sampling", "top_k")])
def test_a_setting_with_two_names_can_be_changed_by_either(name: str, other: str) -> None:
    config = PredictionConfig(top_k=5)
    setattr(config, name, 10)
    assert getattr(config, other) == 10
    assert prediction_config(config).to_dict() == {"topKSampling": 10}
    setattr(config, name, None)
    assert prediction_config(config).to_dict() == {}


@pytest.mark.parametrize("config", [{"speculative_ngram": "ngram-mod"}, {"speculative_draft_mtp": True}])
def test_log_probabilities_are_refused_where_the_load_drafts_by_itself(config: dict[str, Any]) -> None:
    for log_probs in (0, 3):
        with pytest.raises(UnsupportedError, match="no log-probabilities of drafted tokens"):
            check_draft(prediction_config({"log_probs": log_probs}), load_config(config), None)
    check_draft(prediction_config({"log_probs": False}), load_config(config), None)
    check_draft(prediction_config({"log_probs": 3}), load_config({}), None)
