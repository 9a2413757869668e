"""Settings as they travel: stacks of key-value layers, to and from the types of :mod:`studiolo.config`.

The keys are LM Studio's. One table a kind of setting says which key holds which field; both directions read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from msgspec import Struct

from ..config import (
    LoadConfig,
    PredictionConfig,
    config_error,
    explicit_fields,
    load_config,
    prediction_config,
)
from ..errors import ConfigError, UnsupportedError
from .structs import WireStruct


class KvField(WireStruct, frozen=True):
    key: str
    value: Any = None


class KvConfig(WireStruct, frozen=True, omit_defaults=False):
    fields: list[KvField]


class KvLayer(WireStruct, frozen=True):
    layer_name: str
    config: KvConfig


class KvConfigStack(WireStruct, frozen=True, omit_defaults=False):
    """Layers of settings; where two name one key, the later layer wins."""

    layers: list[KvLayer]


@dataclass(frozen=True)
class _Key:
    """Where a field travels. A *checkbox* is ``{"checked": bool, "value": ...}``: unchecked means off."""

    field: str
    key: str
    checkbox: bool = False
    off: Any = 1
    """What an unchecked box holds: it means nothing, but LM Studio's clients refuse a box that holds nothing."""


_PREDICTION_KEYS = (
    _Key("temperature", "temperature"),
    _Key("max_tokens", "maxPredictedTokens", checkbox=True),
    _Key("stop_strings", "stopStrings"),
    _Key("tool_call_stop_strings", "toolCallStopStrings"),
    _Key("context_overflow_policy", "contextOverflowPolicy"),
    _Key("structured", "structured"),
    _Key("raw_tools", "tools"),
    _Key("top_k_sampling", "topKSampling"),
    _Key("top_p_sampling", "topPSampling", checkbox=True),
    _Key("min_p_sampling", "minPSampling", checkbox=True),
    _Key("repeat_penalty", "repeatPenalty", checkbox=True),
    _Key("presence_penalty", "llama.presencePenalty", checkbox=True),
    _Key("frequency_penalty", "llama.frequencyPenalty", checkbox=True),
    _Key("xtc_probability", "llama.xtcProbability", checkbox=True),
    _Key("xtc_threshold", "llama.xtcThreshold", checkbox=True),
    _Key("locally_typical_sampling", "llama.locallyTypicalSampling", checkbox=True),
    _Key("tail_free_sampling", "llama.tailFreeSampling", checkbox=True),
    _Key("mirostat_sampling", "llama.mirostatSampling"),
    _Key("logit_bias", "llama.logitBias"),
    _Key("log_probs", "logProbs", checkbox=True),
    _Key("seed", "seed", checkbox=True),
    _Key("prompt_template", "promptTemplate"),
    _Key("system_prompt", "systemPrompt"),
    _Key("reasoning_parsing", "reasoning.parsing"),
    _Key("reasoning_budget", "reasoning.budget"),
    _Key("cpu_threads", "llama.cpuThreads"),
    _Key("draft_model", "speculativeDecoding.draftModel"),
    _Key("speculative_decoding_num_draft_tokens_exact", "speculativeDecoding.numDraftTokensExact"),
    _Key("speculative_decoding_min_draft_length_to_consider", "speculativeDecoding.minDraftLengthToConsider"),
    _Key(
        "speculative_decoding_min_continue_drafting_probability", "speculativeDecoding.minContinueDraftingProbability"
    ),
    _Key("tool_naming", "toolNaming"),
    _Key("user_max_image_dimension_pixels", "vision.userMaxImageDimensionPixels", checkbox=True),
    _Key("ignore_model_preferred_max_image_dimension", "vision.ignoreModelPreferredMaxImageDimension"),
)

