"""The keys of LM Studio's settings: the field of :mod:`studiolo.config` for each, or why it has no effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Key:
    """The key of a field. A *checkbox* is ``{"checked": bool, "value": ...}``; unchecked means off."""

    field: str
    key: str
    checkbox: bool = False
    off: Any = 1
    """The value of an unchecked box. It has no meaning, but LM Studio's clients reject a box without one."""


PREDICTION_KEYS = (
    Key("temperature", "temperature"),
    Key("max_tokens", "maxPredictedTokens", checkbox=True),
    Key("stop_strings", "stopStrings"),
    Key("tool_call_stop_strings", "toolCallStopStrings"),
    Key("context_overflow_policy", "contextOverflowPolicy"),
    Key("structured", "structured"),
    Key("raw_tools", "tools"),
    Key("top_k_sampling", "topKSampling"),
    Key("top_p_sampling", "topPSampling", checkbox=True),
    Key("min_p_sampling", "minPSampling", checkbox=True),
    Key("repeat_penalty", "repeatPenalty", checkbox=True),
    Key("presence_penalty", "llama.presencePenalty", checkbox=True),
    Key("frequency_penalty", "llama.frequencyPenalty", checkbox=True),
    Key("xtc_probability", "llama.xtcProbability", checkbox=True),
    Key("xtc_threshold", "llama.xtcThreshold", checkbox=True),
    Key("locally_typical_sampling", "llama.locallyTypicalSampling", checkbox=True),
    Key("tail_free_sampling", "llama.tailFreeSampling", checkbox=True),
    Key("mirostat_sampling", "llama.mirostatSampling"),
    Key("logit_bias", "llama.logitBias"),
    Key("log_probs", "logProbs", checkbox=True),
    Key("seed", "seed", checkbox=True),
    Key("prompt_template", "promptTemplate"),
    Key("system_prompt", "systemPrompt"),
    Key("reasoning_parsing", "reasoning.parsing"),
    Key("enable_thinking", "reasoning.enableThinking"),
    Key("stop_strings_in_reasoning", "reasoning.stopStringsInReasoning"),
    Key("reasoning_budget", "reasoning.budgetTokens", checkbox=True),
    Key("cpu_threads", "llama.cpuThreads"),
    Key("draft_model", "speculativeDecoding.draftModel"),
    Key("speculative_decoding_num_draft_tokens_exact", "speculativeDecoding.numDraftTokensExact"),
    Key("speculative_decoding_min_draft_length_to_consider", "speculativeDecoding.minDraftLengthToConsider"),
    Key("speculative_decoding_min_continue_drafting_probability", "speculativeDecoding.minContinueDraftingProbability"),
    Key("tool_naming", "toolNaming"),
    Key("user_max_image_dimension_pixels", "vision.userMaxImageDimensionPixels", checkbox=True),
    Key("ignore_model_preferred_max_image_dimension", "vision.ignoreModelPreferredMaxImageDimension"),
    # Settings that LM Studio has no keys for.
    Key("keep_tokens", "studiolo.keepTokens"),
    Key("penalty_tokens", "studiolo.penaltyTokens"),
    Key("reasoning_effort", "studiolo.reasoningEffort"),
    Key("control_tokens", "studiolo.controlTokens"),
    Key("on_engine_failure", "studiolo.onEngineFailure"),
    Key("timeout_sec", "studiolo.timeoutSec", checkbox=True),
    Key("lora", "studiolo.lora"),
)

# Prediction keys of LM Studio that studiolo does not support: the reason, and what to do instead.
PREDICTION_REFUSED = {
    "contextPrefill": ("Only the messages of the chat can precede an answer.", "Add the content to the chat."),
    "speculativeDecoding.maxTokensToDraft": (
        "studiolo has another name for it.",
        "Use speculative_decoding_num_draft_tokens_exact.",
    ),
    "reasoning.budget": ("The setting is the checkbox reasoning.budgetTokens.", "Use reasoning.budgetTokens."),
    "speculativeDecoding.numReuseTokens": ("The engine decides how many tokens to reuse.", "Leave it out."),
}

