"""How much memory llama.cpp takes for a model: weights, KV cache, compute buffers, and which device holds what.

The sizes follow llama.cpp's own: the KV cache exactly, the compute buffers by a formula fitted to what it reports.
``bench/memory.py`` compares the sum with the resident memory of real engines.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...config import DEFAULT_PARALLEL_PREDICTIONS, UNQUANTIZED, CacheType, LoadConfig
from ...domain.model_shape import LayerShape, ModelShape
from ...errors import ConfigError
from ..spec import Device, MemoryNeed
from .params import batch_sizes, cache_type

MIB = 1 << 20

ENGINE_BYTES = 55 * MIB
"""A process of the engine without a model: the interpreter, the native library, the HTTP server's threads."""

VOCABULARY_BYTES = 172
"""For each token of the vocabulary: its text, scores and lookup tables."""

CELLS = 256
"""llama.cpp makes KV caches in multiples of so many tokens."""

DEFAULT_CHECKPOINTS = 32
CHECKPOINT_TOKENS = 8192
"""llama.cpp's own: states kept for each slot, and the tokens between two of them."""

COUNTED_CHECKPOINTS = 2
"""States that a slot with a full context has kept, as measured; a chat of many turns may keep more."""

GPU_SHARE = 0.9
"""The share of a GPU's free memory that llama.cpp fills where the load does not say how much goes there."""

QUANTIZED_BLOCK = 32

VOCABULARY_SLACK = 128
"""Tokens by which the vocabulary of a draft model may differ in length: llama.cpp's own limit."""

# Bytes of a block, and how many values it holds.
_TYPE_SIZES: dict[CacheType, tuple[int, int]] = {
    "f32": (4, 1),
    "f16": (2, 1),
    "bf16": (2, 1),
    "q8_0": (34, 32),
    "q4_0": (18, 32),
    "q4_1": (20, 32),
    "iq4_nl": (18, 32),
    "q5_0": (22, 32),
    "q5_1": (24, 32),
}


def estimate_memory(model: ModelShape, config: LoadConfig, devices: Sequence[Device]) -> MemoryNeed:
    """Return what ``model`` takes when it is loaded with ``config``, and what of it goes to which device.

    Parameters:
        config: the load config with every default filled in.
        devices: main memory, then the GPUs to use.

    Raises:
        ConfigError: llama.cpp cannot load the model with this config.
    """
    _check_cache_types(model, config)
    _check_drafting(model, config)
    parts = [needed(model, config)]
    if model.draft is not None:
        parts.append(needed(model.draft, config, drafts=True))
    weights, kv_cache = sum(part.weights for part in parts), sum(part.kv_cache for part in parts)
    compute, engine = sum(part.compute for part in parts), sum(part.engine for part in parts)
    whole = MemoryNeed(
        weights=weights + model.projector_bytes + model.adapter_bytes,
        kv_cache=kv_cache,
        compute=compute,
        checkpoints=sum(part.checkpoints for part in parts),
        engine=engine,
    )
    return MemoryNeed(
        weights=whole.weights,
        kv_cache=whole.kv_cache,
        compute=whole.compute,
        checkpoints=whole.checkpoints,
        engine=whole.engine,
        on_devices=_placed(whole, config, [device for device in devices if device.gpu]),
    )


