"""A model with random weights: run as ``python -m bench.random_weights 8b VOCABULARY.gguf OUT.gguf``.

How fast a model runs depends on its shape and on the type of its weights, not on their values, so that a machine can be
measured with large models where none can be downloaded. What it answers makes no sense.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy
from numpy.typing import NDArray

BLOCK_VALUES = 32
BLOCK = numpy.dtype([("scale", "<f2"), ("values", "u1", BLOCK_VALUES // 2)])
"""A block of Q4_0: 32 numbers from -8 to 7 of four bits, and their common scale (ggml's ``block_q4_0``)."""


@dataclass(frozen=True)
class Shape:
    """The shape of a Llama model.

    Parameters:
        width: of the embedding.
        inner: width of the feed-forward layers.
        heads, kv_heads: attention heads, and those of keys and values.
    """

    width: int
    layers: int
    inner: int
    heads: int
    kv_heads: int


SHAPES = {
    "1b": Shape(width=2048, layers=16, inner=8192, heads=32, kv_heads=8),
    "8b": Shape(width=4096, layers=32, inner=14336, heads=32, kv_heads=8),
    "14b": Shape(width=5120, layers=40, inner=17408, heads=40, kv_heads=8),
}
"""Those of Llama 3.2 1B, Llama 3.1 8B and Qwen3 14B, with another vocabulary."""


def write(path: Path, shape: Shape, vocabulary: Path) -> None:
    """Write a model with the vocabulary and the chat template of the GGUF file ``vocabulary`` to ``path``."""
    source = gguf.GGUFReader(vocabulary)
    tokens = len(source.fields[gguf.Keys.Tokenizer.LIST].data)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("model")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_block_count(shape.layers)
    writer.add_context_length(131_072)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_vocab_size(tokens)
    for name, field in source.fields.items():
        if name.startswith("tokenizer."):
            kind, *items = field.types
            writer.add_key_value(name, field.contents(), kind, items[0] if items else None)
    random = numpy.random.default_rng(1)
    kept: dict[tuple[int, int], NDArray[numpy.uint8]] = {}

    def add(name: str, rows: int, columns: int) -> None:
        if (rows, columns) not in kept:
            kept[rows, columns] = _blocks(random, rows, columns)
        writer.add_tensor(f"{name}.weight", kept[rows, columns], raw_dtype=gguf.GGMLQuantizationType.Q4_0)

    def add_norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", numpy.ones(shape.width, numpy.float32))

    kv_width = shape.width // shape.heads * shape.kv_heads
    add("token_embd", tokens, shape.width)
    add("output", tokens, shape.width)
    add_norm("output_norm")
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        add_norm(f"{block}.attn_norm")
        add_norm(f"{block}.ffn_norm")
        add(f"{block}.attn_q", shape.width, shape.width)
        add(f"{block}.attn_k", kv_width, shape.width)
        add(f"{block}.attn_v", kv_width, shape.width)
        add(f"{block}.attn_output", shape.width, shape.width)
        add(f"{block}.ffn_gate", shape.inner, shape.width)
        add(f"{block}.ffn_up", shape.inner, shape.width)
        add(f"{block}.ffn_down", shape.width, shape.inner)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _blocks(random: numpy.random.Generator, rows: int, columns: int) -> NDArray[numpy.uint8]:
    """Return a matrix in Q4_0, whose product with a vector has about the vector's size: (rows, bytes of a row)."""
    count = rows * columns // BLOCK_VALUES
    blocks = numpy.zeros(count, BLOCK)
    blocks["scale"] = columns**-0.5 / 4.6  # the standard deviation of -8 to 7
    blocks["values"] = random.integers(0, 256, (count, BLOCK_VALUES // 2), numpy.uint8)
    return blocks.view(numpy.uint8).reshape(rows, -1)


def main() -> None:
    """Write the model that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench.random_weights", description=__doc__)
    parser.add_argument("shape", choices=list(SHAPES))
    parser.add_argument("vocabulary", type=Path, help="a GGUF file whose vocabulary and chat template it has")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    write(options.out, SHAPES[options.shape], options.vocabulary)


if __name__ == "__main__":
    main()
