from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from studiolo.errors import ConfigError, ModelFileError, ModelNotFoundError
from studiolo.library import Library, State
from studiolo.paths import Home
from tests.support.model_files import write_gguf


async def keys(library: Library) -> list[str]:
    return [model.key for model in await library.models()]


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, studiolo.library, studiolo.library.sources.hf, studiolo.library.sources.pypi; "
        "print(*{'gguf', 'numpy', 'huggingface_hub', 'pip', 'requests', 'httpx'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""


async def test_the_default_model_is_listed(home: Home) -> None:
    library = Library(home)
    (model,) = await library.models()
    assert model.key == "smollm2-135m-instruct"
    assert model.display_name == "SmolLM2 135M Instruct"
    assert model.publisher == "HuggingFaceTB"
    assert model.relative_path == "HuggingFaceTB/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct.Q4_1.gguf"
    assert model.size_bytes == 98_362_432
    assert model.domain == "llm" and model.error is None
    assert await library.default() == model
    assert await library.fetch() == model, "what is there is not fetched again"
    await library.close()


async def test_an_empty_library(library: Library) -> None:
    assert await library.models() == []
    assert await library.default() is None
    with pytest.raises(ModelNotFoundError, match=r"library is empty.*studiolo get smollm2-135m-instruct"):
        await library.resolve("whatever")


async def test_only_models_are_listed_and_links_are_followed(library: Library, tmp_path: Path) -> None:
    models = library.home.models
    write_gguf(models / "p" / "a" / "a.gguf")
    for name in (".hidden.gguf", "mmproj-a.gguf", "notes.txt"):
        (models / "p" / "a" / name).write_bytes(b"GGUF")
    write_gguf(models / ".hidden" / "c.gguf")
    write_gguf(tmp_path / "elsewhere" / "d" / "d.gguf")
    (models / "linked").symlink_to(tmp_path / "elsewhere")
    (models / "p" / "e.gguf").symlink_to(tmp_path / "elsewhere" / "d" / "d.gguf")
    (models / "p" / "broken.gguf").symlink_to(tmp_path / "gone")
    (models / "p" / "loop").symlink_to(models)
    (models / "self").symlink_to(models / "self")
    (models / "folder.gguf").mkdir()
    assert [model.relative_path for model in await library.models()] == ["p/a/a.gguf", "linked/d/d.gguf", "p/e.gguf"]


