"""Files put into the library, and taken out of it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from studiolo.errors import ConfigError, LibraryFileError, ModelFileError, ModelNotFoundError
from studiolo.library import Library
from studiolo.library import model_import as files_module
from studiolo.library.model_import import How, carry_out, plan_import, plan_removal, remove
from studiolo.paths import Home
from tests.support.model_files import write_gguf


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model file outside the library."""
    return write_gguf(tmp_path / "downloads" / "Tiny-1B.Q4_0.gguf", general__organization="Acme Corp. ☃")


def target(home: Home, folder: str = "Acme-Corp/Tiny-1B-GGUF", name: str = "Tiny-1B.Q4_0.gguf") -> Path:
    return home.models / folder / name


@pytest.mark.parametrize("how", ["move", "copy", "hard-link", "symbolic-link"])
def test_each_way_to_import(empty_home: Home, model: Path, how: How) -> None:
    content = model.read_bytes()
    inode = model.stat().st_ino
    plan = plan_import(empty_home, model, how)
    assert plan.files == ((model, target(empty_home)),) and plan.size_bytes == len(content)
    assert model.exists() and not empty_home.models.exists(), "planning changes nothing"
    assert carry_out(plan) == [target(empty_home)]
    assert target(empty_home).read_bytes() == content
    assert model.exists() == (how != "move")
    assert target(empty_home).is_symlink() == (how == "symbolic-link")
    assert (target(empty_home).stat().st_ino == inode) == (how != "copy")
    assert sorted(path.name for path in target(empty_home).parent.iterdir()) == [target(empty_home).name]


def test_the_place_can_be_named_and_is_guessed(empty_home: Home, model: Path, tmp_path: Path) -> None:
    plan = plan_import(empty_home, model, repository="me/my models")
    assert plan.files[0][1] == target(empty_home, "me/my models")
    bare = write_gguf(tmp_path / "bare.gguf")
    assert plan_import(empty_home, bare).files[0][1] == target(empty_home, "imported/bare-GGUF", "bare.gguf")
    evil = write_gguf(tmp_path / "evil.gguf", general__organization="../..")
    assert plan_import(empty_home, evil).files[0][1] == target(empty_home, "imported/evil-GGUF", "evil.gguf")


@pytest.mark.parametrize("repository", ["", "me", "a/b/c", "../x", "a/..", "/a/b", "a/.b", ".a/b", "a\0/b", "a\\b"])
def test_places_that_are_none(empty_home: Home, model: Path, repository: str) -> None:
    with pytest.raises(ConfigError, match="is not a place in the library"):
        plan_import(empty_home, model, repository=repository)


