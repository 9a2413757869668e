"""Read the shape of a model from the header of its GGUF file."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any, cast

from msgspec.structs import replace

from ..domain.model_shape import LayerShape, ModelShape
from ..domain.models import Domain
from .gguf_file import Header, read_header
from .model import Model

MAX_LAYERS = 4096

# Every n-th layer attends to the whole context, the others to a window, where the file does not say which.
_WINDOW_PATTERNS = {"gemma2": 2, "gemma3": 6, "gemma-embedding": 6, "gemma3n": 5, "cohere2": 4, "gpt-oss": 2}


def read_shape(model: Model) -> ModelShape:
    """Return the shape of ``model``, all its shards and its projector together. Blocks for about 20 ms the first time.

    Raises:
        ModelFileError: the file cannot be used.
        OSError: the file is gone.
    """
    status = model.path.stat()
    shape = _read(model.path, model.domain or "llm", status.st_mtime_ns, status.st_size)
    projector = model.mmproj.stat().st_size if model.mmproj is not None and model.mmproj.exists() else 0
    return replace(shape, name=model.key, projector_bytes=projector)


@functools.lru_cache(maxsize=64)
def _read(path: Path, domain: Domain, _mtime: int, _size: int) -> ModelShape:
    first, *others = shards(path)
    shape = shape_of(read_header(first, check=False), first.stat().st_size, domain)
    more = sum(other.stat().st_size for other in others)
    if more and shape.layers:  # taken to hold layers
        each = more // len(shape.layers)
        layers = [replace(layer, weight_bytes=layer.weight_bytes + each) for layer in shape.layers]
        shape = replace(shape, layers=layers)
    return shape


def shards(path: Path) -> list[Path]:
    """Return all files of the model whose first one is ``path``."""
    match = re.fullmatch(r"(.+)-00001-of-(\d{5})\.gguf", path.name)
    if match is None:
        return [path]
    names = [f"{match[1]}-{number:05}-of-{match[2]}.gguf" for number in range(1, int(match[2]) + 1)]
    return [path, *(shard for name in names[1:] if (shard := path.with_name(name)).exists())]


def shape_of(header: Header, size_bytes: int, domain: Domain) -> ModelShape:
    """Return the shape that the header of a file of ``size_bytes`` describes. What it leaves open counts as nothing."""
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

    count = min(number("block_count"), MAX_LAYERS)
    embedding = number("embedding_length")
    heads = number("attention.head_count", 1) or 1
    k_size = number("attention.key_length", embedding // heads)
    v_size = number("attention.value_length", embedding // heads)
    latent = number("attention.kv_lora_rank") if f"{architecture}.attention.key_length_mla" in fields else 0
    encodes = fields.get(f"{architecture}.attention.causal") is False
    weights, others = _weights(header, count, size_bytes)
    layers: list[LayerShape] = []
    kv_heads = each("attention.head_count_kv", count, heads)
    for index, (layer_heads, window) in enumerate(zip(kv_heads, _windows(architecture, fields, count), strict=True)):
        if encodes:
            k_values = v_values = 0
        elif latent:
            k_values, v_values = latent + number("rope.dimension_count"), 0
        else:
            k_values, v_values = layer_heads * k_size, layer_heads * v_size
        layers.append(LayerShape(k_values, v_values, window, weights[index]))
    inner, state = number("ssm.inner_size"), number("ssm.state_size")
    convolved = inner + 2 * number("ssm.group_count") * state
    recurrent = sum(1 for layer in layers if not layer.k_values) if inner else 0
    embedded = next((tensor.elements for tensor in header.tensors if tensor.name == "token_embd.weight"), 0)
    return ModelShape(
        name=str(fields.get("general.name", "")),
        domain=domain,
        layers=layers,
        other_weight_bytes=others,
        heads=heads,
        head_size=k_size,
        embedding_length=embedding,
        feed_forward_length=max(
            number("feed_forward_length"),
            number("expert_used_count") * number("expert_feed_forward_length"),
        ),
        vocabulary=embedded // embedding if embedding else 0,
        state_bytes=recurrent * 4 * (max(number("ssm.conv_kernel") - 1, 0) * convolved + inner * state),
        drafting_layers=number("nextn_predict_layers"),
        tokenizer={name: fields.get(f"tokenizer.ggml.{name}") for name in ("model", "bos_token_id", "eos_token_id")},
    )


def _integers(value: Any) -> list[int] | None:
    """Return the numbers of a list; ``None`` for what is not a list."""
    if not isinstance(value, list):
        return None
    return [int(item) for item in cast("list[Any]", value) if isinstance(item, int)]


def _windows(architecture: str, fields: dict[str, Any], count: int) -> list[int]:
    """Return, for each layer, the tokens that it attends to; 0 for all."""
    window = fields.get(f"{architecture}.attention.sliding_window")
    if not isinstance(window, int) or window <= 0:
        return [0] * count
    pattern = fields.get(f"{architecture}.attention.sliding_window_pattern", _WINDOW_PATTERNS.get(architecture, 1))
    if (several := _integers(pattern)) is not None:
        return [window if slides else 0 for slides in [*several, *[0] * count][:count]]
    every = pattern if isinstance(pattern, int) and pattern > 0 else 1
    return [window if index % every < every - 1 else 0 for index in range(count)]


def _weights(header: Header, count: int, size_bytes: int) -> tuple[list[int], int]:
    """Return the bytes of each layer's tensors, and of those outside of layers; a tensor ends where the next begins."""
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