def needed(shape: ModelShape, config: LoadConfig, *, drafts: bool = False) -> MemoryNeed:
    """Return what the tensors and buffers of one model take, without its projector, LoRA adapters and draft model.

    Parameters:
        drafts: whether the model drafts for another one, in that one's process.
    """
    context = config.context_length or 0
    parallel = config.max_parallel_predictions or DEFAULT_PARALLEL_PREDICTIONS
    unified = bool(config.use_unified_kv_cache)
    streams = 1 if unified else parallel
    batch = min(batch_sizes(config, shape.domain)[1], context)
    k_type = _TYPE_SIZES[cache_type(config, config.llama_k_cache_quantization_type)]
    v_type = _TYPE_SIZES[cache_type(config, config.llama_v_cache_quantization_type)]

    def tokens(window: int, sequences: int) -> int:
        whole = _pad(context)
        return min(whole, _pad(window * sequences + batch)) if window else whole

    def kept(layer: LayerShape, sequences: int = 1) -> int:
        values = layer.k_values * k_type[0] // k_type[1] + layer.v_values * v_type[0] // v_type[1]
        return values * tokens(layer.window, sequences)

    kv_cache = sum(kept(layer, parallel if unified else 1) for layer in shape.layers) * streams
    kv_cache += shape.state_bytes * parallel
    checkpoint = sum(kept(layer) for layer in shape.layers if layer.window) + shape.state_bytes
    checkpoints = config.context_checkpoints if config.context_checkpoints is not None else DEFAULT_CHECKPOINTS
    return MemoryNeed(
        weights=shape.weight_bytes,
        kv_cache=kv_cache,
        compute=_compute(shape, config, batch, [tokens(w, 1) for w in {layer.window for layer in shape.layers}])
        + 4 * shape.vocabulary * parallel,
        checkpoints=checkpoint * parallel * min(checkpoints, COUNTED_CHECKPOINTS, 1 + context // CHECKPOINT_TOKENS),
        engine=VOCABULARY_BYTES * shape.vocabulary + (0 if drafts else ENGINE_BYTES),
    )


def _compute(shape: ModelShape, config: LoadConfig, batch: int, attended: list[int]) -> int:
    """Return the size of the buffers of one batch: fitted to what llama.cpp reports of them."""
    flash = config.flash_attention is not False or (
        cache_type(config, config.llama_v_cache_quantization_type) not in UNQUANTIZED
    )
    row, wide = 4 * shape.embedding_length, 4 * shape.feed_forward_length
    if flash:
        return batch * (2 * sum(attended) + 5 * row + 3 * wide)
    return batch * (4 * sum(attended) + 4 * shape.heads * max(attended, default=0) + 5 * row + 3 * wide // 2)


def _pad(tokens: int) -> int:
    return -(-tokens // CELLS) * CELLS


def _placed(need: MemoryNeed, config: LoadConfig, gpus: list[Device]) -> list[int]:
    """Return what goes to main memory, and to each GPU."""
    ratio = config.gpu.ratio if config.gpu else None
    if not gpus or ratio in ("off", 0):
        return [need.total, *(0 for _ in gpus)]
    movable = need.weights + (0 if config.offload_kv_cache_to_gpu is False else need.kv_cache)
    free = sum(device.free_bytes for device in gpus)
    if isinstance(ratio, float | int) and not config.gpu_strict_vram_cap:
        share = float(ratio)
    elif (ratio == "max" or config.auto_fit is False) and not config.gpu_strict_vram_cap:
        share = 1.0
    else:  # llama.cpp moves what fits
        share = min(max((free * GPU_SHARE - need.compute) / max(movable, 1), 0.0), 1.0)
    moved = int(movable * share) + (need.compute if share else 0)
    return [need.total - moved, *(moved * device.free_bytes // max(free, 1) for device in gpus)]


def _check_cache_types(model: ModelShape, config: LoadConfig) -> None:
    for half in ("k", "v"):
        field = f"llama_{half}_cache_quantization_type"
        kind = cache_type(config, getattr(config, field))
        if kind not in UNQUANTIZED and model.head_size % QUANTIZED_BLOCK:
            raise ConfigError(
                f"The load config's field {field!r} is {kind}, which {model.name} cannot use",
                cause=f"That type holds blocks of {QUANTIZED_BLOCK} values, and the model's attention heads have"
                f" {model.head_size}.",
                suggestion="Choose f16.",
            )


def _check_drafting(model: ModelShape, config: LoadConfig) -> None:
    if config.speculative_draft_mtp and not model.drafting_layers:
        raise ConfigError(
            f"The load config's field 'speculative_draft_mtp' is true, and {model.name} cannot do it",
            cause="Its file has no layers that predict several tokens ahead.",
            suggestion="Leave the field out, or draft with speculative_draft_model or speculative_ngram.",
        )
    draft = model.draft
    if draft is None:
        return
    differ = abs(model.vocabulary - draft.vocabulary) > VOCABULARY_SLACK
    if differ or model.tokenizer != draft.tokenizer:
        raise ConfigError(
            f"The load config's field 'speculative_draft_model' is {draft.name}, which cannot draft for {model.name}",
            cause="They have different vocabularies:"
            f" {draft.vocabulary} and {model.vocabulary} tokens, {draft.tokenizer} and {model.tokenizer}.",
            suggestion="Choose a smaller model of the same family.",
        )
