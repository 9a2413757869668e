"""Homes that are copied, file systems that differ, folders that may not be read, and odd file names."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from studiolo.errors import DownloadError
from studiolo.library import Library
from studiolo.library import downloads as downloads_module
from studiolo.paths import Home
from tests.support.model_files import write_catalog, write_gguf


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than the home."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system only")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


@pytest.mark.parametrize("moved", ["downloads", "models", "models/me"])
async def test_downloads_and_models_on_two_file_systems(
    library: Library, tmp_path: Path, other_disk: Path, moved: str
) -> None:
    content = write_gguf(tmp_path / "tiny.gguf").read_bytes()
    write_catalog(library.home, {"type": "file", "path": str(tmp_path / "tiny.gguf")}, content=content)
    link = library.home.root / moved
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(other_disk)
    model = await library.fetch("tiny")
    assert model.path.read_bytes() == content
    assert [path.name for path in model.path.parent.iterdir()] == [model.path.name]
    assert list(library.home.downloads.iterdir()) == []


async def refuse(library: Library, match: str) -> None:
    with pytest.raises(DownloadError, match=match):
        await library.fetch("tiny")
    assert not library.home.downloads.exists() or list(library.home.downloads.iterdir()) == []


async def test_a_target_that_cannot_take_the_file_is_refused_before_the_first_byte(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = write_gguf(tmp_path / "tiny.gguf").read_bytes()
    write_catalog(library.home, {"type": "file", "path": str(tmp_path / "tiny.gguf")}, content=content)
    place = library.home.models / "me/tiny-GGUF/tiny.Q4_0.gguf"
    place.mkdir(parents=True)
    await refuse(library, r"cannot be put into .*tiny-GGUF. Is a directory")
    shutil.rmtree(library.home.models)
    library.home.models.write_text("a file")
    await refuse(library, r"cannot be put into .*Not a directory.*it takes .*are free")
    library.home.models.unlink()

    def refused(*_: object) -> None:
        raise OSError(30, "Read-only file system", str(place))

    with monkeypatch.context() as stub:
        stub.setattr(downloads_module, "check_target", refused)
        await refuse(library, "Read-only file system.*Make the folder writable")
    assert (await library.fetch("tiny")).path == place


async def test_the_space_is_checked_on_both_file_systems(
    library: Library, tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = write_gguf(tmp_path / "tiny.gguf").read_bytes()
    write_catalog(library.home, {"type": "file", "path": str(tmp_path / "tiny.gguf")}, content=content)
    library.home.models.symlink_to(other_disk)
    real = shutil.disk_usage

    def usage(path: str | Path) -> object:
        found = real(path)
        full = Path(path).resolve().is_relative_to(other_disk)
        return found._replace(free=1000) if full else found

    monkeypatch.setattr(shutil, "disk_usage", usage)
    await refuse(library, r"There is no room for tiny in .*it takes .*0\.0 MB are free there")


def used(home: Home) -> Path:
    """The model for requests without a name, in a process of its own; it is then the one that was used last."""

    async def look() -> Path:
        library = Library(home)
        try:
            model = await library.default()
            assert model is not None
            await library.remember_used(model)
            return model.path
        finally:
            await library.close()

    return asyncio.run(look())


@pytest.mark.parametrize("how", ["copy", "move", "link"])
def test_a_home_that_is_copied_or_moved_uses_its_own_files(empty_home: Home, tmp_path: Path, how: str) -> None:
    for name in ("a", "b"):
        write_gguf(empty_home.models / "p" / "x" / f"{name}.Q4_0.gguf")
        write_gguf(empty_home.models / "p" / "x" / f"{name}.Q8_0.gguf")

    async def use() -> None:
        library = Library(empty_home)
        await library.remember_used(await library.resolve("b@q8_0"))
        await library.close()

    asyncio.run(use())
    other = Home(tmp_path / "other")
    match how:
        case "copy":
            shutil.copytree(empty_home.root, other.root)
        case "move":
            empty_home.root.rename(other.root)
        case _:
            other.root.symlink_to(empty_home.root)
    assert used(other) == other.models / "p/x/b.Q8_0.gguf"


async def test_a_remembered_file_outside_counts_while_it_is_in_the_library(library: Library, tmp_path: Path) -> None:
    mine = write_gguf(library.home.models / "p" / "mine.gguf")
    outside = write_gguf(tmp_path / "elsewhere" / "other.gguf")
    await library.remember_used(await library.resolve(str(outside)))
    default = await library.default()
    assert default is not None and default.path == mine
    with library.home.settings.open("a") as settings:
        settings.write(f"folders = [{str(outside.parent)!r}]\n")
    default = await library.default()
    assert default is not None and default.path == outside


async def test_folders_of_other_programs_that_may_not_be_read_count_as_empty(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for the system's refusal: the tests may run as root, who may read everything."""
    write_gguf(library.home.models / "p" / "mine.gguf")
    library.home.settings.write_text("")
    secret = Path("/root-of-another-user")
    monkeypatch.setenv("HOME", str(secret))
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    stat = Path.stat

    def refuse_stat(path: Path, **more: bool) -> os.stat_result:
        if path.is_relative_to(secret):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **more)

    monkeypatch.setattr(Path, "stat", refuse_stat)
    assert [model.key for model in await library.models()] == ["mine"]


@pytest.mark.parametrize(
    "stem",
    [" lead", "trail ", "tab\there", "line\nbreak", "~x", "a@b", "a:2", "-dash", "é", "e\u0301", "I", "i", "#%'\""],
)
async def test_every_listed_key_is_found_by_itself(library: Library, stem: str) -> None:
    for name in (stem, "lead", "other", "É"):
        with contextlib.suppress(FileExistsError):
            write_gguf(library.home.models / "p" / "q" / f"{name}.gguf")
    for model in await library.models():
        assert (await library.resolve(model.key)).path == model.path
        assert model.key.isprintable() and model.key == model.key.strip()
