"""Random headers of GGUF files: each is read, or refused with an error that names the file."""

from __future__ import annotations

import struct
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from studiolo.errors import ModelFileError
from studiolo.library.gguf_file import read_header, read_metadata
from studiolo.library.model_shape import shape_of
from studiolo.library.vocabulary import read_vocabulary
from tests.support.model_files import write_gguf

pytestmark = pytest.mark.fuzz

LIMIT_SEC = 10.0
"""Far above what a header of these sizes takes."""

_header = b"GGUF" + struct.pack("<I", 3)
_key = struct.pack("<Q", 1) + b"k"


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda rest: _header + rest)))
@example(_header + struct.pack("<QQ", 2**63, 2**63))
@example(_header + struct.pack("<QQ", 0, 1) + _key + struct.pack("<IIQ", 9, 4, 2**62))
@example(_header + struct.pack("<QQ", 0, 1) + _key + struct.pack("<IIQ", 9, 9, 1) * 3)
@example(_header + struct.pack("<QQ", 0, 1) + struct.pack("<Q", 2**64 - 1))
@example(_header + struct.pack("<QQ", 0, 1) + _key + struct.pack("<II", 99, 0))
@example(_header + struct.pack("<QQ", 1, 0) + _key + struct.pack("<I", 2**31) + bytes(40))
@example(_header + struct.pack("<QQ", 1, 0) + _key + struct.pack("<IQQIQ", 2, 2**63, 2**63, 0, 2**63))
def test_no_bytes_whatever_raise_anything_else(content: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
        file.write(content)
        file.flush()
        try:
            read_metadata(Path(file.name))
        except ModelFileError as error:
            assert file.name in str(error)
        else:
            assert content.startswith(b"GGUF")


@given(data=st.data())
def test_a_file_with_a_byte_flipped(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.gguf"
    content = bytearray(write_gguf(path, general__name="name", tokenizer__ggml__tokens=["a", "b"]).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(4, 350))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        read_metadata(path)
    except ModelFileError as error:
        assert str(path) in str(error)


NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The scalar types of the format by their code."""

MEANINGFUL = (
    *("general.architecture", "general.alignment", "general.type", "general.file_type", "general.size_label"),
    *("llama.block_count", "llama.context_length", "llama.embedding_length", "llama.attention.head_count"),
    *("llama.attention.head_count_kv", "llama.attention.sliding_window", "llama.expert_count", "llama.pooling_type"),
    *(
        "tokenizer.chat_template",
        "tokenizer.ggml.tokens",
        "tokenizer.ggml.token_type",
        "clip.has_vision_encoder",
        "adapter.type",
        "general.name",
    ),
)
SAID = ("llama", "bert", "clip", "model", "mmproj", "adapter", "imatrix", "{{ messages", "x")


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


@st.composite
def numbers(draw: st.DrawFn, code: int) -> bytes:
    kind = NUMBERS[code]
    if kind == "?":
        return struct.pack("<B", draw(st.integers(0, 2)))
    if kind in "fd":
        return struct.pack("<" + kind, draw(st.floats(width=32)))
    bits = 8 * struct.calcsize(kind)
    least, most = (0, 2**bits - 1) if kind.isupper() else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    usual = st.integers(0, min(most, 64))
    return struct.pack("<" + kind, draw(usual | st.integers(least, most)))


texts = st.sampled_from(SAID).map(str.encode) | st.binary(max_size=12)


@st.composite
def fields(draw: st.DrawFn) -> bytes:
    """A field of the header: its key, its type, its value."""
    key = text(draw(st.sampled_from(MEANINGFUL).map(str.encode) | texts))
    kind = draw(st.sampled_from([*NUMBERS, 8, 8, 8, 9, 9]))
    if kind == 8:
        return key + struct.pack("<I", kind) + text(draw(texts))
    if kind == 9:
        inner = draw(st.sampled_from([*NUMBERS, 8]))
        values = [text(draw(texts)) if inner == 8 else draw(numbers(inner)) for _ in range(draw(st.integers(0, 5)))]
        count = draw(st.just(len(values)) | st.integers(0, 2**64 - 1)) if draw(st.booleans()) else len(values)
        return key + struct.pack("<IIQ", kind, inner, count) + b"".join(values)
    return key + struct.pack("<I", kind) + draw(numbers(kind))


@st.composite
def tensors(draw: st.DrawFn) -> bytes:
    sizes = draw(st.lists(st.integers(0, 64) | st.integers(0, 2**64 - 1), max_size=5))
    kind, offset = draw(st.integers(0, 45)), draw(st.integers(0, 4096) | st.integers(0, 2**64 - 1))
    name = text(draw(st.sampled_from([b"token_embd.weight", b"blk.0.attn_q.weight", b"x.lora_a"]) | texts))
    return name + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """A whole header with the right counts, and some of its bytes changed."""
    some, more = draw(st.lists(fields(), max_size=8)), draw(st.lists(tensors(), max_size=4))
    content = bytearray(struct.pack("<4sIQQ", b"GGUF", 3, len(more), len(some)) + b"".join([*some, *more]))
    for _ in range(draw(st.integers(0, 3)) if draw(st.booleans()) else 0):
        content[draw(st.integers(8, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content) + bytes(draw(st.sampled_from([0, 32, 4096])))


@given(headers())
def test_a_header_of_the_right_form_with_any_values(content: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
        file.write(content)
        file.flush()
        begin = time.monotonic()
        for read in (read_metadata, shape, read_vocabulary):
            try:
                read(Path(file.name))
            except ModelFileError as error:
                assert file.name in str(error)
        assert time.monotonic() - begin < LIMIT_SEC


def shape(path: Path) -> Any:
    return shape_of(read_header(path, check=False), path.stat().st_size, "llm")
