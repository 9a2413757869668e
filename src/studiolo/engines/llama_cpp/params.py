"""Settings of studiolo as llama.cpp's, under llama.cpp's own names. Source: llama.cpp, tools/server/README.md."""

from __future__ import annotations

from typing import Any

from ...config import CacheType, LoadConfig, PredictionConfig
from ...errors import UnsupportedError
from ...protocol.models import Domain

RANDOM_SEED = -1


def worker_params(config: LoadConfig, domain: Domain) -> dict[str, Any]:
    """What the worker sets on llama.cpp's parameters; ``config`` has every default filled in.

    llama.cpp divides ``n_ctx`` among its slots, so that each prediction gets the context length promised to it.
    """
    context, parallel = config.context_length, config.max_parallel_predictions
    if context is None or parallel is None:
        raise ValueError("the load config's defaults are not filled in")
    params: dict[str, Any] = {
        "n_ctx": context * parallel,
        "n_parallel": parallel,
        "n_gpu_layers": -1,
        "no_kv_offload": config.offload_kv_cache_to_gpu is False,
        "load_mode": _load_mode(config),
        "flash_attn_type": {None: "AUTO", True: "ENABLED", False: "DISABLED"}[config.flash_attention],
        "cache_type_k": _cache_type(config, config.llama_k_cache_quantization_type),
        "cache_type_v": _cache_type(config, config.llama_v_cache_quantization_type),
        "embedding": domain == "embedding",
    }
    if config.eval_batch_size is not None:
        params["n_batch"] = config.eval_batch_size
        params["n_ubatch"] = min(config.eval_batch_size, 512)
    if config.rope_frequency_base:
        params["rope_freq_base"] = config.rope_frequency_base
    if config.rope_frequency_scale:
        params["rope_freq_scale"] = config.rope_frequency_scale
    gpu = config.gpu
    if gpu is not None:
        params["gpu_ratio"] = {"off": 0.0, "max": 1.0, None: None}.get(gpu.ratio, gpu.ratio)  # type: ignore[arg-type]
        params["disabled_gpus"] = gpu.disabled_gpus or []
        if gpu.split_strategy == "favorMainGpu" and gpu.main_gpu is not None:
            params["main_gpu"] = gpu.main_gpu
            params["split_mode"] = "NONE"
    return params


def _load_mode(config: LoadConfig) -> str:
    if config.keep_model_in_memory:
        return "MLOCK" if config.try_mmap is False else "MMAP_MLOCK"
    return "NONE" if config.try_mmap is False else "AUTO"


def _cache_type(config: LoadConfig, chosen: CacheType | bool | None) -> str:
    if isinstance(chosen, str):
        return chosen.upper()
    return "F32" if config.use_fp16_for_kv_cache is False else "F16"


def completion_body(prompt: str | list[int], config: PredictionConfig, keep: int = 0) -> dict[str, Any]:
    """The body of llama-server's ``POST /completion`` for a streamed completion.

    ``false`` for a sampler is the value at which llama.cpp's has no effect.

    Parameters:
        keep: tokens of the prompt that stay when the context is full and its oldest part is dropped.

    Raises:
        UnsupportedError: the config asks for what llama.cpp does not do.
    """
    _refuse_unsupported(config)

    def effect(value: float | bool | None, off: float) -> float:
        return off if value is None or value is False else value

    body: dict[str, Any] = {
        "prompt": prompt,
        "stream": True,
        "cache_prompt": True,
        "return_progress": True,
        "n_predict": config.max_tokens or -1,
        "n_keep": keep,
        "stop": [*(config.stop_strings or []), *(config.tool_call_stop_strings or [])],
        "temperature": config.temperature,
        "top_k": config.top_k_sampling,
        "top_p": effect(config.top_p_sampling, 1.0),
        "min_p": effect(config.min_p_sampling, 0.0),
        "typical_p": effect(config.locally_typical_sampling, 1.0),
        "repeat_penalty": effect(config.repeat_penalty, 1.0),
        "presence_penalty": effect(config.presence_penalty, 0.0),
        "frequency_penalty": effect(config.frequency_penalty, 0.0),
        "xtc_probability": effect(config.xtc_probability, 0.0),
        "xtc_threshold": effect(config.xtc_threshold, XTC_THRESHOLD),
        "seed": RANDOM_SEED if config.seed is None else config.seed,
        # The last event repeats the prompt and every setting unless it is told what to bring.
        "response_fields": [
            *("content", "stop", "stop_type", "stopping_word", "truncated"),
            *("tokens_predicted", "tokens_evaluated", "timings"),
        ],
    }
    if config.mirostat_sampling is not None:
        body["mirostat"] = config.mirostat_sampling.version
        body["mirostat_eta"] = config.mirostat_sampling.learning_rate
        body["mirostat_tau"] = config.mirostat_sampling.target_entropy
    if config.logit_bias:
        body["logit_bias"] = [[token, False if bias == "-inf" else bias] for token, bias in config.logit_bias]
    if config.log_probs is not None and config.log_probs is not False:
        body["n_probs"] = max(config.log_probs, 1)  # 0 would switch the token's own off
    if config.structured is not None and config.structured.type == "gbnf":
        body["grammar"] = config.structured.gbnf_grammar
    return body


XTC_THRESHOLD = 0.1
"""LM Studio's default; it matters only where ``xtc_probability`` is set."""


def _refuse_unsupported(config: PredictionConfig) -> None:
    if config.cpu_threads is not None:
        raise _unsupported("cpu_threads", "llama.cpp sets its threads when it loads the model.")
    if config.tail_free_sampling:
        raise _unsupported("tail_free_sampling", "llama.cpp has given this sampler up; min_p_sampling took its place.")
    if config.structured is not None and config.structured.type == "json":
        raise _unsupported("structured", "JSON schemas are still to come.")
    if config.draft_model:
        raise _unsupported("draft_model", "Draft models are still to come.")


def _unsupported(field: str, cause: str) -> UnsupportedError:
    return UnsupportedError(
        f"The engine cannot do what the prediction config's field {field!r} asks for",
        cause=cause,
        suggestion="Leave the setting out.",
        data={"feature": field, "engineName": "llama.cpp", "engineType": "llama.cpp"},
    )
