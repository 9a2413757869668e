"""How much memory a model takes when it is loaded: weights, KV cache, compute buffers, from what its file says.

The sizes follow llama.cpp's own: the KV cache exactly, the compute buffers by a formula fitted to what it reports.
``bench/memory.py`` holds the sum against the resident memory of real engines.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from ..config import DEFAULT_PARALLEL_PREDICTIONS, UNQUANTIZED, CacheType, LoadConfig
from ..domain.models import Domain
from ..engines.llama_cpp.params import batch_sizes, cache_type
from ..library.gguf_file import Header, read_header

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
"""States that a slot whose context is full has kept, as measured; a chat of many turns may come to keep more."""

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

# Every n-th layer attends to the whole context, the others to a window, where the file does not say which.
_WINDOW_PATTERNS = {"gemma2": 2, "gemma3": 6, "gemma-embedding": 6, "gemma3n": 5, "cohere2": 4, "gpt-oss": 2}


@dataclass(frozen=True)
class Layer:
    """One layer, as the KV cache sees it."""

    k_values: int
    """Values that are kept of a token's keys; 0 for a layer without attention."""
    v_values: int
    window: int
    """Tokens that it attends to; 0 for all."""
    weight_bytes: int


@dataclass(frozen=True)
class Shape:
    """What of a model decides how much memory it takes."""

    layers: list[Layer]
    other_weight_bytes: int
    heads: int
    head_size: int
    embedding_length: int
    feed_forward_length: int
    vocabulary: int
    state_bytes: int
    """What the layers without attention keep for each prediction, however long it is."""
    drafting_layers: int
    """Layers that predict several tokens ahead."""
    tokenizer: dict[str, Any]
    """What a draft model's tokens must agree in."""

    @property
    def weight_bytes(self) -> int:
        return self.other_weight_bytes + sum(layer.weight_bytes for layer in self.layers)


@dataclass(frozen=True)
class Parts:
    """What a loaded model takes, in bytes."""

    weights: int
    kv_cache: int
    compute: int
    checkpoints: int
    engine: int

    @property
    def total(self) -> int:
        return self.weights + self.kv_cache + self.compute + self.checkpoints + self.engine

    def __add__(self, other: Parts) -> Parts:
        return Parts(
            self.weights + other.weights,
            self.kv_cache + other.kv_cache,
            self.compute + other.compute,
            self.checkpoints + other.checkpoints,
            self.engine + other.engine,
        )


