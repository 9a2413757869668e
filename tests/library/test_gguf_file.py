from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from studiolo.errors import ModelFileError
from studiolo.library.gguf_file import Header, Tensor, count_string, describe, read_metadata
from studiolo.paths import Home
from tests.support.model_files import write_gguf


def test_the_default_model(cache_home: Home) -> None:
    metadata = read_metadata(next(cache_home.models.rglob("SmolLM2*.gguf")))
    assert metadata.architecture == "llama"
    assert metadata.parameter_count == 134_515_008
    assert metadata.params_string == "135M"
    assert (metadata.quantization, metadata.bits) == ("Q4_1", 4)
    assert metadata.max_context_length == 8192
    assert metadata.block_count == 30
    assert metadata.domain == "llm"
    assert metadata.chat_template is not None and "<|im_start|>" in metadata.chat_template
    assert not metadata.trained_for_tool_use


def test_fields_are_read_as_the_formats_own_library_writes_them(tmp_path: Path) -> None:
    path = write_gguf(
        tmp_path / "m.gguf",
        arch="qwen3",
        weights=1_984_000,
        general__name="Mé",
        general__file_type=15,
        _context_length=40960,
        _block_count=28,
        tokenizer__ggml__tokens=["a", "", "ccc"] * 1000,
        tokenizer__ggml__token_type=[1, 2, 3],
        tokenizer__chat_template="{% if tools %}{{ tools }}{% endif %}",
    )
    metadata = read_metadata(path)
    assert metadata.name == "Mé"
    assert (metadata.quantization, metadata.bits) == ("Q4_K_M", 4)
    assert (metadata.max_context_length, metadata.block_count) == (40960, 28)
    assert metadata.parameter_count == 1_984_064
    assert metadata.params_string == "2M"
    assert metadata.trained_for_tool_use


@pytest.mark.parametrize("architecture", [[], ["llama"], 7, True, 0.5])
def test_an_architecture_of_a_wrong_type_is_unknown(architecture: object) -> None:
    header = Header({"general.architecture": architecture}, [Tensor("output.weight", (2, 2), 0, 0)], 0)
    metadata = describe(header)
    assert (metadata.architecture, metadata.type) == ("unknown", "model")


def test_the_quantization_is_that_of_most_weights_where_the_file_does_not_say(tmp_path: Path) -> None:
    assert read_metadata(write_gguf(tmp_path / "m.gguf")).quantization == "F32"


@pytest.mark.parametrize(
    ("arch", "fields", "domain"),
    [
        ("llama", {}, "llm"),
        ("bert", {}, "embedding"),
        ("nomic-bert", {}, "embedding"),
        ("qwen3", {"_pooling_type": 3}, "embedding"),
        ("qwen3", {"_pooling_type": 0}, "llm"),
    ],
)
def test_the_domain(tmp_path: Path, arch: str, fields: dict[str, int], domain: str) -> None:
    assert read_metadata(write_gguf(tmp_path / "m.gguf", arch=arch, **fields)).domain == domain


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (0, None),
        (7, "7"),
        (134_515_008, "135M"),
        (1_700_000_000, "1.7B"),
        (7_000_000_000, "7B"),
        (70_553_706_496, "71B"),
    ],
)
def test_counts_as_people_say_them(parameters: int, said: str | None) -> None:
    assert count_string(parameters) == said


def test_a_file_that_is_not_gguf(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"<!DOCTYPE html><html>")
    with pytest.raises(ModelFileError, match=r"m\.gguf is not a GGUF file.*HTML, probably an error page"):
        read_metadata(path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelFileError, match="Git LFS pointer"):
        read_metadata(path)


def test_an_empty_file_a_missing_one_and_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    with pytest.raises(ModelFileError, match=r"cannot be read.*No such file"):
        read_metadata(path)
    path.touch()
    with pytest.raises(ModelFileError, match="is empty"):
        read_metadata(path)
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_metadata(tmp_path)


def test_a_file_cut_anywhere_is_incomplete(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "whole.gguf", tokenizer__ggml__tokens=["a", "b"], general__name="x").read_bytes()
    read_metadata(tmp_path / "whole.gguf")
    cut = tmp_path / "cut.gguf"
    header_end = len(whole) - 4 * (4096 + 64)
    padding = 32 * 4
    for length in [*range(4, header_end + padding, 3), len(whole) - padding]:
        cut.write_bytes(whole[:length])
        with pytest.raises(ModelFileError, match="is incomplete") as caught:
            read_metadata(cut)
        assert caught.value.data["size_bytes"] == length
        assert length < caught.value.data["needed_bytes"] <= len(whole)
        assert f"{length:,}" in str(caught.value)


def test_the_error_has_both_sizes_of_a_file_whose_tensors_are_cut(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    whole = path.read_bytes()
    end = len(whole) - len(whole) % 32
    path.write_bytes(whole[: end - 1000])
    with pytest.raises(ModelFileError, match=rf"It has {end - 1000:,} bytes, and its tensors need {end:,}"):
        read_metadata(path)


def test_other_versions_are_refused_by_their_number(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 9, 0, 0))
    with pytest.raises(ModelFileError, match="GGUF version 9"):
        read_metadata(path)
    path.write_bytes(b"GGUF" + struct.pack(">IQQ", 3, 0, 0))
    with pytest.raises(ModelFileError, match="big-endian"):
        read_metadata(path)


def test_a_header_is_read_without_numpy(cache_home: Home) -> None:
    model = next(cache_home.models.rglob("SmolLM2*.gguf"))
    code = f"""
import sys
from pathlib import Path
from studiolo.library.gguf_file import read_metadata
from studiolo.library.gguf_tables import gguf_tables
found = read_metadata(Path({str(model)!r}))
assert found.architecture == "llama" and found.quantization == "Q4_1", found
assert not sys.modules.keys() & {{"gguf", "numpy"}}
import gguf
assert [*gguf_tables().MODEL_ARCH_NAMES.values()] == [*gguf.MODEL_ARCH_NAMES.values()]
"""
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