# Prediction keys of LM Studio that ask for what there is not: why not, and what there is instead.
_PREDICTION_REFUSED = {
    "contextPrefill": ("Here a chat's own messages are all that is put before an answer.", "Put them into the chat."),
    "speculativeDecoding.maxTokensToDraft": (
        "Here it goes by another name.",
        "Use speculative_decoding_num_draft_tokens_exact.",
    ),
    "speculativeDecoding.numReuseTokens": ("llama.cpp reuses what it can by itself.", "Leave it out."),
}

_LOAD_KEYS = (
    _Key("context_length", "contextLength"),
    _Key("auto_fit", "llama.autoFit"),
    _Key("max_parallel_predictions", "numParallelSessions"),
    _Key("use_unified_kv_cache", "useUnifiedKvCache"),
    _Key("offload_kv_cache_to_gpu", "offloadKVCacheToGpu"),
    _Key("num_experts", "numExperts"),
    _Key("seed", "seed", checkbox=True),
    _Key("eval_batch_size", "llama.evalBatchSize"),
    _Key("physical_batch_size", "llama.physicalBatchSize"),
    _Key("cpu_thread_pool_size", "llama.cpuThreadPoolSize"),
    _Key("flash_attention", "llama.flashAttention"),
    _Key("try_mmap", "llama.tryMmap"),
    _Key("try_direct_io", "llama.tryDirectIO"),
    _Key("keep_model_in_memory", "llama.keepModelInMemory"),
    _Key("rope_frequency_base", "llama.ropeFrequencyBase", checkbox=True),
    _Key("rope_frequency_scale", "llama.ropeFrequencyScale", checkbox=True),
    _Key("llama_k_cache_quantization_type", "llama.kCacheQuantizationType", checkbox=True, off="f16"),
    _Key("llama_v_cache_quantization_type", "llama.vCacheQuantizationType", checkbox=True, off="f16"),
    _Key("use_fp16_for_kv_cache", "llama.useFp16ForKVCache"),
    _Key("context_checkpoints", "llama.contextCheckpoints"),
    _Key("speculative_draft_model", "llama.speculativeDecoding.draftModel"),
    _Key("speculative_draft_simple", "llama.speculativeDecoding.draftSimple"),
    _Key("speculative_draft_mtp", "llama.speculativeDecoding.draftMtp"),
    _Key("speculative_draft_max_tokens", "llama.speculativeDecoding.draftMaxTokens"),
    _Key("speculative_draft_min_tokens", "llama.speculativeDecoding.draftMinTokens"),
    _Key("speculative_draft_min_continue_probability", "llama.speculativeDecoding.draftMinContinueProbability"),
    # What LM Studio has no key for.
    _Key("batch_threads", "studiolo.batchThreads"),
    _Key("prompt_cache_mib", "studiolo.promptCacheMib"),
    _Key("speculative_ngram", "studiolo.speculativeNgram"),
    _Key("pooling_type", "studiolo.poolingType"),
)
_OFFLOAD_RATIO = "llama.acceleration.offloadRatio"
_CPU_EXPERTS = "numCpuExpertLayersRatio"
_GPU_SPLIT = "load.gpuSplitConfig"
_STRICT_VRAM = "load.gpuStrictVramCap"

# Load keys of LM Studio that ask for what there is not: what they mean, and why not.
_LOAD_REFUSED = {
    "llama.argumentsOverride": ("llama_cpp_arguments_override", "the engine is not given a command line"),
    "llama.reasoningBudgetMessage": ("reasoning_budget_message", "reasoning is a setting of each prediction"),
    "promptTemplate": ("prompt_template", "the template is the model's, or a setting of each prediction"),
    "llama.speculativeDecoding.draftDflashSidecar": ("draft_dflash_sidecar", "drafting with a sidecar is not done"),
    "llama.speculativeDecoding.draftDsparkSidecar": ("draft_dspark_sidecar", "drafting with a sidecar is not done"),
    "llama.speculativeDecoding.draftMtpSidecar": ("draft_mtp_sidecar", "drafting with a sidecar is not done"),
    "envVars": ("env_vars", "the engine has the host's environment"),
}

