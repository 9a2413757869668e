"""The settings of a load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ..errors import ConfigError
from .checking import Probability, camel_case_dict, checked
from .lora import LoraList, LoraSetting, full_form, lora_settings
from .prediction import PromptTemplate

DEFAULT_PARALLEL_PREDICTIONS = 4
MAX_PARALLEL_PREDICTIONS = 256
"""Predictions that an engine runs at once at most."""

DEFAULT_EVAL_BATCH = 512
DEFAULT_PHYSICAL_BATCH = 512
UNQUANTIZED = ("f32", "f16", "bf16")

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"]
NgramSpeculation = Literal["ngram-simple", "ngram-map-k", "ngram-map-k4v", "ngram-mod", "ngram-cache"]
PoolingType = Literal["none", "mean", "cls", "last", "rank"]

Threads = Annotated[int, Meta(ge=1, le=512)]
BatchSize = Annotated[int, Meta(ge=1, le=2**20)]


class GpuSetting(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How much of the model goes to the GPU, and to which.

    Parameters:
        ratio: the share of the layers, 0 to 1; ``"max"`` for all of them, ``"off"`` for none. Default: what fits.
        main_gpu: the index of the GPU that ``split_strategy="favorMainGpu"`` favours.
        split_strategy: ``"evenly"`` (the default) or ``"favorMainGpu"``.
        disabled_gpus: the indices of GPUs to leave alone.
        num_cpu_expert_layers_ratio: the share of the layers whose experts stay in main memory, for
            mixture-of-experts models; ``"max"`` for all, ``"off"`` for none (the default).
    """

    ratio: Probability | Literal["max", "off"] | None = None
    main_gpu: Annotated[int, Meta(ge=0)] | None = None
    split_strategy: Literal["evenly", "favorMainGpu"] | None = None
    disabled_gpus: list[Annotated[int, Meta(ge=0)]] | None = None
    num_cpu_expert_layers_ratio: Probability | Literal["max", "off"] | None = None