LOAD_KEYS = (
    Key("context_length", "contextLength"),
    Key("auto_fit", "llama.autoFit"),
    Key("auto_fit_min_context_length", "autoFitMinContextLength"),
    Key("max_parallel_predictions", "numParallelSessions"),
    Key("use_unified_kv_cache", "useUnifiedKvCache"),
    Key("offload_kv_cache_to_gpu", "offloadKVCacheToGpu"),
    Key("num_experts", "numExperts"),
    Key("seed", "seed", checkbox=True),
    Key("eval_batch_size", "llama.evalBatchSize"),
    Key("physical_batch_size", "llama.physicalBatchSize"),
    Key("cpu_thread_pool_size", "llama.cpuThreadPoolSize"),
    Key("flash_attention", "llama.flashAttention"),
    Key("try_mmap", "llama.tryMmap"),
    Key("try_direct_io", "llama.tryDirectIO"),
    Key("keep_model_in_memory", "llama.keepModelInMemory"),
    Key("rope_frequency_base", "llama.ropeFrequencyBase", checkbox=True),
    Key("rope_frequency_scale", "llama.ropeFrequencyScale", checkbox=True),
    Key("llama_k_cache_quantization_type", "llama.kCacheQuantizationType", checkbox=True, off="f16"),
    Key("llama_v_cache_quantization_type", "llama.vCacheQuantizationType", checkbox=True, off="f16"),
    Key("use_fp16_for_kv_cache", "llama.useFp16ForKVCache"),
    Key("context_checkpoints", "llama.contextCheckpoints"),
    Key("speculative_draft_model", "llama.speculativeDecoding.draftModel"),
    Key("speculative_draft_simple", "llama.speculativeDecoding.draftSimple"),
    Key("speculative_draft_mtp", "llama.speculativeDecoding.draftMtp"),
    Key("speculative_draft_max_tokens", "llama.speculativeDecoding.draftMaxTokens"),
    Key("speculative_draft_min_tokens", "llama.speculativeDecoding.draftMinTokens"),
    Key("speculative_draft_min_continue_probability", "llama.speculativeDecoding.draftMinContinueProbability"),
    Key("prompt_template", "promptTemplate"),
    Key("reasoning_budget_message", "llama.reasoningBudgetMessage"),
    # Settings that LM Studio has no keys for.
    Key("batch_threads", "studiolo.batchThreads"),
    Key("prompt_cache_mib", "studiolo.promptCacheMib"),
    Key("speculative_ngram", "studiolo.speculativeNgram"),
    Key("pooling_type", "studiolo.poolingType"),
    Key("lora", "studiolo.lora"),
)
OFFLOAD_RATIO = "llama.acceleration.offloadRatio"
CPU_EXPERTS = "numCpuExpertLayersRatio"
GPU_SPLIT = "load.gpuSplitConfig"
STRICT_VRAM = "load.gpuStrictVramCap"

# Load keys of LM Studio that studiolo does not support: the field of LM Studio's SDK, and the reason.
LOAD_REFUSED = {
    "llama.argumentsOverride": ("llama_cpp_arguments_override", "Command-line options are not passed to the engine."),
    "llama.speculativeDecoding.draftDflashSidecar": ("draft_dflash_sidecar", "Sidecar models are not supported."),
    "llama.speculativeDecoding.draftDsparkSidecar": ("draft_dspark_sidecar", "Sidecar models are not supported."),
    "llama.speculativeDecoding.draftMtpSidecar": ("draft_mtp_sidecar", "Sidecar models are not supported."),
    "envVars": ("env_vars", "The engine inherits the host's environment."),
}

IGNORED: dict[str, tuple[str, bool]] = {
    "llm.load.mlx.autoFit": ("It is a setting of the engine MLX.", False),
    "llm.load.yuzu.autoFit": ("It is a setting of the engine Yuzu.", False),
    "llm.load.mlx.diskCache": ("It is a setting of the engine MLX.", True),
    "llm.load.mlx.kvCacheQuantization": ("It is a setting of the engine MLX.", True),
    "llm.load.vllm.gpuMemoryUtilization": ("It is a setting of the engine vLLM.", True),
    "llm.load.vllm.reasoningParser": ("It is a setting of the engine vLLM.", True),
    "llm.load.vllm.toolCallParser": ("It is a setting of the engine vLLM.", True),
}
"""Keys of engines that studiolo does not run: why they are ignored, and whether that is logged. LM Studio's clients
send the ones that are not logged with every load, whether or not the user set them."""
