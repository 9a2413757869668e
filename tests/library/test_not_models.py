"""GGUF files that are not models, and projectors that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studiolo.errors import ModelFileError
from studiolo.library import Library
from studiolo.library.model_import import plan_import
from studiolo.paths import Home
from tests.support.model_files import write_gguf, write_gguf_of

ADAPTER = {"adapter.type": "lora", "adapter.lora.alpha": 8.0}
LORA = {"blk.0.attn_q.weight.lora_a": (64, 4), "blk.0.attn_q.weight.lora_b": (4, 64)}
IMATRIX = {"imatrix.chunk_count": 4, "imatrix.chunk_size": 512}
SUMS = {"blk.0.attn_q.weight.in_sum2": (64, 1), "blk.0.attn_q.weight.counts": (1,)}

FILES: dict[str, tuple[str, str, dict[str, Any], dict[str, tuple[int, ...]]]] = {
    "vocabulary": ("a vocabulary without weights", "llama", {"llama.context_length": 2048}, {}),
    "control-vector": ("a control vector", "controlvector", {"x.y": 1}, {"direction.1": (64,)}),
    "lora": ("a LoRA adapter", "llama", {"general.type": "adapter", **ADAPTER}, LORA),
    "lora-without-type": ("a LoRA adapter", "llama", {}, LORA),
    "lora-without-tensors": ("a LoRA adapter", "llama", ADAPTER, {"x": (64,)}),
    "imatrix": ("an imatrix", "llama", {"general.type": "imatrix", **IMATRIX}, SUMS),
    "imatrix-without-type": ("an imatrix", "llama", IMATRIX, {"x": (64,)}),
    "imatrix-without-fields": ("an imatrix", "llama", {}, SUMS),
    "projector": ("a projector", "clip", {"general.type": "mmproj"}, {"v.x": (64,)}),
    "mmproj-without-type": ("a projector", "clip", {}, {"v.x": (64,)}),
    "projector-by-tensors": ("a projector", "x", {}, {"v.blk.0.x": (64,), "mm.0.weight": (64,)}),
    "draft-head": ("a draft head", "eagle3", {}, {"fc.weight": (64,)}),
    "mtp": ("a draft head", "qwen3", {}, {"blk.4.nextn.eh_proj.weight": (64,), "blk.4.attn_q.weight": (64,)}),
    "diffusion": ("an image or video model", "flux", {}, {"double_blocks.0.x": (64,)}),
    "speech": ("a speech model", "whisper", {}, {"encoder.x": (64,)}),
    "other-type": ("of another type than a model", "llama", {"general.type": "dataset"}, {"x": (64,)}),
    "unknown": ("a model of the architecture 'quux', which the engine does not know", "quux", {}, {"x": (64,)}),
}


def write(folder: Path, name: str) -> Path:
    _, architecture, fields, tensors = FILES[name]
    return write_gguf_of(folder / f"{name}.gguf", architecture, fields, tensors)


@pytest.mark.parametrize("name", FILES)
async def test_a_file_that_is_no_model_says_what_it_is(library: Library, tmp_path: Path, name: str) -> None:
    write(library.home.models / "p" / "x", name)
    (listed,) = await library.models()
    assert listed.key == name and listed.metadata is None and listed.domain is None and not listed.variants
    assert listed.error is not None and f"It is {FILES[name][0]}" in listed.error
    assert (listed.kind == "model") == (name == "unknown")
    assert await library.default() is None and await library.default("embedding") is None
    with pytest.raises(ModelFileError, match=FILES[name][0]):
        await library.resolve(name)
    outside = write(tmp_path, name)
    with pytest.raises(ModelFileError, match=FILES[name][0]):
        await library.resolve(str(outside))
    if listed.kind not in ("mmproj", "model"):
        with pytest.raises(ModelFileError, match=rf"is not a model\. It is {FILES[name][0]}"):
            plan_import(library.home, outside, "copy")


async def test_files_beside_a_model_are_no_variants_of_it_and_take_no_name_from_it(library: Library) -> None:
    folder = library.home.models / "p" / "m-GGUF"
    model = write_gguf(folder / "m.Q4_0.gguf")
    write_gguf_of(folder / "m.F16.gguf", "llama", {}, LORA)
    write_gguf_of(folder / "m.imatrix.gguf", "llama", IMATRIX, SUMS)
    write_gguf_of(library.home.models / "q" / "m.gguf", "llama", {}, {})
    models = {each.key: each for each in await library.models()}
    assert models["m"].path == model and not models["m"].variants and models["m"].error is None
    assert len(models) == 4 and all(each.error for key, each in models.items() if key != "m")
    assert (await library.default()) == models["m"]


async def test_another_engine_may_know_other_architectures(library: Library) -> None:
    write(library.home.models / "p", "unknown")
    (listed,) = await library.models()
    assert listed.error is not None
    with library.home.settings.open("a") as settings:
        settings.write('[engine]\nname = "llama-server"\n')
    (listed,) = await library.models()
    assert listed.error is None and (await library.resolve("unknown")).path == listed.path


async def test_a_projector_that_does_not_fit_leaves_a_text_model_and_a_note(library: Library) -> None:
    folder = library.home.models / "p" / "m-GGUF"
    write_gguf(folder / "m.Q4_0.gguf", _embedding_length=576)
    bad = write_gguf_of(folder / "mmproj-model-f16.gguf", "clip", {"general.type": "mmproj"}, {"v.x": (64,)})
    (model,) = await library.models()
    assert model.error is None and not model.vision and model.mmproj is None
    assert model.note is not None and str(bad) in model.note and "clip.vision.embedding_length" in model.note
    bad.write_bytes(b"")
    (model,) = await library.models()
    assert not model.vision and model.note is not None and "0 bytes" in model.note
    write_gguf(bad, arch="clip", _vision__projection_dim=2048)
    (model,) = await library.models()
    assert model.note is not None and "embedding length is 2048, and this one's is 576" in model.note
    write_gguf(bad, arch="clip", _vision__projection_dim=768, _has_llava_projector=1)
    (model,) = await library.models()
    assert model.vision and model.mmproj == bad and model.note is None, "older files say another width there"


async def test_of_several_projectors_one_that_fits_is_used(library: Library, tmp_path: Path) -> None:
    folder = library.home.models / "p" / "m-GGUF"
    write_gguf(folder / "m.Q4_0.gguf", _embedding_length=576)
    bad = write_gguf(folder / "mmproj-F16.gguf", arch="clip", _vision__projection_dim=64)
    good = write_gguf(tmp_path / "eye.gguf", arch="clip", _vision__projection_dim=576)
    (folder / "mmproj-F32.gguf").symlink_to(good)
    (model,) = await library.models()
    assert model.vision and model.mmproj == folder / "mmproj-F32.gguf"
    assert model.note is not None and str(bad) in model.note
    bad.unlink()
    write_gguf(bad, arch="clip", _vision__projection_dim=576)
    (model,) = await library.models()
    assert model.mmproj == bad and model.note is None, "two that fit: half precision first"


async def test_a_projector_of_no_model_in_its_folder_is_listed(library: Library) -> None:
    folder = library.home.models / "p" / "several"
    for name in ("seer", "other"):
        write_gguf(folder / f"{name}.gguf")
    write_gguf(folder / "mmproj-unrelated.gguf", arch="clip")
    models = {each.key: each for each in await library.models()}
    assert sorted(models) == ["mmproj-unrelated", "other", "seer"]
    assert "It is a projector" in str(models["mmproj-unrelated"].error)
    assert models["seer"].note is None and not models["seer"].vision


def test_an_adapter_is_imported_only_if_it_fits(empty_home: Home, tmp_path: Path) -> None:
    adapter = write(tmp_path, "lora")
    with pytest.raises(ModelFileError, match="It is a LoRA adapter"):
        plan_import(empty_home, adapter, "copy")
