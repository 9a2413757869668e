"""Settings of studiolo as llama.cpp's, under llama.cpp's own names. Source: llama.cpp, tools/server/README.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...config import (
    DEFAULT_EVAL_BATCH,
    DEFAULT_PHYSICAL_BATCH,
    UNQUANTIZED,
    CacheType,
    LoadConfig,
    LoraSetting,
    PredictionConfig,
)
from ...config.lora import lora_settings
from ...domain.models import Domain
from ...errors import UnsupportedError
from ...platform.processors import engine_threads
from ..base import Constraint, ReasoningBudget
from ..spec import EngineSpec

RANDOM_SEED = -1

NGRAM_SIMPLE_TOKENS = 8
"""Tokens that ``ngram-simple`` drafts at once, and by which it looks them up. llama.cpp's are 48 and 12: more work is
lost with a wrong draft. docs/performance.md has the figures."""


def worker_params(config: LoadConfig, domain: Domain, layers: int = 0) -> dict[str, Any]:
    """Return what the engine is started with, by the names of llama.cpp's ``common_params``.

    Both kinds of engine read it: the worker sets the parameters, a binary is given the options that set them.

    Parameters:
        config: the load config with every default filled in.
        layers: how many the model has; 0 where that is not known.
    """
    context, parallel = config.context_length, config.max_parallel_predictions
    if context is None or parallel is None:
        raise ValueError("the load config's defaults are not filled in")
    batch, physical = batch_sizes(config, domain)
    params: dict[str, Any] = {
        # llama.cpp divides n_ctx among its slots, unless they share it: each gets the context length promised to it.
        "n_ctx": context if config.use_unified_kv_cache else context * parallel,
        "n_parallel": parallel,
        "kv_unified": bool(config.use_unified_kv_cache),
        "n_batch": batch,
        "n_ubatch": physical,
        "no_kv_offload": config.offload_kv_cache_to_gpu is False,
        "load_mode": _load_mode(config),
        "flash_attn_type": _flash_attention(config),
        "cache_type_k": cache_type(config, config.llama_k_cache_quantization_type).upper(),
        "cache_type_v": cache_type(config, config.llama_v_cache_quantization_type).upper(),
        "embedding": domain == "embedding",
    }
    threads = None if config.cpu_thread_pool_size else engine_threads()
    optional = {
        "rope_freq_base": config.rope_frequency_base or None,
        "rope_freq_scale": config.rope_frequency_scale or None,
        "n_threads": threads.count if threads else config.cpu_thread_pool_size,
        "n_threads_batch": config.batch_threads,
        "n_ctx_checkpoints": config.context_checkpoints,
        "cache_ram_mib": config.prompt_cache_mib,
        "n_expert_used": config.num_experts or None,
        "pooling_type": config.pooling_type.upper() if config.pooling_type else None,
        "speculation": _speculation(config),
    }
    params |= {name: value for name, value in optional.items() if value is not None}
    gpu = config.gpu
    if gpu is not None:
        params["gpu_ratio"] = _share(gpu.ratio)
        params["disabled_gpus"] = gpu.disabled_gpus or []
        if gpu.split_strategy == "favorMainGpu" and gpu.main_gpu is not None:
            params["main_gpu"] = gpu.main_gpu
            params["split_mode"] = "NONE"
        if experts := _share(gpu.num_cpu_expert_layers_ratio):
            params["n_cpu_moe"] = round(experts * layers) if layers else 999
    if config.gpu_strict_vram_cap:
        params["fit_params"] = True
    elif config.auto_fit is False:
        params["fit_params"] = False
    return params


def scaled_adapters(spec: EngineSpec, models: Path) -> Iterator[tuple[Path, float]]:
    """Return the file of each LoRA adapter in the models folder ``models``, and its scale."""
    for file, setting in zip(spec.files.adapters, spec.config.adapters, strict=True):
        yield file.locate(models), setting.scale


def batch_sizes(config: LoadConfig, domain: Domain) -> tuple[int, int]:
    """Return the logical and the physical batch size, in tokens.

    An embedding model takes a whole text in one batch.
    """
    if domain == "embedding":
        whole = config.context_length or DEFAULT_PHYSICAL_BATCH
        batch = config.eval_batch_size or whole
        return batch, config.physical_batch_size or batch
    batch = config.eval_batch_size or max(DEFAULT_EVAL_BATCH, config.physical_batch_size or 0)
    return batch, config.physical_batch_size or min(batch, DEFAULT_PHYSICAL_BATCH)


def cache_type(config: LoadConfig, chosen: CacheType | bool | None) -> CacheType:
    """Return the type of one half of the KV cache. ``chosen`` is the config's setting of that half."""
    if isinstance(chosen, str):
        return chosen
    return "f32" if config.use_fp16_for_kv_cache is False else "f16"


def _flash_attention(config: LoadConfig) -> str:
    v_type = cache_type(config, config.llama_v_cache_quantization_type)
    if config.flash_attention is None and v_type not in UNQUANTIZED:
        return "ENABLED"  # a quantised V cache needs it
    return {None: "AUTO", True: "ENABLED", False: "DISABLED"}[config.flash_attention]


