"""Look-ups are answered from memory, and find what other programs change on disk."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from studiolo.errors import ModelNotFoundError
from studiolo.library import Library, Model, file_stamps
from studiolo.library import scan as scan_module
from studiolo.paths import Home
from tests.support.homes import bare_home
from tests.support.model_files import write_gguf

SETTLE_SEC = 0.03


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_stamps, "RECENT_NS", int(SETTLE_SEC * 0.8e9))


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders whose entries are read from now on."""
    done: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(scan_module.os, "scandir", lambda path: done.append(path) or scandir(path))
    return done


async def settled(library: Library) -> list[str]:
    """Return the keys of the models, some time after the last change on disk."""
    await asyncio.sleep(SETTLE_SEC)
    return [model.key for model in await library.models()]


async def test_look_ups_read_no_folder_while_nothing_changes(library: Library, scanned: list[str]) -> None:
    for number in range(5):
        write_gguf(library.home.models / "p" / f"m{number}" / f"m{number}.Q4_0.gguf", weights=64)
    assert len(await settled(library)) == 5
    scanned.clear()
    assert (await library.resolve("m3")).key == "m3"
    assert (await library.resolve("p/m4")).key == "m4"
    assert (await library.resolve(str(library.home.models / "p/m1/m1.Q4_0.gguf"))).key == "m1"
    for _ in range(3):
        with pytest.raises(ModelNotFoundError):
            await library.resolve("m5")
    assert len(await library.models()) == 5
    assert await library.default() is not None
    assert scanned == []


async def test_what_another_process_adds_is_found_by_the_next_look_up(library: Library) -> None:
    first = write_gguf(library.home.models / "p" / "m" / "first.gguf", weights=64)
    assert await settled(library) == ["first"]
    shutil.copy(first, first.with_name("second.gguf"))
    assert (await library.resolve("second")).key == "second"
    shutil.copytree(first.parent, library.home.models / "q" / "n")
    assert (await library.resolve("q/n/first")).publisher == "q"
    await settled(library)
    shutil.rmtree(first.parent)
    with pytest.raises(ModelNotFoundError):
        await library.resolve("p/first")
    assert await settled(library) == ["first", "second"]
    first = library.home.models / "q" / "n" / "first.gguf"
    first.write_bytes(first.read_bytes()[:-8])
    assert "incomplete" in str((await library.describe("first"))[0].error)


async def test_a_change_at_the_time_of_the_scan_is_found_whatever_the_clock_of_the_file_system(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_stamps, "RECENT_NS", 10**9)
    first = write_gguf(library.home.models / "p" / "first.gguf", weights=64)
    status = first.parent.stat()
    assert [model.key for model in await library.models()] == ["first"]
    shutil.copy(first, first.with_name("second.gguf"))
    # Stands in for a file system whose times are coarse: the folder looks as it did.
    keep = file_stamps._stamp
    monkeypatch.setattr(file_stamps, "_stamp", lambda s: keep(status if s.st_ino == status.st_ino else s))
    assert [model.key for model in await library.models()] == ["first", "second"]


async def test_a_link_whose_target_comes_and_goes(library: Library, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "m.gguf"
    library.home.models.mkdir(parents=True)
    (library.home.models / "link.gguf").symlink_to(target)
    (library.home.models / "folder").symlink_to(tmp_path / "later")
    assert await settled(library) == []
    write_gguf(target, weights=64)
    assert (await library.resolve("link")).path == library.home.models / "link.gguf"
    await settled(library)
    write_gguf(tmp_path / "later" / "n.gguf", weights=64)
    assert await settled(library) == ["link", "n"]
    target.unlink()
    assert await settled(library) == ["n"]


async def test_changes_in_other_programs_folders(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    library.home.settings.write_text('[library]\nprograms = ["huggingface", "ollama"]\n')
    assert await settled(library) == []
    repository = tmp_path / "hub" / "models--me--tiny"
    old = write_gguf(repository / "snapshots" / "1" / "tiny.gguf", weights=64, general__name="old")
    assert await settled(library) == ["tiny"]
    write_gguf(repository / "snapshots" / "0" / "tiny.gguf", weights=64, general__name="new")
    os.utime(old.parent, ns=(time.time_ns(), time.time_ns() + 10**10))
    assert [model.metadata and model.metadata.name for model in await library.models()] == ["old"]
    await settled(library)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0")
    assert [model.metadata and model.metadata.name for model in await library.models()] == ["new"]
    await settled(library)
    manifest = tmp_path / "ollama" / "manifests" / "registry.ollama.ai" / "library" / "m" / "latest"
    write_gguf(tmp_path / "ollama" / "blobs" / "sha256-1", weights=64)
    manifest.parent.mkdir(parents=True)

    def pull(digest: str) -> None:
        layer = {"mediaType": "application/vnd.ollama.image.model", "digest": digest}
        manifest.write_text(json.dumps({"layers": [layer]}))

    pull("sha256:1")
    assert await settled(library) == ["m", "tiny"]
    pull("sha256:2")
    assert await settled(library) == ["tiny"], "the blob is not there yet"
    write_gguf(tmp_path / "ollama" / "blobs" / "sha256-2", weights=64)
    assert await settled(library) == ["m", "tiny"]
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "nowhere"))
    assert await settled(library) == ["tiny"]


