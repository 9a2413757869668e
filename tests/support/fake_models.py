"""Models that are a header and a few numbers: enough for the library and for estimates, loaded by the fake engine."""

from __future__ import annotations

import struct
from pathlib import Path

from studiolo.paths import Home


def add_model(home: Home, name: str, *, architecture: str = "llama", vision: bool = False) -> Path:
    """Write the model ``name`` into ``home``; the architecture ``bert`` makes it an embedding model."""
    folder = home.models / "fake" / name
    folder.mkdir(parents=True)
    shape = {
        "block_count": 2,
        "context_length": 2048,
        "embedding_length": 64,
        "feed_forward_length": 128,
        "attention.head_count": 2,
        "attention.head_count_kv": 2,
    }
    fields = {f"{architecture}.{field}": value for field, value in shape.items()}
    _write(folder / f"{name}.gguf", {"general.architecture": architecture, **fields})
    if vision:
        projector = {"general.architecture": "clip", "general.type": "mmproj", "clip.has_vision_encoder": True}
        projector |= {
            f"clip.vision.{field}": 2 for field in ("embedding_length", "block_count", "attention.head_count")
        }
        _write(folder / f"mmproj-{name}.gguf", projector)
    return folder / f"{name}.gguf"


def _write(path: Path, fields: dict[str, str | int | bool]) -> None:
    """Write a GGUF file with one tensor."""
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, len(fields))
    for name, value in fields.items():
        header += _text(name)
        if isinstance(value, str):
            header += struct.pack("<I", 8) + _text(value)
        elif isinstance(value, bool):
            header += struct.pack("<I?", 7, value)
        else:
            header += struct.pack("<II", 4, value)
    header += _text("token_embd.weight") + struct.pack("<IQQIQ", 2, 64, 16, 0, 0)
    header += bytes(-len(header) % 32)
    path.write_bytes(header + bytes(4 * 64 * 16))


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()