def _load_mode(config: LoadConfig) -> str:
    if config.try_direct_io:
        return "DIRECT_IO"
    if config.keep_model_in_memory:
        return "MLOCK" if config.try_mmap is False else "MMAP_MLOCK"
    return "NONE" if config.try_mmap is False else "AUTO"


def _share(ratio: float | str | None) -> float | None:
    return {"off": 0.0, "max": 1.0}.get(ratio) if isinstance(ratio, str) else ratio


def _speculation(config: LoadConfig) -> dict[str, Any] | None:
    """Return how to draft, without the draft model's path; ``None`` for not at all."""
    if config.drafts_with:
        kind = "draft-simple"
    elif config.speculative_draft_mtp:
        kind = "draft-mtp"
    elif config.speculative_ngram:
        kind = config.speculative_ngram
    else:
        return None
    limits = {
        "n_max": config.speculative_draft_max_tokens,
        "n_min": config.speculative_draft_min_tokens,
        "p_min": config.speculative_draft_min_continue_probability,
    }
    if kind == "ngram-simple" and limits["n_max"] is None:
        limits["n_max"] = NGRAM_SIMPLE_TOKENS
    return {"type": kind, **{name: value for name, value in limits.items() if value is not None}}


def completion_body(
    prompt: str | list[int],
    config: PredictionConfig,
    keep: int = 0,
    media: Sequence[bytes] = (),
    budget: ReasoningBudget | None = None,
    constraint: Constraint | None = None,
    adapters: Sequence[LoraSetting] = (),
) -> dict[str, Any]:
    """Return the body of llama-server's ``POST /completion`` for a streamed completion.

    ``false`` for a sampler is the value at which llama.cpp's has no effect.

    Parameters:
        keep: tokens of the prompt that stay when the context is full and its oldest part is dropped.
        media: what belongs where the prompt has media markers.
        budget: the limit of the reasoning.
        constraint: the form of the text.
        adapters: the LoRA adapters of the load; those of the config have the same names.

    Raises:
        UnsupportedError: the config asks for what llama.cpp does not do.
    """
    _refuse_unsupported(config)

    def effect(value: float | bool | None, off: float) -> float:
        return off if value is None or value is False else value

    body: dict[str, Any] = {
        "prompt": {"prompt_string": prompt, "multimodal_data": list(media)} if media else prompt,
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
        "repeat_last_n": 64 if config.penalty_tokens is None else config.penalty_tokens,
        "presence_penalty": effect(config.presence_penalty, 0.0),
        "frequency_penalty": effect(config.frequency_penalty, 0.0),
        "xtc_probability": effect(config.xtc_probability, 0.0),
        "xtc_threshold": effect(config.xtc_threshold, XTC_THRESHOLD),
        "seed": RANDOM_SEED if config.seed is None else config.seed,
        # The last event repeats the prompt and every setting unless the request lists its fields.
        "response_fields": [
            *("content", "stop", "stop_type", "stopping_word", "truncated"),
            *("tokens_predicted", "tokens_evaluated", "timings"),
        ],
    }
    if budget is not None:
        body |= {
            "reasoning_budget_tokens": budget.tokens,
            "reasoning_budget_start_tag": budget.start,
            # The first is forced; any of them ends the thought. Older servers read the singular alone.
            "reasoning_budget_end_tags": [budget.closing, budget.end],
            "reasoning_budget_end_tag": budget.end,
            "reasoning_budget_message": budget.message,
        }
    if config.draft_model:
        body["timings_per_token"] = True  # with the number of accepted draft tokens
    if config.lora is not None:
        scales = {setting.adapter: setting.scale for setting in lora_settings(config.lora)}
        body["lora"] = [
            {"id": index, "scale": scales.get(adapter.adapter, 0.0)} for index, adapter in enumerate(adapters)
        ]
    if config.mirostat_sampling is not None:
        body["mirostat"] = config.mirostat_sampling.version
        body["mirostat_eta"] = config.mirostat_sampling.learning_rate
        body["mirostat_tau"] = config.mirostat_sampling.target_entropy
    if config.logit_bias:
        body["logit_bias"] = [[token, False if bias == "-inf" else bias] for token, bias in config.logit_bias]
    if (candidates := config.log_prob_candidates) is not None:
        body["n_probs"] = max(candidates, 1)  # 0 would switch the token's own off
    if constraint is not None and constraint.grammar is not None:
        body["grammar"] = constraint.grammar
    elif constraint is not None:
        body["json_schema"] = constraint.json_schema
    return body


XTC_THRESHOLD = 0.1
"""LM Studio's default; it matters only where ``xtc_probability`` is set."""


def _refuse_unsupported(config: PredictionConfig) -> None:
    if config.cpu_threads is not None:
        raise _unsupported("cpu_threads", "llama.cpp sets its threads when it loads the model.")
    if config.tail_free_sampling:
        raise _unsupported("tail_free_sampling", "llama.cpp has given this sampler up; min_p_sampling took its place.")
    if config.ignore_model_preferred_max_image_dimension:
        raise _unsupported(
            "ignore_model_preferred_max_image_dimension",
            "llama.cpp gives a model its images in the size it was made for.",
        )


def _unsupported(field: str, cause: str) -> UnsupportedError:
    return UnsupportedError(
        f"The engine cannot do what the prediction config's field {field!r} asks for",
        cause=cause,
        suggestion="Leave the setting out.",
        feature=field,
    )