async def test_changes_of_settings_catalog_and_use(library: Library, tmp_path: Path) -> None:
    write_gguf(library.home.models / "p" / "m-GGUF" / "m.Q4_0.gguf", weights=64)
    eight = write_gguf(library.home.models / "p" / "m-GGUF" / "m.Q8_0.gguf", weights=64)
    write_gguf(tmp_path / "more" / "n.gguf", weights=64)
    assert await settled(library) == ["m@q4_0", "m@q8_0"]
    assert (await library.resolve("m")).key == "m@q4_0"
    other = Library(library.home)  # as another process
    await other.remember_used(await other.resolve("m@q8_0"))
    await other.close()
    assert (await library.resolve("m")).path == eight
    library.home.settings.write_text(f'[library]\nprograms = []\nfolders = ["{tmp_path / "more"}"]\n')
    assert await settled(library) == ["m@q4_0", "m@q8_0", "n"]
    await settled(library)
    library.home.catalog.write_text(
        '[models.m]\nfile = "p/m-GGUF/m.Q8_0.gguf"\nsources = [{ type = "file", path = "/m.gguf" }]\n'
    )
    assert await settled(library) == ["m", "m@q4_0", "n"]


async def test_a_folder_that_may_be_read_again(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_gguf(library.home.models / "p" / "m.gguf", weights=64).parent
    folder.chmod(0)
    with monkeypatch.context() as patch:
        if os.geteuid() == 0:  # who may read everything, but for this stub
            patch.setattr(os, "scandir", _scandir_without(folder))
        assert await settled(library) == []
    folder.chmod(0o700)
    assert await settled(library) == ["m"]


def _scandir_without(folder: Path) -> Callable[[Any], Any]:
    scandir = os.scandir

    def denied(path: Any = ".") -> Any:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    return denied


def _changes(home: Home, outside: Path, gguf: bytes) -> dict[str, Callable[[random.Random], None]]:
    """What happens to folders of models, by name. Each picks its place at random, and may find nothing to do."""
    names = ("a.gguf", "b.Q4_0.gguf", "b.Q8_0.gguf", "c-00001-of-00002.gguf", "c-00002-of-00002.gguf", "mmproj-b.gguf")
    folders = [home.models, home.models / "p", home.models / "p" / "x", home.models / "q", outside]

    def place(pick: random.Random) -> Path:
        return pick.choice(folders) / pick.choice(names)

    def add(pick: random.Random) -> None:
        path = place(pick)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(gguf)

    def cut(pick: random.Random) -> None:
        path = place(pick)
        if path.exists():
            path.write_bytes(gguf[:-16])

    def remove(pick: random.Random) -> None:
        place(pick).unlink(missing_ok=True)

    def rename(pick: random.Random) -> None:
        source, target = place(pick), place(pick)
        if source.exists() and target.parent.is_dir():
            source.rename(target)

    def link(pick: random.Random) -> None:
        path = place(pick)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(outside / pick.choice(names))

    def link_folder(pick: random.Random) -> None:
        home.models.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(home.models / "linked"):
            (home.models / "linked").symlink_to(outside)

    def remove_folder(pick: random.Random) -> None:
        shutil.rmtree(pick.choice(folders), ignore_errors=True)

    each = (add, add, add, cut, remove, rename, link, link_folder, remove_folder)
    return {f"{number} {change.__name__}": change for number, change in enumerate(each)}


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 10_000)), min_size=3, max_size=12))
def test_after_any_changes_the_models_are_those_that_a_new_library_finds(chosen: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        gguf = write_gguf(Path(folder) / "template" / "t.gguf", weights=64).read_bytes()
        home = bare_home(Path(folder))
        changes = list(_changes(home, Path(folder) / "outside", gguf).values())

        async def compare() -> None:
            library = Library(home)
            for number, seed in chosen:
                changes[number](random.Random(seed))
                found = await library.models()
                assert found == await _fresh(home)
                await asyncio.sleep(SETTLE_SEC)
                assert await library.models() == found
            await library.close()

        asyncio.run(compare())


async def _fresh(home: Home) -> list[Model]:
    library = Library(home)
    try:
        return await library.models()
    finally:
        await library.close()
