"""A tiny audio model with random weights: what it says is noise, how it is loaded and given audio is real.

The language model is the vision model's; the projector beside it is Qwen2-Audio's: an encoder of Whisper's form.
"""

from __future__ import annotations

import io
import math
import struct
import wave
from pathlib import Path

from tests.support.models.vision import (
    HEADS,
    INNER,
    LAYERS,
    WIDTH,
    add_encoder_blocks,
    adder,
    finish,
    write_text_model,
)

BANDS = 128
"""Mel bands, which the engine fixes for this kind."""

POSITIONS = 1500
"""Of 30 s, which the engine fills up to."""


def write_audio_text_model(path: Path, vocabulary: Path) -> None:
    """Write the language model, with the vocabulary and the chat template of the file ``vocabulary``."""
    write_text_model(path, vocabulary)


def write_audio_projector(path: Path) -> None:
    """Write the audio encoder and the projector that belong to the language model."""
    import gguf
    import numpy

    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_name("Tiny Audio")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_clip_has_audio_encoder(True)
    writer.add_clip_projector_type("qwen2a")
    writer.add_audio_projection_dim(WIDTH)
    writer.add_audio_embedding_length(WIDTH)
    writer.add_audio_feed_forward_length(INNER)
    writer.add_audio_block_count(LAYERS)
    writer.add_audio_head_count(HEADS)
    writer.add_audio_num_mel_bins(BANDS)
    writer.add_audio_attention_layernorm_eps(1e-5)

    add = adder(writer, seed=3)
    random = numpy.random.default_rng(4)

    def add_float(name: str, *shape: int) -> None:
        writer.add_tensor(name, (0.01 * random.standard_normal(shape)).astype(numpy.float32))

    for number, width in ((1, BANDS), (2, WIDTH)):
        add(f"a.conv1d.{number}.weight", WIDTH, width, 3)
        add_float(f"a.conv1d.{number}.bias", WIDTH, 1)
    add_float("a.position_embd.weight", POSITIONS, WIDTH)
    add("a.post_ln.weight", WIDTH)
    add("a.post_ln.bias", WIDTH)
    add_encoder_blocks(add, "a", unbiased="attn_k")
    add("mm.a.fc.weight", WIDTH, WIDTH)
    add("mm.a.fc.bias", WIDTH)
    finish(writer)


def tone(hertz: int = 300, seconds: int = 20, rate: int = 16000) -> bytes:
    """A WAV file with a tone."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        samples = (int(9000 * math.sin(2 * math.pi * hertz * i / rate)) for i in range(rate))
        file.writeframes(b"".join(struct.pack("<h", sample) for sample in samples) * seconds)
    return out.getvalue()
