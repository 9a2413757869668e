"""The default model with two of its thirty layers and a sixth of its vocabulary.

What it says makes no sense, and takes a fraction of the time: for tests that want a model to read and to write,
whatever it may be. Most of an engine's start is the vocabulary: the engine examines each token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf

LAYERS = 2
TOKENS = 8192
"""The control tokens, the bytes, and the earliest merges: a text has more tokens than with the whole vocabulary."""


def write_quick(path: Path, model: Path) -> None:
    """Write the first layers of the GGUF file ``model``, with the first tokens, to ``path``."""
    reader = gguf.GGUFReader(model)
    fields = reader.fields.values()
    metadata: dict[str, Any] = {field.name: field.contents() for field in fields if not field.name.startswith("GGUF.")}
    architecture = metadata.pop(gguf.Keys.General.ARCHITECTURE)
    metadata[gguf.Keys.LLM.BLOCK_COUNT.format(arch=architecture)] = LAYERS
    metadata[gguf.Keys.LLM.VOCAB_SIZE.format(arch=architecture)] = TOKENS
    whole = len(metadata[gguf.Keys.Tokenizer.LIST])
    for name in (gguf.Keys.Tokenizer.LIST, gguf.Keys.Tokenizer.TOKEN_TYPE):
        metadata[name] = metadata[name][:TOKENS]
    kept = set(metadata[gguf.Keys.Tokenizer.LIST])
    merges = gguf.Keys.Tokenizer.MERGES
    metadata[merges] = [
        merge for merge in metadata[merges] if kept.issuperset(merge.split(" ")) and merge.replace(" ", "") in kept
    ]

    writer = gguf.GGUFWriter(path, architecture)
    for name, value in metadata.items():
        kind, *items = reader.fields[name].types
        writer.add_key_value(name, value, kind, sub_type=items[-1] if items else None)
    for tensor in reader.tensors:
        prefix, _, rest = tensor.name.partition(".")
        if prefix != "blk" or int(rest.partition(".")[0]) < LAYERS:
            rows = tensor.data[:TOKENS] if len(tensor.data) == whole else tensor.data  # embeddings: a row a token
            writer.add_tensor(tensor.name, rows, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