def read_shape(path: Path) -> Shape:
    """The shape of the model at ``path``, all its shards together. Blocks for some 20 ms.

    Raises:
        ModelFileError: the file cannot be used.
    """
    first, *others = shards(path)
    shape = shape_of(read_header(first, check=False), first.stat().st_size)
    more = sum(other.stat().st_size for other in others)
    if more and shape.layers:  # taken to hold layers
        layers = [replace(layer, weight_bytes=layer.weight_bytes + more // len(shape.layers)) for layer in shape.layers]
        shape = replace(shape, layers=layers)
    return shape


def shards(path: Path) -> list[Path]:
    """All files of the model whose first one is ``path``."""
    match = re.fullmatch(r"(.+)-00001-of-(\d{5})\.gguf", path.name)
    if match is None:
        return [path]
    names = [f"{match[1]}-{number:05}-of-{match[2]}.gguf" for number in range(1, int(match[2]) + 1)]
    return [path, *(shard for name in names[1:] if (shard := path.with_name(name)).exists())]


def shape_of(header: Header, size_bytes: int) -> Shape:
    """The shape that the header of a file of ``size_bytes`` tells. What it leaves open counts as nothing."""
    fields = header.fields
    architecture = str(fields.get("general.architecture", ""))

    def number(key: str, default: int = 0) -> int:
        value = fields.get(f"{architecture}.{key}")
        if (several := _integers(value)) is not None:  # one for each layer
            value = max(several, default=default)
        return value if isinstance(value, int) and value >= 0 else default

    def each(key: str, count: int, default: int) -> list[int]:
        value = fields.get(f"{architecture}.{key}")
        if (several := _integers(value)) is not None:
            return [*several, *[default] * count][:count]
        return [value if isinstance(value, int) else default] * count

    count = min(number("block_count"), 4096)
    embedding = number("embedding_length")
    heads = number("attention.head_count", 1) or 1
    k_size = number("attention.key_length", embedding // heads)
    v_size = number("attention.value_length", embedding // heads)
    latent = number("attention.kv_lora_rank") if f"{architecture}.attention.key_length_mla" in fields else 0
    encodes = fields.get(f"{architecture}.attention.causal") is False
    weights, others = _weights(header, count, size_bytes)
    layers: list[Layer] = []
    kv_heads = each("attention.head_count_kv", count, heads)
    for index, (own_heads, window) in enumerate(zip(kv_heads, _windows(architecture, fields, count), strict=True)):
        if encodes:
            k_values = v_values = 0
        elif latent:
            k_values, v_values = latent + number("rope.dimension_count"), 0
        else:
            k_values, v_values = own_heads * k_size, own_heads * v_size
        layers.append(Layer(k_values, v_values, window, weights[index]))
    inner, state = number("ssm.inner_size"), number("ssm.state_size")
    convolved = inner + 2 * number("ssm.group_count") * state
    recurrent = sum(1 for layer in layers if not layer.k_values) if inner else 0
    return Shape(
        layers=layers,
        other_weight_bytes=others,
        heads=heads,
        head_size=k_size,
        embedding_length=embedding,
        feed_forward_length=max(
            number("feed_forward_length"),
            number("expert_used_count") * number("expert_feed_forward_length"),
        ),
        vocabulary=next((t.elements // embedding for t in header.tensors if t.name == "token_embd.weight"), 0)
        if embedding
        else 0,
        drafting_layers=number("nextn_predict_layers"),
        tokenizer={name: fields.get(f"tokenizer.ggml.{name}") for name in ("model", "bos_token_id", "eos_token_id")},
        state_bytes=recurrent * 4 * (max(number("ssm.conv_kernel") - 1, 0) * convolved + inner * state),
    )


def needed(shape: Shape, config: LoadConfig, domain: Domain, *, drafts: bool = False) -> Parts:
    """What a model of this shape takes when it is loaded with ``config``, whose defaults are filled in.

    Parameters:
        drafts: whether it drafts for another one, in that one's process.
    """
    context = config.context_length or 0
    parallel = config.max_parallel_predictions or DEFAULT_PARALLEL_PREDICTIONS
    unified = bool(config.use_unified_kv_cache)
    streams = 1 if unified else parallel
    batch = min(batch_sizes(config, domain)[1], context)
    k_type = _TYPE_SIZES[cache_type(config, config.llama_k_cache_quantization_type)]
    v_type = _TYPE_SIZES[cache_type(config, config.llama_v_cache_quantization_type)]

    def tokens(window: int, sequences: int) -> int:
        whole = _pad(context)
        return min(whole, _pad(window * sequences + batch)) if window else whole

    def kept(layer: Layer, sequences: int = 1) -> int:
        values = layer.k_values * k_type[0] // k_type[1] + layer.v_values * v_type[0] // v_type[1]
        return values * tokens(layer.window, sequences)

    kv_cache = sum(kept(layer, parallel if unified else 1) for layer in shape.layers) * streams
    kv_cache += shape.state_bytes * parallel
    went_back_to = sum(kept(layer) for layer in shape.layers if layer.window) + shape.state_bytes
    checkpoints = config.context_checkpoints if config.context_checkpoints is not None else DEFAULT_CHECKPOINTS
    return Parts(
        weights=shape.weight_bytes,
        kv_cache=kv_cache,
        compute=_compute(shape, config, batch, [tokens(w, 1) for w in {layer.window for layer in shape.layers}])
        + 4 * shape.vocabulary * parallel,
        checkpoints=went_back_to * parallel * min(checkpoints, COUNTED_CHECKPOINTS, 1 + context // CHECKPOINT_TOKENS),
        engine=VOCABULARY_BYTES * shape.vocabulary + (0 if drafts else ENGINE_BYTES),
    )


def largest_context(fits: Callable[[int], bool], limit: int) -> int | None:
    """The longest context up to ``limit`` that ``fits``: ``limit`` itself, or a multiple of 256."""
    if fits(limit):
        return limit
    low, high = 0, limit // CELLS  # what fits, and what may not
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle * CELLS):
            low = middle
        else:
            high = middle - 1
    return low * CELLS or None


def _compute(shape: Shape, config: LoadConfig, batch: int, attended: list[int]) -> int:
    """The buffers of one batch: fitted to what llama.cpp reports of them."""
    flash = config.flash_attention is not False or (
        cache_type(config, config.llama_v_cache_quantization_type) not in UNQUANTIZED
    )
    row, wide = 4 * shape.embedding_length, 4 * shape.feed_forward_length
    if flash:
        return batch * (2 * sum(attended) + 5 * row + 3 * wide)
    return batch * (4 * sum(attended) + 4 * shape.heads * max(attended, default=0) + 5 * row + 3 * wide // 2)


def _pad(tokens: int) -> int:
    return -(-tokens // CELLS) * CELLS


def _integers(value: Any) -> list[int] | None:
    """The numbers of a list, or ``None`` for what is no list."""
    if not isinstance(value, list):
        return None
    return [int(item) for item in cast("list[Any]", value) if isinstance(item, int)]


def _windows(architecture: str, fields: dict[str, Any], count: int) -> list[int]:
    """For each layer, the tokens that it attends to; 0 for all."""
    window = fields.get(f"{architecture}.attention.sliding_window")
    if not isinstance(window, int) or window <= 0:
        return [0] * count
    pattern = fields.get(f"{architecture}.attention.sliding_window_pattern", _WINDOW_PATTERNS.get(architecture, 1))
    if (several := _integers(pattern)) is not None:
        return [window if slides else 0 for slides in [*several, *[0] * count][:count]]
    every = pattern if isinstance(pattern, int) and pattern > 0 else 1
    return [window if index % every < every - 1 else 0 for index in range(count)]


def _weights(header: Header, count: int, size_bytes: int) -> tuple[list[int], int]:
    """The bytes of each layer's tensors, and of those that are of no layer; told by where the next tensor begins."""
    layers, others = [0] * count, 0
    tensors = sorted(header.tensors, key=lambda tensor: tensor.offset)
    ends = [*(tensor.offset for tensor in tensors[1:]), size_bytes - header.data_start]
    for tensor, end in zip(tensors, ends, strict=False):
        prefix, _, rest = tensor.name.partition(".")
        index = rest.partition(".")[0]
        if prefix == "blk" and index.isdigit() and int(index) < count:
            layers[int(index)] += max(end - tensor.offset, 0)
        else:
            others += max(end - tensor.offset, 0)
    return layers, others
