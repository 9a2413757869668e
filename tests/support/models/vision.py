"""A tiny vision model with random weights: what it says is noise, how it is loaded and given images is real.

Two files, as such models come: the language model (llama, with SmolLM2's vocabulary) and the projector beside it (a
CLIP tower and LLaVA's two layers). Run as ``python -m tests.support.models.vision SMOLLM2.gguf OUT.gguf``, which writes
``mmproj-OUT.gguf`` beside ``OUT.gguf``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

WIDTH, LAYERS, HEADS, INNER = 64, 2, 4, 128
IMAGE, PATCH = 64, 16
"""Pixels a side; an image becomes 16 tokens."""


def write_text_model(path: Path, vocabulary: Path, tensors_a_file: int = 0, **tokenizer: str | bool | int) -> None:
    """Write the language model to ``path``, with the vocabulary and the chat template of the file ``vocabulary``.

    Where ``tensors_a_file`` is given, it becomes shards beside ``path``.
    ``tokenizer`` has metadata that goes before the vocabulary's, without the prefix ``tokenizer.``; ``__`` is a dot.
    """
    import gguf

    kinds = {
        str: gguf.GGUFValueType.STRING,
        bool: gguf.GGUFValueType.BOOL,
        int: gguf.GGUFValueType.UINT32,
    }
    source = gguf.GGUFReader(vocabulary)
    tokens = len(source.fields["tokenizer.ggml.tokens"].data)
    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=tensors_a_file)
    add_text_fields(writer, tokens)
    own = {f"tokenizer.{name.replace('__', '.')}": value for name, value in tokenizer.items()}
    for name, field in source.fields.items():
        if name.startswith("tokenizer.") and name not in own:
            kind, *items = field.types
            writer.add_key_value(name, field.contents(), kind, items[0] if items else None)
    for name, value in own.items():
        writer.add_key_value(name, value, kinds[type(value)])
    add_text_weights(writer, tokens)
    finish(writer)


def add_text_fields(writer: Any, tokens: int) -> None:
    """Add the shape of the language model with a vocabulary of so many tokens."""
    import gguf

    writer.add_type("model")
    writer.add_name("Tiny Vision")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_block_count(LAYERS)
    writer.add_context_length(4096)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(tokens)


def add_text_weights(writer: Any, tokens: int) -> None:
    """Add the weights of the language model."""
    add = adder(writer, seed=1)
    add("token_embd.weight", tokens, WIDTH)
    add("output_norm.weight", WIDTH)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        add(f"{block}.attn_norm.weight", WIDTH)
        add(f"{block}.ffn_norm.weight", WIDTH)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"{block}.{part}.weight", WIDTH, WIDTH)
        add(f"{block}.ffn_gate.weight", INNER, WIDTH)
        add(f"{block}.ffn_up.weight", INNER, WIDTH)
        add(f"{block}.ffn_down.weight", WIDTH, INNER)


def write_projector(path: Path) -> None:
    """Write the vision tower and the projector that belong to the language model."""
    import gguf

    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_name("Tiny Vision")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("mlp")
    writer.add_vision_projection_dim(WIDTH)
    writer.add_vision_image_size(IMAGE)
    writer.add_vision_patch_size(PATCH)
    writer.add_vision_embedding_length(WIDTH)
    writer.add_vision_feed_forward_length(INNER)
    writer.add_vision_block_count(LAYERS)
    writer.add_vision_head_count(HEADS)
    writer.add_vision_attention_layernorm_eps(1e-5)
    writer.add_vision_image_mean([0.5, 0.5, 0.5])
    writer.add_vision_image_std([0.5, 0.5, 0.5])
    writer.add_vision_use_gelu(True)

    add = adder(writer, seed=2)
    add("v.patch_embd.weight", WIDTH, 3, PATCH, PATCH)
    add("v.class_embd", WIDTH)
    add("v.position_embd.weight", (IMAGE // PATCH) ** 2 + 1, WIDTH)
    for name in ("v.pre_ln", "v.post_ln"):
        add(f"{name}.weight", WIDTH)
        add(f"{name}.bias", WIDTH)
    add_encoder_blocks(add, "v")
    for layer in (0, 2):
        add(f"mm.{layer}.weight", WIDTH, WIDTH)
        add(f"mm.{layer}.bias", WIDTH)
    finish(writer)


def add_encoder_blocks(add: Any, encoder: str, unbiased: str = "") -> None:
    """Add the layers of an encoder, ``v`` or ``a``; the part ``unbiased`` of each has no bias."""
    for layer in range(LAYERS):
        block = f"{encoder}.blk.{layer}"
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            add(f"{block}.{part}.weight", WIDTH, WIDTH)
            if part != unbiased:
                add(f"{block}.{part}.bias", WIDTH)
        for part in ("ln1", "ln2"):
            add(f"{block}.{part}.weight", WIDTH)
            add(f"{block}.{part}.bias", WIDTH)
        add(f"{block}.ffn_up.weight", INNER, WIDTH)
        add(f"{block}.ffn_up.bias", INNER)
        add(f"{block}.ffn_down.weight", WIDTH, INNER)
        add(f"{block}.ffn_down.bias", WIDTH)


def adder(writer: Any, seed: int) -> Any:
    """Return a function that adds a tensor of a name and a shape: the same numbers every time."""
    import numpy

    random = numpy.random.default_rng(seed)

    def add(name: str, *shape: int) -> None:
        if len(shape) == 1:
            near = 1.0 if name.endswith(("norm.weight", "ln.weight", "ln1.weight", "ln2.weight")) else 0.0
            writer.add_tensor(name, (near + 0.05 * random.standard_normal(shape)).astype(numpy.float32))
        else:
            scale = numpy.prod(shape[1:]) ** -0.5
            writer.add_tensor(name, (scale * random.standard_normal(shape)).astype(numpy.float16))

    return add


def finish(writer: Any) -> None:
    """Write the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    text = Path(sys.argv[2])
    write_text_model(text, Path(sys.argv[1]))
    write_projector(text.with_name(f"mmproj-{text.name}"))