async def test_headers_are_read_once(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    from studiolo.library import index as module

    reads: list[Path] = []
    read = module.read_metadata
    monkeypatch.setattr(module, "read_metadata", lambda path: reads.append(path) or read(path))
    path = write_gguf(library.home.models / "a.gguf", general__name="one")
    await library.models()
    await library.models()
    assert len(reads) == 1
    second = Library(library.home)
    assert (await second.resolve("a")).metadata is not None
    await second.close()
    assert len(reads) == 1, "the second process has it from the database"
    write_gguf(path, general__name="another")
    os.utime(path, ns=(time.time_ns(), time.time_ns() + 10**9))
    model = await library.resolve("a")
    assert model.metadata is not None and model.metadata.name == "another"
    assert len(reads) == 2


async def test_a_file_that_cannot_be_used_is_listed_with_its_error(library: Library) -> None:
    folder = library.home.models / "p"
    path = write_gguf(folder / "cut.gguf")
    whole = path.read_bytes()
    path.write_bytes(whole[:-2000])
    (folder / "empty.gguf").touch()
    (folder / "page.gguf").write_text("<html>")
    models = {model.key: model for model in await library.models()}
    assert "incomplete" in (models["cut"].error or "")
    assert "empty" in (models["empty"].error or "")
    assert "not a GGUF file" in (models["page"].error or "")
    assert await library.default() is None
    for name in models:
        with pytest.raises(ModelFileError, match=str(models[name].path)):
            await library.resolve(name)
    path.write_bytes(whole)
    assert (await library.resolve("cut")).error is None


@pytest.fixture
async def stocked(library: Library) -> Library:
    models = library.home.models
    write_gguf(models / "Acme" / "Tiny-1B-GGUF" / "Tiny-1B.Q4_K_M.gguf")
    write_gguf(models / "Acme" / "Tiny-1B-GGUF" / "Tiny-1B.Q8_0.gguf")
    write_gguf(models / "Acme" / "Small-3B-GGUF" / "Small-3B-Q4_0.gguf")
    write_gguf(models / "Other" / "Embed" / "embed-text-v1-f16.gguf", arch="bert")
    return library


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("small-3b", "small-3b"),
        ("  SMALL-3B ", "small-3b"),
        ("acme/small-3b", "small-3b"),
        ("Acme/Small-3B-GGUF", "small-3b"),
        ("small-3b@q4_0", "small-3b"),
        ("Acme/Small-3B-GGUF/Small-3B-Q4_0.gguf", "small-3b"),
        ("acme/small-3b-gguf/small-3b-q4_0.GGUF", "small-3b"),
        ("Small-3B-Q4_0.gguf", "small-3b"),
        ("small-3b-q4_0", "small-3b"),
        ("sm", "small-3b"),
        ("other", "text-embedding-embed-text-v1"),
        ("embed-text-v1", "text-embedding-embed-text-v1"),
        ("Other/embed-text-v1", "text-embedding-embed-text-v1"),
        ("text-embedding-embed-text-v1@f16", "text-embedding-embed-text-v1"),
        ("other/text-embedding-embed-text-v1", "text-embedding-embed-text-v1"),
        ("tiny-1b@q8_0", "tiny-1b@q8_0"),
        ("acme/tiny-1b@Q8_0", "tiny-1b@q8_0"),
        ("tiny-1b", "tiny-1b@q4_k_m"),
        ("acme/tiny-1b", "tiny-1b@q4_k_m"),
        ("Acme/Tiny-1B-GGUF", "tiny-1b@q4_k_m"),
        ("tiny", "tiny-1b@q4_k_m"),
        ("embed-text-v1@f16", "text-embedding-embed-text-v1"),
        ("Acme/tiny-1b@q4", "tiny-1b@q4_k_m"),
        ("Tiny-1B.Q8_0.gguf", "tiny-1b@q8_0"),
    ],
)
async def test_names_that_mean_a_model(stocked: Library, name: str, key: str) -> None:
    assert (await stocked.resolve(name)).key == key


@pytest.mark.parametrize(
    ("name", "candidates"),
    [
        ("acme", ["small-3b", "tiny-1b"]),
        ("tiny-1b@q", ["tiny-1b@q4_k_m", "tiny-1b@q8_0"]),
        ("Acme/Tiny-1B-GGUF/Tiny", ["tiny-1b@q4_k_m", "tiny-1b@q8_0"]),
    ],
)
async def test_a_name_that_means_several(stocked: Library, name: str, candidates: list[str]) -> None:
    with pytest.raises(ModelNotFoundError, match=rf"2 models match.*{', '.join(candidates)}") as caught:
        await stocked.resolve(name)
    assert caught.value.data["candidates"] == candidates


async def test_names_of_all_kinds(stocked: Library) -> None:
    folder = stocked.home.models / "names"
    content = write_gguf(folder / "plain.gguf").read_bytes()
    for name in (
        "a b.gguf",
        "ü☃.gguf",
        "Q8_0.gguf",
        "x\ny.gguf",
        "x\x1b[0m.gguf",
        "-.gguf",
        "~.gguf",
        "x" * 200 + ".gguf",
    ):
        (folder / name).write_bytes(content)
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff.gguf"))).write_bytes(content)
    models = [model for model in await stocked.models() if model.publisher == "names"]
    assert len(models) == 9 and all(model.error is None for model in models)
    for model in models:
        assert await stocked.resolve(model.key) == model


async def test_names_that_differ_by_case_alone(stocked: Library) -> None:
    for folder in ("me/Case", "me/case"):
        write_gguf(stocked.home.models / folder / "same.gguf")
    assert [model.key for model in await stocked.models() if "same" in model.key] == ["me/Case/same", "me/case/same"]
    for folder in ("me/Case", "me/case"):
        assert (await stocked.resolve(f"{folder}/same")).relative_path == f"{folder}/same.gguf"
    with pytest.raises(ModelNotFoundError, match=r"2 models match.*me/Case/same, me/case/same"):
        await stocked.resolve("ME/CASE/same")