_PREDICTION = "llm.prediction."
TOOLS_KEY = "llm.prediction.tools"
TOOL_CHOICE_KEY = "llm.prediction.toolChoice"


def flatten(stack: KvConfigStack) -> dict[str, Any]:
    """The value of every key of a stack, the later layers' winning."""
    return {field.key: field.value for layer in stack.layers for field in layer.config.fields}


def stack_of(config: KvConfig, layer: str = "apiOverride") -> KvConfigStack:
    """A stack of one layer."""
    return KvConfigStack(layers=[KvLayer(layer_name=layer, config=config)])


def encode_prediction_config(config: PredictionConfig) -> KvConfig:
    """The explicit fields of ``config``, as they travel; those of ``raw`` come last and win."""
    fields = _encode(_PREDICTION, _PREDICTION_KEYS, explicit_fields(config))
    if config.tool_choice is not None:
        fields.append(KvField(key=TOOL_CHOICE_KEY, value={"type": "generic", "mode": config.tool_choice}))
    if config.raw is not None:
        fields += _raw_fields(config.raw)
    return KvConfig(fields=fields)


def _raw_fields(raw: Mapping[str, Any]) -> list[KvField]:
    match raw:
        case {"fields": [*fields]}:
            try:
                return msgspec.convert(fields, list[KvField])
            except msgspec.ValidationError as error:
                raise config_error(error, "prediction config's raw") from None
        case _:
            raise ConfigError(
                "The prediction config's field 'raw' is wrong",
                suggestion='Its form is {"fields": [{"key": "llm.prediction.temperature", "value": 0.5}]}.',
            )


def decode_prediction_config(values: Mapping[str, Any]) -> PredictionConfig:
    """The prediction config in flattened key-value settings.

    Keys that are not known are ignored: they belong to other versions and other engines.

    Raises:
        ConfigError: a value has the wrong type or range.
    """
    fields = _decode(_PREDICTION, _PREDICTION_KEYS, values)
    match values.get(TOOL_CHOICE_KEY):
        case None:
            pass
        case {"mode": mode}:
            fields["tool_choice"] = mode
        case mode:
            fields["tool_choice"] = mode
    return prediction_config(fields)


def refuse_prediction_keys(values: Mapping[str, Any]) -> None:
    """Raise :class:`UnsupportedError` where a key of LM Studio's asks for what there is not."""
    for key, (why, instead) in _PREDICTION_REFUSED.items():
        if values.get(_PREDICTION + key) not in (None, []):
            raise UnsupportedError(
                f"The prediction setting {_PREDICTION + key!r} is not supported",
                cause=why,
                suggestion=instead,
                feature=key,
            )


def encode_load_config(config: LoadConfig, domain: str = "llm") -> KvConfig:
    """The explicit fields of ``config``, as they travel for a model of ``domain``."""
    prefix = f"{domain}.load."
    fields = _encode(prefix, _LOAD_KEYS, explicit_fields(config))
    if config.gpu_strict_vram_cap is not None:
        fields.append(KvField(key=_STRICT_VRAM, value=config.gpu_strict_vram_cap))
    gpu = config.gpu
    if gpu is not None:
        if gpu.ratio is not None:
            fields.append(KvField(key=prefix + _OFFLOAD_RATIO, value=gpu.ratio))
        if gpu.num_cpu_expert_layers_ratio is not None:
            fields.append(KvField(key=prefix + _CPU_EXPERTS, value=gpu.num_cpu_expert_layers_ratio))
        if gpu.split_strategy is not None or gpu.main_gpu is not None or gpu.disabled_gpus:
            favour = gpu.split_strategy == "favorMainGpu"
            split = {
                "strategy": "priorityOrder" if favour else "evenly",
                "disabledGpus": gpu.disabled_gpus or [],
                "priority": [gpu.main_gpu] if favour and gpu.main_gpu is not None else [],
                "customRatio": [],
            }
            fields.append(KvField(key=_GPU_SPLIT, value=split))
    return KvConfig(fields=fields)


