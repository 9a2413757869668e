"""Small model files, and catalogs that lead to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studiolo.paths import Home

PROJECTOR_FIELDS = {"_vision__embedding_length": 64, "_vision__block_count": 1, "_vision__attention__head_count": 2}


def write_gguf(path: Path, *, arch: str = "llama", weights: int = 4096, **fields: Any) -> Path:
    """Write a GGUF file with the format's own library.

    ``fields`` are header fields, with ``__`` for a dot and a leading ``_`` for the architecture's own. A projector
    (``clip``) has those without which no engine uses it.
    """
    import gguf
    import numpy

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, arch)
    if arch == "clip":
        fields = {**PROJECTOR_FIELDS, **fields}
    for key, value in fields.items():
        name = f"{arch}.{key[1:].replace('__', '.')}" if key.startswith("_") else key.replace("__", ".")
        if isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, list):
            writer.add_array(name, value)
        else:
            writer.add_uint32(name, value)
    writer.add_tensor("a.weight", numpy.zeros((weights // 64, 64), dtype=numpy.float32))
    writer.add_tensor("b.weight", numpy.ones(64, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_gguf_of(
    path: Path, architecture: str, fields: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]]
) -> Path:
    """Write a GGUF file with exactly these fields and tensors of zeros, whose shapes are in the format's order."""
    import gguf
    import numpy

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, architecture)
    for name, value in fields.items():
        match value:
            case str():
                writer.add_string(name, value)
            case float():
                writer.add_float32(name, value)
            case _:
                writer.add_uint32(name, value)
    for name, shape in tensors.items():
        writer.add_tensor(name, numpy.zeros(shape[::-1], dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_lora(
    path: Path,
    *,
    width: int = 576,
    output: int = 576,
    rank: int = 4,
    layers: int = 30,
    architecture: str = "llama",
    seed: int = 1,
) -> Path:
    """Write a LoRA adapter with random tensors for the queries of each layer; by default it fits SmolLM2-135M."""
    import gguf
    import numpy

    path.parent.mkdir(parents=True, exist_ok=True)
    random = numpy.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank))
    for layer in range(layers):
        for name, shape in (("a", (rank, width)), ("b", (output, rank))):
            tensor = (random.standard_normal(shape) * 0.3).astype(numpy.float32)
            writer.add_tensor(f"blk.{layer}.attn_q.weight.lora_{name}", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_catalog(home: Home, *sources: dict[str, Any], content: bytes | None = None, name: str = "tiny") -> None:
    """Write a user's catalog with one entry; ``content`` is what the fetched file must be."""
    lines = [f"[models.{name}]", "default = true", f'file = "me/{name}-GGUF/{name}.Q4_0.gguf"']
    if content is not None:
        lines += [f"size_bytes = {len(content)}", f'sha256 = "{hashlib.sha256(content).hexdigest()}"']
    for source in sources:
        lines.append(f"[[models.{name}.sources]]")
        lines += [f"{key} = {_toml(value)}" for key, value in source.items()]
    home.catalog.write_text("\n".join(lines))


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)
