"""How a model is built, as far as the memory that it takes depends on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from .models import Domain


class LayerShape(Struct, frozen=True):
    """One layer of a model.

    Parameters:
        k_values: values that the KV cache keeps of a token's keys; 0 for a layer without attention.
        v_values: values that it keeps of a token's values.
        window: tokens that the layer attends to; 0 for all.
        weight_bytes: the size of the layer's tensors.
    """

    k_values: int
    v_values: int
    window: int
    weight_bytes: int


class ModelShape(Struct, frozen=True, kw_only=True):
    """What of a model decides how much memory it takes.

    Parameters:
        name: the model's, for error messages.
        domain: what the model is for.
        layers: its layers, in order.
        other_weight_bytes: the size of the tensors that belong to no layer.
        heads: attention heads of a layer.
        head_size: values of the key of one head.
        embedding_length: values of a token's embedding.
        feed_forward_length: values of the widest feed-forward layer that computes one token.
        vocabulary: tokens of the vocabulary.
        state_bytes: what the layers without attention keep for each prediction, however long it is.
        drafting_layers: layers that predict several tokens ahead.
        tokenizer: what a draft model's tokens must agree in: the tokenizer's type and the special tokens' ids.
        projector_bytes: the size of the file that gives the model image or audio input; 0 without one.
        adapter_bytes: the size of the LoRA adapters that it is loaded with.
        draft: the model that drafts for this one, in the same engine.
    """

    name: str
    domain: Domain
    layers: Sequence[LayerShape]
    other_weight_bytes: int
    heads: int
    head_size: int
    embedding_length: int
    feed_forward_length: int
    vocabulary: int
    state_bytes: int
    drafting_layers: int
    tokenizer: Mapping[str, Any]
    projector_bytes: int = 0
    adapter_bytes: int = 0
    draft: ModelShape | None = None

    @property
    def weight_bytes(self) -> int:
        """The size of all tensors."""
        return self.other_weight_bytes + sum(layer.weight_bytes for layer in self.layers)
