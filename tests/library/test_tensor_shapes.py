"""The shapes of models' tensors, which say whether LoRA adapters fit, are stored for the next process."""

from __future__ import annotations

import os
import sqlite3

import pytest

from studiolo.library import Library, tensor_shapes
from studiolo.paths import Home
from tests.support.model_files import write_gguf_of

Q = "blk.0.attn_q.weight"
PAIR = {f"{Q}.lora_a": (64, 4), f"{Q}.lora_b": (4, 64)}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose headers are read for shapes from now on."""
    done: list[str] = []
    read = tensor_shapes.read_shapes
    monkeypatch.setattr(tensor_shapes, "read_shapes", lambda path: done.append(path.name) or read(path))
    return done


async def fits(home: Home) -> tuple[str, ...]:
    """The models that the adapter fits, by a library of its own, as each process has one."""
    library = Library(home)
    try:
        return next(model.fits for model in await library.models() if model.key == "tune")
    finally:
        await library.close()


@pytest.fixture
def home(empty_home: Home) -> Home:
    write_gguf_of(empty_home.models / "p" / "base.gguf", "llama", {"llama.block_count": 1}, {Q: (64, 64)})
    write_gguf_of(empty_home.models / "p" / "wide.gguf", "llama", {"llama.block_count": 1}, {Q: (64, 96)})
    write_gguf_of(empty_home.models / "p" / "other.gguf", "qwen2", {"qwen2.block_count": 1}, {Q: (64, 64)})
    write_gguf_of(
        empty_home.models / "p" / "tune.gguf",
        "llama",
        {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 8.0},
        PAIR,
    )
    return empty_home


async def test_a_second_process_does_not_read_the_headers_again(home: Home, reads: list[str]) -> None:
    assert await fits(home) == ("base",)
    assert sorted(reads) == ["base.gguf", "wide.gguf"]
    assert await fits(home) == ("base",)
    assert len(reads) == 2


async def test_a_file_that_has_changed_is_read_again(home: Home, reads: list[str]) -> None:
    assert await fits(home) == ("base",)
    wide = home.models / "p" / "wide.gguf"
    write_gguf_of(wide, "llama", {"llama.block_count": 1}, {Q: (64, 64)})
    os.utime(wide, ns=(1, 1))
    assert await fits(home) == ("base", "wide")
    assert reads[2:] == ["wide.gguf"]


async def test_rows_that_cannot_be_read_are_replaced(home: Home, reads: list[str]) -> None:
    expected = await fits(home)
    with sqlite3.connect(next(home.root.rglob("state.db"))) as database:
        database.execute("UPDATE tensor_shapes SET shapes = '[1]'")
    database.close()
    assert await fits(home) == expected and len(reads) == 4
    assert await fits(home) == expected and len(reads) == 4


async def test_models_without_an_adapter_are_not_read(home: Home, reads: list[str]) -> None:
    (home.models / "p" / "tune.gguf").unlink()
    library = Library(home)
    try:
        assert len(await library.models()) == 3
    finally:
        await library.close()
    assert reads == []