def decode_load_config(values: Mapping[str, Any], domain: str = "llm") -> LoadConfig:
    """The load config in flattened key-value settings.

    Keys of other engines (``llm.load.mlx.*`` and the like) and of other versions are ignored: LM Studio's clients send
    them beside those of this engine.

    Raises:
        ConfigError: a value has the wrong type or range, or does not fit the rest.
        UnsupportedError: a key of LM Studio's asks for what there is not.
    """
    prefix = f"{domain}.load."
    for key, (name, why) in _LOAD_REFUSED.items():
        value = values.get(key if key == "envVars" else prefix + key)
        if value not in (None, False, "", [], {}):
            raise UnsupportedError(
                f"The load config's field {name!r} is not supported",
                cause=f"Here {why}.",
                suggestion="Leave it out.",
                feature=name,
            )
    fields = _decode(prefix, _LOAD_KEYS, values)
    if not fields.get("speculative_draft_model"):  # an empty name means none
        fields.pop("speculative_draft_model", None)
    if (strict := values.get(_STRICT_VRAM)) is not None:
        fields["gpu_strict_vram_cap"] = strict
    gpu: dict[str, Any] = {}
    if (ratio := values.get(prefix + _OFFLOAD_RATIO)) is not None:
        gpu["ratio"] = ratio
    if (ratio := values.get(prefix + _CPU_EXPERTS)) is not None:
        gpu["num_cpu_expert_layers_ratio"] = ratio
    if (split := values.get(_GPU_SPLIT)) is not None:
        if not isinstance(split, dict):
            raise ConfigError(f"The setting {_GPU_SPLIT} is not an object")
        gpu |= _decode_split(cast("dict[str, Any]", split))
    if gpu:
        fields["gpu"] = gpu
    return load_config(fields)


def _decode_split(split: dict[str, Any]) -> dict[str, Any]:
    gpu: dict[str, Any] = {}
    if split.get("disabledGpus"):
        gpu["disabled_gpus"] = split["disabledGpus"]
    match split:
        case {"strategy": "priorityOrder", "priority": [main, *_]}:
            gpu |= {"split_strategy": "favorMainGpu", "main_gpu": main}
        case {"strategy": "custom"}:
            raise UnsupportedError(
                "This version of studiolo does not split a model over GPUs by custom ratios",
                feature="gpu.split_strategy",
                engine="studiolo",
            )
        case _:
            pass
    return gpu


def _encode(prefix: str, keys: Iterable[_Key], fields: Mapping[str, Any]) -> list[KvField]:
    encoded: list[KvField] = []
    for entry in keys:
        value = fields.get(entry.field)
        if value is None:
            continue
        if entry.checkbox:
            value = {"checked": False, "value": entry.off} if value is False else {"checked": True, "value": value}
        elif isinstance(value, Struct):
            value = _camel_case_keys(value)
        encoded.append(KvField(key=prefix + entry.key, value=value))
    return encoded


def _camel_case_keys(value: Any) -> Any:
    """Nested settings as they travel."""
    if not isinstance(value, Struct):
        return value
    named = {name: _camel_case_keys(item) for name, item in explicit_fields(value).items()}
    return {re.sub(r"_(\w)", lambda found: found[1].upper(), name): item for name, item in named.items()}


def _decode(prefix: str, keys: Iterable[_Key], values: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for entry in keys:
        value = values.get(prefix + entry.key)
        if value is None:
            continue
        if entry.checkbox:
            value = _uncheck(entry, value)
        if value is not None:
            fields[entry.field] = value
    return fields


def _uncheck(entry: _Key, box: Any) -> Any:
    match box:
        case {"checked": True, "value": value}:
            return value
        case {"checked": False}:
            return None if entry.field == "seed" else False
        case _:
            raise ConfigError(
                f"The setting {entry.key!r} is not a checkbox",
                cause=f'It came as {box!r}; the form is {{"checked": true, "value": ...}}.',
            )
