"""The default model with two of its thirty layers: what it says makes no sense, and takes a fraction of the time.

For tests that want a model to read and to write, whatever it may be.
"""

from __future__ import annotations

from pathlib import Path

import gguf

LAYERS = 2


def write_quick(path: Path, model: Path) -> None:
    """Write the first layers of the GGUF file ``model`` to ``path``."""
    reader = gguf.GGUFReader(model)
    architecture = str(reader.fields[gguf.Keys.General.ARCHITECTURE].contents())
    block_count = gguf.Keys.LLM.BLOCK_COUNT.format(arch=architecture)
    writer = gguf.GGUFWriter(path, architecture)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == gguf.Keys.General.ARCHITECTURE:
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        value = LAYERS if field.name == block_count else field.contents()
        writer.add_key_value(field.name, value, kind, sub_type=inner)
    for tensor in reader.tensors:
        prefix, _, rest = tensor.name.partition(".")
        if prefix != "blk" or int(rest.partition(".")[0]) < LAYERS:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
