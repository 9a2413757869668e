"""Models that are a header and a few numbers: enough for the library and for estimates, loaded by the fake engine."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from studiolo.paths import Home


def add_model(
    home: Home,
    name: str,
    *,
    architecture: str = "llama",
    vision: bool = False,
    audio: bool = False,
    infill: Sequence[int] = (),
) -> Path:
    """Write the model ``name`` into ``home``; the architecture ``bert`` makes it an embedding model.

    ``infill`` has its tokens before the prefix, before the suffix and in the gap of a text.
    """
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
    tokens: dict[str, int | list[str]] = {}
    if infill:
        tokens["tokenizer.ggml.tokens"] = [f"t{number}" for number in range(max(infill) + 1)]
        for part, number in zip(("pre", "suf", "mid"), infill, strict=True):
            tokens[f"tokenizer.ggml.fim_{part}_token_id"] = number
    _write(folder / f"{name}.gguf", {"general.architecture": architecture, **fields, **tokens})
    if vision or audio:
        projector = {"general.architecture": "clip", "general.type": "mmproj"}
        projector |= {"clip.has_vision_encoder": vision, "clip.has_audio_encoder": audio}
        projector |= {
            f"clip.vision.{field}": 2 for field in ("embedding_length", "block_count", "attention.head_count")
        }
        _write(folder / f"mmproj-{name}.gguf", projector)
    return folder / f"{name}.gguf"


def _write(path: Path, fields: Mapping[str, str | int | bool | list[str]]) -> None:
    """Write a GGUF file with one tensor."""
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, len(fields))
    for name, value in fields.items():
        header += _text(name)
        if isinstance(value, str):
            header += struct.pack("<I", 8) + _text(value)
        elif isinstance(value, list):
            header += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_text, value))
        elif isinstance(value, bool):
            header += struct.pack("<I?", 7, value)
        else:
            header += struct.pack("<II", 4, value)
    header += _text("token_embd.weight") + struct.pack("<IQQIQ", 2, 64, 16, 0, 0)
    header += bytes(-len(header) % 32)
    path.write_bytes(header + bytes(4 * 64 * 16))


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()