async def test_a_name_that_two_publishers_have(stocked: Library) -> None:
    write_gguf(stocked.home.models / "Other" / "Tiny-1B-GGUF" / "Tiny-1B.Q4_0.gguf")
    with pytest.raises(ModelNotFoundError, match=r"2 models match.*acme/tiny-1b, other/tiny-1b"):
        await stocked.resolve("tiny-1b")
    assert (await stocked.resolve("other/tiny-1b")).relative_path == "Other/Tiny-1B-GGUF/Tiny-1B.Q4_0.gguf"
    assert (await stocked.resolve("acme/tiny-1b@q8_0")).key == "acme/tiny-1b@q8_0"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smal-3b", r"closest are small-3b.*studiolo ls"),
        ("smolm2-135m-instruct", r"smollm2-135m-instruct \(in the catalog: studiolo get smollm2-135m-instruct\)"),
        ("gemma", r"gemma-3-270m \(in the catalog"),
        ("Gemma-3-270M", r"in the catalog and not downloaded yet.*studiolo get gemma-3-270m"),
        ("qqqqqqqqqqqqqqqq", r"No model matches 'qqqqqqqqqqqqqqqq'\. List the models with: studiolo ls"),
        ("", r"No model matches ''"),
        ("./x.gguf", r"absolute path"),
        ("/nowhere/x.gguf", r"no file /nowhere/x\.gguf"),
        ("/", r"/ is not a file"),
        ("x\0y", r"No model matches"),
        ("/x\0y", r"no file"),
    ],
)
async def test_names_that_mean_none(stocked: Library, name: str, message: str) -> None:
    with pytest.raises(ModelNotFoundError, match=message):
        await stocked.resolve(name)


async def test_a_path_means_its_file_wherever_it_is(stocked: Library, tmp_path: Path) -> None:
    inside = stocked.home.models / "Acme" / "Small-3B-GGUF" / "Small-3B-Q4_0.gguf"
    assert (await stocked.resolve(str(inside))).key == "small-3b"
    link = tmp_path / "link.gguf"
    link.symlink_to(inside)
    assert (await stocked.resolve(str(link))).key == "small-3b"
    outside = write_gguf(tmp_path / "out" / "Mine.Q4_0.gguf")
    model = await stocked.resolve(str(outside))
    assert model.path == outside and model.display_name == "Mine" and model.metadata is not None
    assert await stocked.resolve(model.key) == model
    (tmp_path / "page.gguf").write_text("<html>")
    with pytest.raises(ModelFileError, match="not a GGUF file"):
        await stocked.resolve(str(tmp_path / "page.gguf"))


async def test_the_default_is_the_llm_used_last(stocked: Library, tmp_path: Path) -> None:
    first = await stocked.default()
    assert first is not None and first.key == "small-3b", "the first by key that is an LLM"
    tiny = await stocked.resolve("tiny-1b@q8_0")
    await stocked.remember_used(tiny)
    await stocked.remember_used(await stocked.resolve("embed-text-v1"))
    tiny = await stocked.resolve("tiny-1b")
    assert (tiny.key, tiny.selected) == ("tiny-1b@q8_0", True), "and of its variants the one that its key means now"
    assert await stocked.default() == tiny
    embedding = await stocked.default("embedding")
    assert embedding is not None and "embed-text-v1" in embedding.key
    state = State(stocked.home.state)
    later = Library(stocked.home, state)
    assert await later.default() == tiny
    await later.close()
    assert state.recall("last_used_model") == "models/" + tiny.relative_path, "a state that was given is not closed"
    state.close()
    tiny.path.unlink()
    again = await stocked.default()
    assert again is not None and again.key != tiny.key
    outside = await stocked.resolve(str(write_gguf(tmp_path / "out.gguf")))
    await stocked.remember_used(outside)
    default = await stocked.default()
    assert default is not None and default != outside, "a file outside of the library is not a default"


async def test_the_users_catalog_is_read_again_when_it_changes(library: Library) -> None:
    assert "mine" not in library.catalog
    text = '[models.mine]\nfile = "a/b/mine.gguf"\nsources = [{ type = "file", path = "/mine.gguf" }]\n'
    library.home.catalog.write_text(text)
    assert "mine" in library.catalog
    library.home.catalog.write_text(text + "colour = 1\n")
    with pytest.raises(ConfigError, match=r"catalog\.toml:4: models\.mine\.colour"):
        await library.fetch("mine")
