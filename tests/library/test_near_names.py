"""Names that nothing has, and names that differ in case alone."""

from __future__ import annotations

import asyncio

import pytest

from studiolo.errors import PathNotFoundError
from studiolo.library import Library
from studiolo.library.near_names import closest
from studiolo.library.snapshot import ModelFolder
from tests.support.model_files import write_gguf

MANY = [*(f"model-{number:04}" for number in range(2000)), "smollm2-135m-instruct", "p/qwen3-8b", "text-embedding-x"]


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("smolm2", "smollm2-135m-instruct"),
        ("smollm2 instruct", "smollm2-135m-instruct"),
        ("model 7", "model-0007"),
        ("model-1999x", "model-1999"),
        ("Qwen-8B", "p/qwen3-8b"),
        ("qwen2", "p/qwen3-8b"),
        ("embedding", "text-embedding-x"),
    ],
)
def test_the_closest_name_is_suggested_first(name: str, first: str) -> None:
    assert closest(name, MANY)[0] == first


@pytest.mark.parametrize("name", ["", "zz", "\u65e5\u672c", "9" * 10_000])
def test_names_like_none_have_no_suggestion(name: str) -> None:
    assert closest(name, MANY) == []


async def test_many_requests_with_unknown_names_share_their_looks_at_the_disk(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(library.home.models / "p" / "q" / "mine.gguf")
    looks: list[None] = []
    real = ModelFolder.files
    monkeypatch.setattr(ModelFolder, "files", lambda *given: looks.append(None) or real(*given))
    wanted = (library.resolve(f"nobody-{number}") for number in range(100))
    answers = await asyncio.gather(*wanted, return_exceptions=True)
    assert all(isinstance(answer, PathNotFoundError) for answer in answers)
    assert 1 <= len(looks) <= 3


async def test_keys_that_differ_in_case_alone_mean_the_models_that_they_are_listed_for(library: Library) -> None:
    for name in ("q/Alpha.gguf", "q/alpha.gguf", "r/ALPHA.gguf"):
        write_gguf(library.home.models / "p" / name)
    if len(list(library.home.models.rglob("*.gguf"))) < 3:
        pytest.skip("file names differ in more than case here")
    models = await library.models()
    assert len({model.key for model in models}) == len({model.path for model in models}) == 3
    for model in models:
        assert (await library.resolve(model.key)).path == model.path
