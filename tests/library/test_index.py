from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from studiolo.errors import ConfigError, ModelFileError
from studiolo.library import Library
from studiolo.library import index as index_module
from studiolo.library import state as state_module
from studiolo.library.variants import preference
from studiolo.paths import Home
from tests.support.model_files import write_gguf


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose headers are read from now on."""
    done: list[Path] = []
    read = index_module.read_metadata
    monkeypatch.setattr(index_module, "read_metadata", lambda path: done.append(path) or read(path))
    return done


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The SQL statements that are executed from now on."""
    done: list[str] = []
    connect = sqlite3.connect

    def watched(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(done.append)
        return connection

    monkeypatch.setattr(state_module.sqlite3, "connect", watched)
    return done


async def listed(home: Home) -> list[str]:
    """The keys of the models that a new process finds in ``home``."""
    library = Library(home)
    try:
        return [model.key for model in await library.models()]
    finally:
        await library.close()


async def test_a_library_that_is_known_is_listed_without_opening_a_file(
    empty_home: Home, reads: list[Path], statements: list[str]
) -> None:
    for number in range(3):
        write_gguf(empty_home.models / "p" / f"m{number}" / f"m{number}.Q4_0.gguf", weights=64)
    (empty_home.models / "p" / "broken.gguf").write_text("<html>")
    few = await listed(empty_home)
    assert len(few) == len(reads) == 4
    statements.clear()
    assert await listed(empty_home) == few
    assert len(reads) == 4, "nothing is read again, the broken one neither"
    needed = len(statements)
    for number in range(3, 30):
        write_gguf(empty_home.models / "p" / f"m{number}" / f"m{number}.Q4_0.gguf", weights=64)
    many = await listed(empty_home)
    assert len(many) == len(reads) == 31
    statements.clear()
    assert await listed(empty_home) == many
    assert len(reads) == 31
    assert len(statements) == needed, "ten times the files take no more statements"


async def test_what_is_kept_in_another_form_is_read_again(
    empty_home: Home, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(empty_home.models / "a.gguf")
    await listed(empty_home)
    with sqlite3.connect(empty_home.state) as database:
        database.execute("UPDATE model_files SET metadata = '{}'")
    database.close()
    assert await listed(empty_home) == ["a"]
    monkeypatch.setattr(index_module, "CONTENT_VERSION", index_module.CONTENT_VERSION + 1)
    assert await listed(empty_home) == ["a"]
    assert len(reads) == 3


async def test_a_file_without_permission_is_tried_again(
    library: Library, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_gguf(library.home.models / "a.gguf")
    denied = ModelFileError(f"{path} cannot be read", cause="Permission denied")
    denied.__cause__ = PermissionError()
    allow = index_module.read_metadata

    def deny(_: Path) -> None:
        raise denied

    monkeypatch.setattr(index_module, "read_metadata", deny)
    (model,) = await library.models()
    assert "Permission denied" in (model.error or "")
    monkeypatch.setattr(index_module, "read_metadata", allow)
    (model,) = await library.models()
    assert model.error is None


async def test_rows_of_files_that_are_gone_are_forgotten(empty_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "_SPARE_ROWS", 2)
    files = [write_gguf(empty_home.models / f"m{number}.gguf", weights=64) for number in range(8)]
    await listed(empty_home)
    for file in files[1:]:
        file.unlink()
    write_gguf(empty_home.models / "new.gguf", weights=64)
    await listed(empty_home)
    with sqlite3.connect(empty_home.state) as database:
        rows = database.execute("SELECT path FROM model_files").fetchall()
    database.close()
    assert sorted(os.path.basename(path) for (path,) in rows) == ["m0.gguf", "new.gguf"]  # noqa: PTH119


async def test_shards_are_one_model(library: Library) -> None:
    folder = library.home.models / "p" / "Big-GGUF"
    for number in (1, 2, 3):
        write_gguf(folder / f"Big-Q8_0-0000{number}-of-00003.gguf", weights=640)
    write_gguf(folder / "Big-Q4_0.gguf")
    models = {model.key: model for model in await library.models()}
    assert sorted(models) == ["big@q4_0", "big@q8_0"]
    big = models["big@q8_0"]
    assert big.path.name == "Big-Q8_0-00001-of-00003.gguf" and len(big.parts) == 3
    assert big.size_bytes == sum(file.stat().st_size for file in folder.glob("Big-Q8_0-*"))
    assert big.metadata is not None and big.metadata.parameter_count == 3 * 704
    assert big.metadata.params_string == "2.1K"
    assert big.display_name == "Big"


@pytest.mark.parametrize(
    ("there", "message"),
    [((1, 3), r"Shard 2 of 3 is missing"), ((2,), r"Shards 1, 3 of 3 are missing"), ((3,), r"Shards 1, 2 of 3")],
)
async def test_a_shard_that_is_missing_is_an_error_of_that_model(
    library: Library, there: tuple[int, ...], message: str
) -> None:
    for number in there:
        write_gguf(library.home.models / f"big-0000{number}-of-00003.gguf", weights=64)
    write_gguf(library.home.models / "fine.gguf")
    models = {model.key: model for model in await library.models()}
    assert models["fine"].error is None
    assert models["big"].metadata is None
    with pytest.raises(ModelFileError, match=message):
        await library.resolve("big")


async def test_a_shard_that_is_damaged_is_an_error_of_that_model(library: Library) -> None:
    write_gguf(library.home.models / "big-00001-of-00002.gguf", weights=64)
    second = write_gguf(library.home.models / "big-00002-of-00002.gguf", weights=64)
    second.write_bytes(second.read_bytes()[:100])
    with pytest.raises(ModelFileError, match=r"big-00002-of-00002\.gguf is incomplete"):
        await library.resolve("big")


async def test_numbers_that_make_no_sense_are_no_shards(library: Library) -> None:
    for name in ("a-00000-of-00002", "b-00003-of-00002", "c-00001-of-00000"):
        write_gguf(library.home.models / f"{name}.gguf", weights=64)
    assert all(model.error is None for model in await library.models())
    assert len(await library.models()) == 3


PROJECTOR: dict[str, Any] = {"arch": "clip", "general__type": "mmproj", "weights": 64}


async def test_a_projector_belongs_to_the_models_beside_it(library: Library) -> None:
    folder = library.home.models / "p" / "Seer-GGUF"
    write_gguf(folder / "Seer-Q4_K_M.gguf")
    write_gguf(folder / "Seer-Q8_0.gguf")
    write_gguf(folder / "mmproj-Seer-F32.gguf", **PROJECTOR)
    best = write_gguf(folder / "mmproj-Seer-F16.gguf", **PROJECTOR)
    write_gguf(library.home.models / "p" / "Blind-GGUF" / "Blind-Q4_0.gguf")
    models = {model.key: model for model in await library.models()}
    assert sorted(models) == ["blind", "seer@q4_k_m", "seer@q8_0"]
    assert models["seer@q4_k_m"].mmproj == models["seer@q8_0"].mmproj == best
    assert models["seer@q8_0"].vision
    assert models["blind"].mmproj is None and not models["blind"].vision


async def test_in_a_folder_of_several_models_a_projector_is_matched_by_name(library: Library) -> None:
    folder = library.home.models
    write_gguf(folder / "seer-7b.Q4_0.gguf")
    write_gguf(folder / "blind-1b.Q4_0.gguf")
    eye = write_gguf(folder / "seer-7b-mmproj-f16.gguf", **PROJECTOR)
    write_gguf(folder / "mmproj-other.gguf", **PROJECTOR)
    write_gguf(folder / "mmproj.gguf", **PROJECTOR)
    models = {model.key: model for model in await library.models()}
    assert {key: model.mmproj for key, model in models.items() if not model.error} == {"seer-7b": eye, "blind-1b": None}


async def test_the_size_of_a_vision_model_has_its_projectors(library: Library) -> None:
    folder = library.home.models / "p" / "sees-GGUF"
    weights = write_gguf(folder / "sees.Q4_0.gguf")
    projector = write_gguf(folder / "mmproj-sees-f16.gguf", arch="clip", general__type="mmproj")
    (model,) = await library.models()
    assert model.vision and model.size_bytes == weights.stat().st_size + projector.stat().st_size


async def test_an_embedding_models_size_is_what_its_file_says_alone(library: Library) -> None:
    write_gguf(library.home.models / "p" / "a-GGUF" / "a.Q4_0.gguf", arch="nomic-bert")
    write_gguf(library.home.models / "p" / "b-GGUF" / "b.Q4_0.gguf", arch="nomic-bert", general__size_label="137M")
    write_gguf(library.home.models / "p" / "c-GGUF" / "c.Q4_0.gguf")
    sizes = {model.key: model.metadata.params_string for model in await library.models() if model.metadata}
    assert sizes == {"text-embedding-a": None, "text-embedding-b": "137M", "c": "4.2K"}


async def test_what_an_older_version_kept_of_embedding_models_comes_out_right(empty_home: Home) -> None:
    """It counted their parameters, and kept the last variant under the bare name."""
    folder = empty_home.models / "p" / "e-GGUF"
    for quantization in ("Q8_0", "Q4_0"):
        write_gguf(folder / f"e.{quantization}.gguf", arch="nomic-bert")
    assert await listed(empty_home) == ["text-embedding-e@q4_0", "text-embedding-e@q8_0"]
    with sqlite3.connect(empty_home.state) as state:
        for path, kept in state.execute("SELECT path, metadata FROM model_files").fetchall():
            older = json.loads(kept) | {"version": 2}
            older["metadata"]["params_string"] = "4.2K"
            state.execute("UPDATE model_files SET metadata = ? WHERE path = ?", (json.dumps(older).encode(), path))
    state.close()
    library = Library(empty_home)
    try:
        library.state.remember("last_variant:e", str(folder / "e.Q4_0.gguf"))
        models = {model.key: model for model in await library.models()}
        assert [model.metadata.params_string for model in models.values() if model.metadata] == [None, None]
        assert (await library.resolve("e")).key == "text-embedding-e@q4_0"
    finally:
        await library.close()


async def test_a_projector_is_known_by_its_header_and_by_its_name(library: Library) -> None:
    folder = library.home.models / "p" / "x"
    write_gguf(folder / "seer.gguf")
    eye = write_gguf(folder / "seer-vision-tower.gguf", **PROJECTOR)
    (folder / "mmproj-damaged.gguf").write_text("<html>")
    (model,) = await library.models()
    assert model.mmproj == eye and (model.audio, model.vision) == (False, True)


@pytest.mark.parametrize("states_sight", [True, False])
async def test_a_projector_for_sound_alone_gives_hearing_and_no_sight(library: Library, states_sight: bool) -> None:
    import gguf

    folder = library.home.models / "p" / "x"
    write_gguf(folder / "ear.gguf")
    writer = gguf.GGUFWriter(folder / "mmproj-ear.gguf", "clip")
    writer.add_bool("clip.has_audio_encoder", True)
    if states_sight:
        writer.add_bool("clip.has_vision_encoder", False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    (model,) = await library.models()
    assert model.mmproj is not None and (model.audio, model.vision) == (True, False)


async def test_what_is_no_model_says_so(library: Library) -> None:
    write_gguf(library.home.models / "lora.gguf", general__type="adapter")
    with pytest.raises(ModelFileError, match=r"lora\.gguf is not a model\. It is a LoRA adapter"):
        await library.resolve("lora")


async def test_further_folders(empty_home: Home, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    write_gguf(elsewhere / "p" / "x" / "m.Q4_0.gguf")
    write_gguf(elsewhere / "p" / "x" / "n.Q4_0.gguf")
    write_gguf(empty_home.root / "beside" / "o.gguf")
    write_gguf(empty_home.models / "p" / "y" / "n.Q4_0.gguf")
    (empty_home.models / "link").symlink_to(elsewhere / "p" / "x" / "m.Q4_0.gguf")
    library = Library(empty_home)
    assert [model.key for model in await library.models()] == ["n"]
    folders = [str(elsewhere), str(elsewhere / "p"), "beside", "~nobody-of-this-name/x", str(tmp_path / "gone")]
    empty_home.settings.write_text(f"[library]\nprograms = []\nfolders = {folders}\n")
    models = {model.key: model for model in await library.models()}
    assert sorted(models) == ["m", "n", "o", "p/n"], "each once, and the home's own keeps its key"
    assert models["n"].origin == "home"
    assert (models["m"].origin, models["m"].relative_path) == ("folder", "p/x/m.Q4_0.gguf")
    assert (await library.resolve("p/x/m.Q4_0.gguf")).path == elsewhere / "p" / "x" / "m.Q4_0.gguf"
    await library.close()


async def test_settings_that_are_wrong_are_an_error(empty_home: Home) -> None:
    empty_home.settings.write_text("[library]\nfolders = 5\n")
    library = Library(empty_home)
    with pytest.raises(ConfigError, match=r"config\.toml:2: library\.folders"):
        await library.models()
    await library.close()


@pytest.mark.parametrize(
    ("files", "selected"),
    [
        (("Q8_0", "Q4_K_M", "F16"), "q4_k_m"),
        (("Q8_0", "Q5_K_M", "Q3_K_S"), "q5_k_m"),
        (("F16", "Q2_K"), "f16"),
        (("UD-Q4_K_XL", "Q4_0"), "ud-q4_k_xl"),
        (("ZZ", "Q2_K"), "q2_k"),
    ],
)
async def test_the_variant_that_the_key_alone_means(library: Library, files: tuple[str, ...], selected: str) -> None:
    for quantization in files:
        write_gguf(library.home.models / "p" / "m-GGUF" / f"m-{quantization}.gguf")
    model = await library.resolve("m") if "ZZ" not in files else await library.resolve("m@q2_k")
    assert model.variant == selected


async def test_a_variant_that_cannot_be_used_is_not_chosen(library: Library) -> None:
    write_gguf(library.home.models / "m-Q8_0.gguf")
    (library.home.models / "m-Q4_K_M.gguf").write_text("<html>")
    assert (await library.resolve("m")).key == "m@q8_0"
    with pytest.raises(ModelFileError, match="not a GGUF file"):
        await library.resolve("m@q4_k_m")


async def test_of_variants_too_large_for_the_memory_the_smallest_is_chosen(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = library.home.models
    write_gguf(folder / "m-Q4_K_M.gguf", weights=6400)
    write_gguf(folder / "m-Q2_K.gguf", weights=640)
    write_gguf(folder / "m-Q3_K_M.gguf", weights=3200)
    for memory, key in ((1 << 30, "m@q4_k_m"), (20_000, "m@q3_k_m"), (1000, "m@q2_k")):
        monkeypatch.setattr(index_module, "usable_memory", lambda memory=memory: memory)
        assert (await library.resolve("m")).key == key


async def test_the_catalogs_variant_goes_before_a_better_one(home: Home) -> None:
    library = Library(home)
    (model,) = await library.models()
    write_gguf(model.path.with_name("SmolLM2-135M-Instruct.Q4_K_M.gguf"))
    models = {each.key: each for each in await library.models()}
    assert sorted(models) == ["smollm2-135m-instruct", "smollm2-135m-instruct@q4_k_m"]
    assert models["smollm2-135m-instruct"].selected
    assert (await library.resolve("smollm2-135m-instruct")).path == model.path
    assert (await library.resolve("smollm2-135m-instruct@q4_1")).path == model.path
    assert (await library.fetch("smollm2-135m-instruct")).path == model.path
    await library.close()


def test_the_order_of_preference() -> None:
    names: list[str | None] = [None, "F32", "Q2_K", "UD-Q4_K_XL", "i1-Q4_K_M", "Q8_0"]
    assert sorted(names, key=preference) == ["i1-Q4_K_M", "UD-Q4_K_XL", "Q8_0", "F32", "Q2_K", None]


async def test_a_file_that_changes_while_the_host_runs_is_read_again(library: Library, reads: list[Path]) -> None:
    path = write_gguf(library.home.models / "a.gguf", general__name="one")
    await library.models()
    write_gguf(path, general__name="two", weights=128)
    os.utime(path, ns=(time.time_ns(), time.time_ns() + 10**9))
    (model,) = await library.models()
    assert model.metadata is not None and model.metadata.name == "two"
    path.unlink()
    assert await library.models() == []


async def test_all_that_is_known_of_a_model(home: Home) -> None:
    library = Library(home)
    model, fields = await library.describe("smol")
    assert model.key == "smollm2-135m-instruct"
    assert fields["general.architecture"] == "llama" and "tokenizer.ggml.tokens" not in fields
    (home.models / "page.gguf").write_text("<html>")
    model, fields = await library.describe("page")
    assert model.error and fields == {}
    await library.close()