def test_shards_come_together(empty_home: Home, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write_gguf(tmp_path / f"big-0000{number}-of-00003.gguf", weights=64)
    second = tmp_path / "big-00002-of-00003.gguf"
    plan = plan_import(empty_home, second, repository="me/big")
    assert [place.name for _, place in plan.files] == [f"big-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    carry_out(plan)
    assert list(tmp_path.glob("*.gguf")) == []
    (tmp_path / "x").mkdir()
    shutil.copy(empty_home.models / "me" / "big" / second.name, tmp_path / "x")
    with pytest.raises(ModelFileError, match=r"is one of 3 shards.*Missing beside it: number 1, 3"):
        plan_import(empty_home, tmp_path / "x" / second.name)


def test_what_is_no_model_is_not_imported(empty_home: Home, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="No such file"):
        plan_import(empty_home, tmp_path / "none.gguf")
    with pytest.raises(ModelNotFoundError, match="is not a file"):
        plan_import(empty_home, tmp_path)
    page = tmp_path / "page.gguf"
    page.write_text("<html>")
    with pytest.raises(ModelFileError, match="not a GGUF file"):
        plan_import(empty_home, page)


def test_nothing_is_overwritten(empty_home: Home, model: Path) -> None:
    target(empty_home).parent.mkdir(parents=True)
    target(empty_home).symlink_to("gone")
    with pytest.raises(LibraryFileError, match="exists already"):
        plan_import(empty_home, model)


def test_a_link_is_not_moved(empty_home: Home, model: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(model)
    with pytest.raises(LibraryFileError, match=r"is a link to .*--copy"):
        plan_import(empty_home, link)
    (copy,) = carry_out(plan_import(empty_home, link, "copy"))
    assert not copy.is_symlink() and model.exists()
    (place,) = carry_out(plan_import(empty_home, link, "symbolic-link", "a/b"))
    assert place.readlink() == model, "the file itself, not another link"


def other_file_system(*_: Any) -> None:
    """Stands for ``rename`` and ``link`` between file systems."""
    raise OSError(errno.EXDEV, "Invalid cross-device link")


def test_a_move_between_file_systems_is_a_copy(empty_home: Home, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = model.read_bytes()
    plan = plan_import(empty_home, model)
    monkeypatch.setattr(Path, "rename", other_file_system)
    reported: list[tuple[int, int]] = []
    carry_out(plan, lambda done, total: reported.append((done, total)))
    assert target(empty_home).read_bytes() == content and not model.exists()
    assert reported == [(len(content), len(content))]


def test_a_hard_link_between_file_systems_is_refused(
    empty_home: Home, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_import(empty_home, model, "hard-link")
    monkeypatch.setattr(Path, "hardlink_to", other_file_system)
    with pytest.raises(LibraryFileError, match=r"another file system.*--copy or --symbolic-link"):
        carry_out(plan)
    assert model.exists() and list(empty_home.models.rglob("*")) == []


@pytest.mark.parametrize("how", ["move", "copy", "symbolic-link"])
def test_an_import_that_fails_midway_leaves_all_as_it_was(
    empty_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: How
) -> None:
    shards = [write_gguf(tmp_path / f"big-0000{number}-of-00003.gguf", weights=64) for number in (1, 2, 3)]
    before = [shard.read_bytes() for shard in shards]
    plan = plan_import(empty_home, shards[0], how)
    place = files_module._place

    def fail(source: Path, *rest: Any) -> bool:
        if source == shards[2]:
            raise OSError(errno.EIO, "Input/output error")
        return place(source, *rest)

    monkeypatch.setattr(files_module, "_place", fail)
    with pytest.raises(LibraryFileError, match=r"could not be imported.*Input/output error"):
        carry_out(plan)
    assert [shard.read_bytes() for shard in shards] == before
    assert list(empty_home.models.rglob("*")) == []


def test_an_interrupted_copy_leaves_nothing(empty_home: Home, model: Path) -> None:
    def interrupt(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(plan_import(empty_home, model, "copy"), interrupt)
    assert list(empty_home.models.rglob("*")) == [] and model.exists()


def test_a_full_disk_is_an_error_before_anything_is_written(
    empty_home: Home, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))  # type: ignore[attr-defined]
    with pytest.raises(LibraryFileError, match=r"needs 0\.00 GB of disk, and 0\.00 GB are free"):
        carry_out(plan_import(empty_home, model, "copy"))
    assert list(empty_home.models.rglob("*")) == []


async def removal(library: Library, name: str) -> list[Path]:
    model, _ = await library.describe(name)
    return plan_removal(library.home, model, await library.models())


async def test_a_model_goes_with_all_that_is_its_own(library: Library) -> None:
    models = library.home.models
    for number in (1, 2):
        write_gguf(models / "p" / "big" / f"big-Q8_0-0000{number}-of-00002.gguf", weights=64)
    write_gguf(models / "p" / "big" / "big-Q4_0.gguf")
    write_gguf(models / "p" / "big" / "mmproj-big.gguf", arch="clip")
    write_gguf(models / "p" / "other" / "other.gguf")
    first = await removal(library, "big@q8_0")
    assert [path.name for path in first] == ["big-Q8_0-00001-of-00002.gguf", "big-Q8_0-00002-of-00002.gguf"]
    remove(library.home, first)
    second = await removal(library, "big")
    assert [path.name for path in second] == ["big-Q4_0.gguf", "mmproj-big.gguf"], "the last one takes the projector"
    remove(library.home, second)
    assert sorted(path.name for path in models.rglob("*")) == ["other", "other.gguf", "p"], "no empty folder is left"


async def test_a_broken_model_can_be_removed(library: Library) -> None:
    write_gguf(library.home.models / "big-00003-of-00003.gguf", weights=64)
    (library.home.models / "page.gguf").write_text("<html>")
    for name in ("big", "page"):
        remove(library.home, await removal(library, name))
    assert list(library.home.models.iterdir()) == []


async def test_a_link_goes_and_its_file_stays(library: Library, model: Path) -> None:
    carry_out(plan_import(library.home, model, "symbolic-link"))
    remove(library.home, await removal(library, "tiny-1b"))
    assert model.exists() and list(library.home.models.rglob("*")) == []


async def test_what_is_not_in_the_homes_models_folder_is_left_alone(
    library: Library, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(LibraryFileError, match="not in studiolo's own models folder"):
        await removal(library, str(model))
    library.home.models.mkdir()
    (library.home.models / "linked").symlink_to(model.parent)
    with pytest.raises(LibraryFileError, match="not in studiolo's own models folder"):
        await removal(library, "tiny-1b")
    (library.home.models / "linked").unlink()
    folder = tmp_path / "more"
    write_gguf(folder / "more.gguf")
    library.home.settings.write_text(f'[library]\nprograms = []\nfolders = ["{folder}"]\n')
    with pytest.raises(LibraryFileError, match=r"more is not in .*It is at .*more\.gguf"):
        await removal(library, "more")


async def test_no_permission_to_remove(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(library.home.models / "a.gguf")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    files = await removal(library, "a")
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(LibraryFileError, match=r"could not be removed.*Permission denied"):
        remove(library.home, files)
    monkeypatch.undo()
    assert os.path.lexists(path)