class LoadConfig(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How a model is loaded. ``docs/loading.md`` has the table of what each field does in the engine.

    Parameters:
        context_length: tokens that one prediction can hold, prompt and answer together. Default: the
            model's own limit, or what fits while twice as much again stays free for prompts and other models.
        auto_fit: choose what the config leaves open so that it fits: the context, and what goes to the GPU. ``False``
            means a context of 4096 tokens, or the model's limit where that is less, and all layers on the GPU.
            Default: true.
        auto_fit_min_context_length: the shortest context that may be chosen; where it does not fit, the load is
            refused. Default: 0, for no limit.
        max_parallel_predictions: predictions that run at once, at most 256. Default: 4.
        use_unified_kv_cache: share one context length among all predictions that run at once, instead of giving it
            to each. Default: false.
        gpu: what goes to the GPU. Default: everything that fits.
        gpu_strict_vram_cap: keep the offload within the GPUs' own free memory, whatever ``gpu.ratio`` asks for.
            Default: false.
        offload_kv_cache_to_gpu: keep the KV cache in GPU memory. Default: true.
        eval_batch_size: tokens of prompts that the engine computes in one step, which its other predictions wait
            for. Default: 512, or the physical batch size where that is more.
        physical_batch_size: tokens that are computed at once. Default: 512, or the eval batch size where that is less.
        cpu_thread_pool_size: threads that generate. Default: one a core.
        batch_threads: threads that process prompts. Default: as many as generate.
        flash_attention: use flash attention. Default: where the engine supports it.
        try_mmap: map the file instead of reading it. Default: true.
        try_direct_io: read the file without the system's cache, instead of mapping it. Default: false.
        keep_model_in_memory: forbid the system to swap the weights out. Default: false.
        rope_frequency_base, rope_frequency_scale: overrides of the model's own RoPE parameters; ``False`` for none.
        llama_k_cache_quantization_type, llama_v_cache_quantization_type: the types of the KV cache. Default: f16.
        use_fp16_for_kv_cache: ``False`` means an f32 KV cache. Default: true.
        context_checkpoints: earlier states that are kept for each prediction, for models with sliding-window or
            recurrent layers. Default: 32.
        prompt_cache_mib: MiB of main memory for the prompts of earlier conversations. Default: the size of the KV
            cache, at most 8192, and at most what the guardrail leaves.
        num_experts: experts that compute each token, for mixture-of-experts models; 0 for the model's own number.
        speculative_draft_model: the key of a smaller model that drafts tokens, which this one checks.
        speculative_draft_simple: use the draft model. Default: true where one is named.
        speculative_draft_mtp: draft with the model's own multi-token prediction layers. Default: false.
        speculative_draft_max_tokens, speculative_draft_min_tokens: tokens that are drafted at once. Default: 3 and 0;
            without a model at most 8 (``ngram-simple``), 48 or 64.
        speculative_draft_min_continue_probability: drafting ends at a token less likely than this. Default: 0.
        speculative_ngram: draft without a model, from what the text so far repeats. Default: off.
        prompt_template: the chat template of predictions without one. Default: the model's.
        reasoning_budget_message: text before the end tag of reasoning that a prediction's ``reasoning_budget`` cuts
            short. Default: nothing.
        pooling_type: how an embedding model combines the tokens' vectors into one. Default: the model's own.
        lora: LoRA adapters that change the model: keys of the library or paths, each alone (with the scale 1), with a
            scale (``("key", 0.5)``), or as a :class:`LoraSetting`. Default: none.
        seed: the seed of predictions without one; ``False`` or -1 for a random one. Default: random.
    """

    context_length: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    auto_fit: bool | None = None
    auto_fit_min_context_length: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    max_parallel_predictions: Annotated[int, Meta(ge=1, le=1023)] | None = None
    use_unified_kv_cache: bool | None = None
    gpu: GpuSetting | None = None
    gpu_strict_vram_cap: bool | None = None
    offload_kv_cache_to_gpu: bool | None = None
    eval_batch_size: BatchSize | None = None
    physical_batch_size: BatchSize | None = None
    cpu_thread_pool_size: Threads | None = None
    batch_threads: Threads | None = None
    flash_attention: bool | None = None
    try_mmap: bool | None = None
    try_direct_io: bool | None = None
    keep_model_in_memory: bool | None = None
    rope_frequency_base: Annotated[float, Meta(ge=0)] | bool | None = None
    rope_frequency_scale: Annotated[float, Meta(ge=0)] | bool | None = None
    llama_k_cache_quantization_type: CacheType | bool | None = None
    llama_v_cache_quantization_type: CacheType | bool | None = None
    use_fp16_for_kv_cache: bool | None = None
    context_checkpoints: Annotated[int, Meta(ge=0, le=4096)] | None = None
    prompt_cache_mib: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    num_experts: Annotated[int, Meta(ge=0, le=4096)] | None = None
    speculative_draft_model: str | None = None
    speculative_draft_simple: bool | None = None
    speculative_draft_mtp: bool | None = None
    speculative_draft_max_tokens: Annotated[int, Meta(ge=1, le=1024)] | None = None
    speculative_draft_min_tokens: Annotated[int, Meta(ge=0, le=1024)] | None = None
    speculative_draft_min_continue_probability: Probability | None = None
    speculative_ngram: NgramSpeculation | None = None
    prompt_template: PromptTemplate | None = None
    reasoning_budget_message: str | None = None
    pooling_type: PoolingType | None = None
    lora: LoraList | None = None
    seed: Annotated[int, Meta(ge=-1, le=2**32 - 1)] | bool | None = None

    def __post_init__(self) -> None:
        self.lora = full_form(self.lora)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LoadConfig:
        """Return the config in a dict with keys in snake_case or camelCase. Raise :class:`ConfigError`."""
        return load_config(data)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are set, as a dict with keys in camelCase."""
        return camel_case_dict(self)

    @property
    def adapters(self) -> list[LoraSetting]:
        """The LoRA adapters, each with its scale."""
        return lora_settings(self.lora or [])

    @property
    def drafts_with(self) -> str | None:
        """The key of the draft model that is in use."""
        return None if self.speculative_draft_simple is False else self.speculative_draft_model or None


def check_load_config(config: LoadConfig) -> None:
    """Raise :class:`ConfigError`, which names both, if one field does not fit another."""

    def refuse(field: str, why: str, remedy: str) -> None:
        raise ConfigError(f"The load config's field {field!r} does not fit the rest", cause=why, suggestion=remedy)

    v_type = config.llama_v_cache_quantization_type
    if config.flash_attention is False and isinstance(v_type, str) and v_type not in UNQUANTIZED:
        refuse(
            "llama_v_cache_quantization_type",
            f"A V cache of type {v_type} needs flash attention, and 'flash_attention' is false",
            "Leave flash_attention out, or choose f16.",
        )
    batch = config.eval_batch_size
    if batch is not None and config.physical_batch_size is not None and config.physical_batch_size > batch:
        refuse(
            "physical_batch_size",
            f"It is {config.physical_batch_size}, and 'eval_batch_size' is {batch}",
            "The physical batch is a part of the other: make it no larger.",
        )
    if config.try_direct_io and (config.try_mmap or config.keep_model_in_memory):
        other = "try_mmap" if config.try_mmap else "keep_model_in_memory"
        refuse("try_direct_io", f"'{other}' is true, too, and a file is read in only one way", "Choose one of them.")
    shortest = config.auto_fit_min_context_length
    if shortest and config.auto_fit is False:
        refuse("auto_fit_min_context_length", "'auto_fit' is false, so that no context is chosen", "Leave one out.")
    if shortest and config.context_length is not None and config.context_length < shortest:
        refuse(
            "auto_fit_min_context_length",
            f"It is {shortest}, and 'context_length' is {config.context_length}",
            "Leave one of them out.",
        )
    if (config.max_parallel_predictions or 0) > MAX_PARALLEL_PREDICTIONS:
        refuse(
            "max_parallel_predictions",
            f"It is {config.max_parallel_predictions}, and an engine runs {MAX_PARALLEL_PREDICTIONS} at once at most",
            "Make it smaller; further predictions wait for their turn.",
        )
    if config.prompt_template is not None and config.prompt_template.type != "jinja":
        refuse("prompt_template", "A load takes a Jinja template alone", "Give the other in each prediction's config.")
    if config.speculative_draft_simple and not config.speculative_draft_model:
        refuse(
            "speculative_draft_simple", "No 'speculative_draft_model' is named", "Name a smaller model of the library."
        )
    ways = [
        name
        for name, used in (
            ("speculative_draft_model", config.drafts_with),
            ("speculative_draft_mtp", config.speculative_draft_mtp),
            ("speculative_ngram", config.speculative_ngram),
        )
        if used
    ]
    if len(ways) > 1:
        refuse(ways[-1], f"'{ways[0]}' drafts already", "Choose one way to draft.")
    unused = {
        "speculative_draft_max_tokens": not ways or config.speculative_ngram == "ngram-cache",
        "speculative_draft_min_tokens": not ways or config.speculative_ngram not in (None, "ngram-mod"),
        "speculative_draft_min_continue_probability": not ways or bool(config.speculative_ngram),
    }
    for field, has_no_effect in unused.items():
        if has_no_effect and getattr(config, field) is not None:
            refuse(
                field, f"It has no effect on {config.speculative_ngram or 'a load without drafting'}", "Leave it out."
            )
    low, high = config.speculative_draft_min_tokens or 0, config.speculative_draft_max_tokens
    if high is not None and low > high:
        refuse(
            "speculative_draft_min_tokens",
            f"It is {low}, and 'speculative_draft_max_tokens' is {high}",
            "Make it no larger.",
        )


_OFF_BY_FALSE = frozenset(
    {
        *("llama_k_cache_quantization_type", "llama_v_cache_quantization_type"),
        *("rope_frequency_base", "rope_frequency_scale", "seed"),
    }
)


def load_config(value: LoadConfig | Mapping[str, Any] | None) -> LoadConfig:
    """Return a checked load config from a typed one, a dict, or nothing. Raise :class:`ConfigError`."""
    config = checked(LoadConfig, value, "load config", _OFF_BY_FALSE)
    check_load_config(config)
    return config


# The official client's names for the same types.
LlmLoadModelConfig = LoadConfig
EmbeddingLoadModelConfig = LoadConfig
LlmLoadModelConfigDict = Mapping[str, Any]
EmbeddingLoadModelConfigDict = Mapping[str, Any]
