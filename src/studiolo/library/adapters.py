"""LoRA adapters: which models they fit, by their architecture and the shapes of their tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import ModelFileError
from .gguf_file import LoraPair, Metadata
from .model import Model
from .model_shape import shards
from .tensor_shapes import Shapes, read_shapes


class Adapter(NamedTuple):
    """A LoRA adapter on disk."""

    key: str
    path: Path
    size_bytes: int
    metadata: Metadata


_EMBEDDINGS = "token_embd.weight"
_WIDE = (".attn_q.weight", ".attn_k.weight", ".attn_v.weight", ".ffn_gate.weight", ".ffn_up.weight")
"""Tensors whose input is as wide as a token's vector."""


def is_adapter(metadata: Metadata | None) -> bool:
    """Whether a file is a LoRA adapter."""
    return metadata is not None and metadata.type == "adapter"


def misfit(adapter: Metadata, model: Model, shapes_of: Callable[[Path], Shapes] = read_shapes) -> str | None:
    """Return why ``adapter`` does not fit ``model``; ``None`` if it does. Blocks.

    Parameters:
        shapes_of: returns the shapes of the tensors of a file; by default from its header.

    Raises:
        ModelFileError: the model's file cannot be used.
        OSError: it is gone.
    """
    metadata = model.metadata
    assert metadata is not None
    if adapter.fault is not None:
        return adapter.fault
    if adapter.architecture != metadata.architecture:
        return f"It is made for the architecture {adapter.architecture!r}, and the model's is {metadata.architecture!r}"
    pairs = adapter.lora or {}
    if not pairs:
        return "It has no LoRA tensors"
    if reason := _wrong_width(pairs, metadata):
        return reason
    shapes = {name: shape for path in shards(model.path) for name, shape in shapes_of(path).items()}
    for name, pair in pairs.items():
        if reason := _wrong_shape(name, pair, shapes):
            return reason
    return None


def fitting_models(
    adapter: Metadata, models: Iterable[Model], shapes_of: Callable[[Path], Shapes] = read_shapes
) -> tuple[str, ...]:
    """Return the keys of those of ``models`` that ``adapter`` fits. Blocks; see :func:`misfit`."""
    keys: list[str] = []
    for model in models:
        try:
            if model.error is None and model.metadata is not None and misfit(adapter, model, shapes_of) is None:
                keys.append(model.key)
        except (ModelFileError, OSError):
            continue
    return tuple(keys)


def _wrong_width(pairs: dict[str, LoraPair], model: Metadata) -> str | None:
    """Compare the adapter with what is known of the model without its header."""
    width, layers = model.embedding_length, model.block_count
    for name, pair in pairs.items():
        prefix, _, rest = name.partition(".")
        number = rest.partition(".")[0]
        if layers and prefix == "blk" and number.isdigit() and int(number) >= layers:
            return f"It changes {name}, and the model has {layers} layers"
        if width and name.endswith(_WIDE) and pair.a and pair.a[0] != width:
            return f"It changes {name} of a model whose embedding length is {pair.a[0]}, and this one's is {width}"
    return None


def _wrong_shape(name: str, pair: LoraPair, shapes: Shapes) -> str | None:
    if len(pair.a) != 2 or len(pair.b) != 2:
        return f"Its pair of tensors for {name} is not complete"
    shape = shapes.get(name)
    if shape is None:
        return f"It changes {name}, which the model does not have"
    if name == _EMBEDDINGS:
        wanted = (pair.b[1], pair.a[1])
    else:
        wanted = (pair.a[0], pair.b[1])
        if pair.a[1] != pair.b[0]:
            return f"The two tensors for {name} have different ranks, {pair.a[1]} and {pair.b[0]}"
    if shape[:2] != wanted:
        return f"It changes {name} with the shape {_times(wanted)}, and the model's has {_times(shape)}"
    return None


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
