"""Fetching over HTTP, with the faults that servers and disks have."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from studiolo.domain.progress import DownloadProgress
from studiolo.library import Library
from studiolo.library import http_transfer as transfer
from studiolo.library import partial_downloads as partial
from tests.support.downloading import CDN, from_hub, refused, until_kept, went_on
from tests.support.model_files import write_catalog, write_gguf
from tests.support.web import Web

PLAIN = "/files/tiny.gguf"
"""A file on a plain server. Each look-up by the hub's client is half a second of processor time."""


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A model's file of 8 MB."""
    return write_gguf(tmp_path_factory.mktemp("made") / "made.gguf", weights=2_000_000).read_bytes()


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Another content of the same size."""
    path = write_gguf(tmp_path_factory.mktemp("made") / "made.gguf", weights=2_000_000, general__name="x" * 8)
    return path.read_bytes()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of a hundredth of their length."""
    monkeypatch.setattr(transfer, "FIRST_WAIT_SECONDS", 0.005)


def from_server(library: Library, web: Web, content: bytes, **headers: str) -> None:
    write_catalog(library.home, {"type": "https", "url": web.add_plain(PLAIN, content, **headers)})


def clean(library: Library) -> bool:
    return not library.home.downloads.exists() or list(library.home.downloads.iterdir()) == []


async def test_a_reset_in_mid_body_is_gone_on_from(library: Library, web: Web, content: bytes) -> None:
    from_hub(library, web, content)
    updates: list[DownloadProgress] = []
    web.fail(CDN, reset_after=3_000_000, until=lambda: updates and updates[-1].downloaded_bytes == 3_000_000)
    assert (await library.fetch("tiny", updates.append)).path.read_bytes() == content
    went_on(web.transfers(CDN), content)
    assert updates[-1].downloaded_bytes == updates[-1].total_bytes == len(content)
    assert clean(library)


async def test_resets_are_borne_as_long_as_bytes_come(library: Library, web: Web, content: bytes) -> None:
    from_server(library, web, content, ETag='"one"')
    updates: list[DownloadProgress] = []
    for number in range(1, 13):
        web.fail(PLAIN, reset_after=500_000, until=lambda n=number: updates[-1].downloaded_bytes == n * 500_000)
    assert (await library.fetch("tiny", updates.append)).path.read_bytes() == content


async def test_an_answer_that_ends_early_is_gone_on_from(library: Library, web: Web, content: bytes) -> None:
    from_server(library, web, content, ETag='"one"')
    web.fail("/files", cut_after=3_000_000)
    assert (await library.fetch("tiny")).path.read_bytes() == content
    went_on(web.transfers("/files/tiny.gguf"), content)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_server_that_fails_for_a_while(library: Library, web: Web, content: bytes, status: int) -> None:
    from_server(library, web, content, ETag='"one"')
    web.fail(PLAIN, status=status, times=transfer.TRIES - 1)
    assert (await library.fetch("tiny")).path.read_bytes() == content


async def test_a_server_that_goes_on_failing_is_given_up(library: Library, web: Web, content: bytes) -> None:
    from_server(library, web, content, ETag='"one"')
    web.fail(PLAIN, status=503, times=1000)
    await refused(library, rf"HTTP 503 .*\({transfer.TRIES} times\)")
    assert len(web.transfers(PLAIN)) == transfer.TRIES


async def test_retry_after_is_kept_to(
    library: Library, web: Web, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def note(_: Any, seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(transfer._Transfer, "wait", note)
    from_server(library, web, content, ETag='"one"')
    web.fail(PLAIN, status=429, headers={"Retry-After": "7"})
    web.fail(PLAIN, status=503, headers={"Retry-After": formatdate(4_000_000_000, usegmt=True)})
    await refused(library, "asks to come back in")
    assert waits == [7.0]


async def test_a_busy_hub_is_asked_again(library: Library, web: Web, content: bytes) -> None:
    from_hub(library, web, content)
    web.fail("/resolve/", status=429, headers={"Retry-After": "1"})
    web.fail("/resolve/", status=502)
    assert (await library.fetch("tiny")).path.read_bytes() == content


async def test_without_a_token_a_gated_repository_is_reported_as_such(
    library: Library, web: Web, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_hub(library, web, content)
    web.gated, web.token = {"me/tiny"}, "hf_right"
    await refused(library, f"me/tiny is gated: its terms must be accepted at {web.url}/me/tiny.*Set HF_TOKEN")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    await refused(library, "is gated.*Check that the token in HF_TOKEN is right")
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert (await library.fetch("tiny")).path.read_bytes() == content
    assert all("authorization" not in each.headers for each in web.transfers(CDN)), "the token went to another host"


async def test_what_is_not_on_the_hub_is_an_error_by_name(library: Library, web: Web, content: bytes) -> None:
    web.add_file("me/tiny", "tiny.gguf", content)
    write_catalog(library.home, {"type": "hf", "repo": "me/tiny", "file": "other.gguf"})
    await refused(library, r"repository me/tiny has no such file \(me/tiny, other\.gguf")
    write_catalog(library.home, {"type": "hf", "repo": "me/none", "file": "other.gguf"})
    await refused(library, "no repository me/none that can be seen from here.*private or gated: Set HF_TOKEN")


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (401, r"refuses it \(HTTP 401 .*netrc"),
        (403, r"refuses it \(HTTP 403"),
        (404, r"no such file \(HTTP 404"),
        (410, r"no such file \(HTTP 410"),
        (418, "answers HTTP 418"),
    ],
)
async def test_what_will_not_pass_is_not_tried_again(
    library: Library, web: Web, content: bytes, status: int, why: str
) -> None:
    from_server(library, web, content)
    web.fail("/files", status=status, times=100)
    await refused(library, why)
    assert len(web.transfers("/files/tiny.gguf")) == 1


async def test_a_wrong_hash_is_not_kept(library: Library, web: Web, content: bytes) -> None:
    from_hub(library, web, content, sha256="0" * 64)
    await refused(library, "has the sha256 .* and should have 0000")
    assert clean(library)


async def test_a_part_that_is_damaged_is_fetched_again(library: Library, web: Web, content: bytes) -> None:
    from_hub(library, web, content)
    await interrupted(library, web)
    (part,) = library.home.downloads.rglob("model.gguf")
    with part.open("r+b") as file:
        file.seek(2_000_000)
        file.write(b"damaged")
    assert (await library.fetch("tiny")).path.read_bytes() == content
    assert [each.status for each in web.transfers(CDN)] == [200, 206, 200]


async def interrupted(library: Library, web: Web) -> None:
    """Begin a fetch, and cancel it when half of it is here."""
    web.held.clear()
    web.go_on.clear()
    task = asyncio.create_task(library.fetch("tiny"))
    await asyncio.to_thread(web.wait_until_held)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    web.go_on.set()


async def test_a_cancelled_fetch_is_gone_on_from(library: Library, web: Web, content: bytes) -> None:
    from_hub(library, web, content)
    await interrupted(library, web)
    updates: list[DownloadProgress] = []
    assert (await library.fetch("tiny", updates.append)).path.read_bytes() == content
    went_on(web.transfers(CDN), content)
    sizes = [update.downloaded_bytes for update in updates if update.downloaded_bytes]
    assert sizes[0] > 1_000_000, "what is here counts from the beginning"
    assert clean(library)


@pytest.mark.parametrize("headers", [{"ETag": '"one"'}, {"Last_Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}])
async def test_a_plain_server_is_asked_whether_its_file_has_changed(
    library: Library, web: Web, content: bytes, headers: dict[str, str]
) -> None:
    from_server(library, web, content, **headers)
    await interrupted(library, web)
    assert (await library.fetch("tiny")).path.read_bytes() == content
    requests = web.transfers("/files/tiny.gguf")
    assert requests[1].headers["if-range"] in headers.values()
    went_on(requests, content)


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}])
async def test_a_server_without_a_validator_starts_over(
    library: Library, web: Web, content: bytes, headers: dict[str, str]
) -> None:
    from_server(library, web, content, **headers)
    await interrupted(library, web)
    assert (await library.fetch("tiny")).path.read_bytes() == content
    assert web.transfers("/files/tiny.gguf")[1].range is None


async def test_a_file_that_has_changed_since_is_fetched_again(
    library: Library, web: Web, content: bytes, changed: bytes
) -> None:
    from_server(library, web, content, ETag='"one"')
    await interrupted(library, web)
    from_server(library, web, changed, ETag='"two"')
    assert (await library.fetch("tiny")).path.read_bytes() == changed
    assert [each.status for each in web.transfers("/files/tiny.gguf")] == [200, 200]


async def test_a_file_that_has_changed_on_the_hub_is_fetched_again(
    library: Library, web: Web, content: bytes, changed: bytes
) -> None:
    from_hub(library, web, content)
    await interrupted(library, web)
    from_hub(library, web, changed)
    assert (await library.fetch("tiny")).path.read_bytes() == changed
    assert [each.range for each in web.transfers(CDN)] == [None, None]


async def test_a_server_that_ignores_ranges_starts_over(library: Library, web: Web, content: bytes) -> None:
    from_server(library, web, content, ETag='"one"')
    await interrupted(library, web)
    web.fail(PLAIN, ignore_ranges=True)
    assert (await library.fetch("tiny")).path.read_bytes() == content
    last = web.transfers(PLAIN)[-1]
    assert last.range is not None and last.status == 200 and last.sent == len(content)


async def test_what_is_no_gguf_file_is_seen_at_its_first_bytes(library: Library, web: Web) -> None:
    from_server(library, web, b"<html>" + b"x" * 9_000_000, Content_Type="text/html", ETag='"one"')
    await refused(library, r"not the file \(text/html\)")
    await refused(library, r"not the file \(text/html\)")


async def test_slow_bytes_are_kept_as_they_come(library: Library, web: Web, content: bytes) -> None:
    from_server(library, web, content, ETag='"one"')
    web.pace = (100_000, 0.1)
    updates: list[DownloadProgress] = []
    task = asyncio.create_task(library.fetch("tiny", updates.append))
    while not [part for part in library.home.downloads.rglob("model.gguf") if part.stat().st_size > 200_000]:
        await asyncio.sleep(0.05)
        assert not task.done()
    assert any(0 < update.downloaded_bytes < len(content) for update in updates)
    web.pace = None
    assert (await task).path.read_bytes() == content


async def test_a_connection_that_brings_nothing_any_more_is_replaced(
    library: Library, web: Web, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "STALL_SECONDS", 1.0)
    from_server(library, web, content, ETag='"one"')
    web.go_on.clear()
    task = asyncio.create_task(library.fetch("tiny"))
    await asyncio.to_thread(web.wait_until_held)
    await until(lambda: len(web.transfers(PLAIN)) == 2)
    web.go_on.set()
    assert (await task).path.read_bytes() == content


async def test_what_nobody_came_back_to_is_deleted_in_the_end(
    library: Library, web: Web, content: bytes, tmp_path: Path
) -> None:
    from_server(library, web, content, ETag='"one"')
    await interrupted(library, web)
    (old,) = (each for each in library.home.downloads.iterdir() if each.is_dir())
    (tmp_path / "other.gguf").write_bytes(content)
    write_catalog(library.home, {"type": "file", "path": str(tmp_path / "other.gguf")}, name="other")
    await library.fetch("other")
    assert old.exists()
    partial.clean(library.home)
    assert old.exists()
    then = old.stat().st_mtime - (partial.KEEP_DAYS + 1) * 86400
    for each in (*old.rglob("*"), old):
        os.utime(each, (then, then))
    lock = library.home.downloads / "killed.gguf-0123456789ab.lock"
    lock.touch()
    os.utime(lock, (then, then))
    (library.home.models / "me/other-GGUF/other.Q4_0.gguf").unlink()
    await library.fetch("other")
    assert clean(library)


def get(name: str) -> subprocess.Popen[str]:
    """Start ``studiolo get``."""
    command = [sys.executable, "-m", "studiolo", "get", name, "--yes"]
    environment = {**os.environ, "STUDIOLO_HOST": "embedded"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def test_kill_9_in_mid_download_loses_nothing(library: Library, web: Web, content: bytes) -> None:
    web.add_file("me/tiny", "tiny.Q4_0.gguf", content)
    web.go_on.clear()
    process = get("me/tiny")
    await asyncio.to_thread(web.wait_until_held)
    await until_kept(library.home)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert await library.models() == []
    web.go_on.set()
    again = get("me/tiny")
    said = (await asyncio.to_thread(again.communicate, timeout=60))[1]
    assert again.returncode == 0, said
    went_on(web.transfers("/cdn/me/tiny/tiny.Q4_0.gguf"), content)
    (model,) = await library.models()
    assert model.path == library.home.models / "me/tiny/tiny.Q4_0.gguf" and model.path.read_bytes() == content
    assert clean(library)


async def test_ctrl_c_keeps_what_came(library: Library, web: Web, content: bytes) -> None:
    write_catalog(library.home, web.add_file("me/tiny", "tiny.gguf", content), content=content)
    web.go_on.clear()
    process = get("tiny")
    await asyncio.to_thread(web.wait_until_held)
    await until_kept(library.home)
    process.send_signal(signal.SIGINT)
    try:
        said = (await asyncio.to_thread(process.communicate, timeout=90))[1]
    finally:
        process.kill()
    assert process.returncode == 130 and "Traceback" not in said, said
    web.go_on.set()
    assert (await library.fetch("tiny")).path.read_bytes() == content
    went_on(web.transfers(CDN), content)


async def test_a_copy_is_gone_on_from(library: Library, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "made.gguf").write_bytes(content)
    source = {"type": "file", "path": str(tmp_path / "made.gguf")}
    write_catalog(library.home, source)
    folder = partial.source_folder(partial.folder_of(library.home, "me/tiny-GGUF/tiny.Q4_0.gguf"), source)
    folder.mkdir(parents=True)
    status = (tmp_path / "made.gguf").stat()
    partial.start_over(folder / partial.FILE_NAME, f"{status.st_size} bytes of {status.st_mtime_ns}")
    marked = content[: len(content) // 2 - 4] + b"mark"
    (folder / partial.FILE_NAME).write_bytes(marked)
    assert (await library.fetch("tiny")).path.read_bytes() == marked + content[len(marked) :]


async def test_who_waits_for_another_process_hears_how_far_it_is(library: Library, web: Web, content: bytes) -> None:
    write_catalog(library.home, {"type": "https", "url": web.add_plain(PLAIN, content)}, content=content)
    web.go_on.clear()
    other = get("tiny")
    await asyncio.to_thread(web.wait_until_held)
    updates: list[DownloadProgress] = []
    task = asyncio.create_task(library.fetch("tiny", updates.append))
    await until(lambda: updates and updates[-1].downloaded_bytes > 1_000_000)
    assert updates[-1].total_bytes == len(content)
    web.go_on.set()
    assert (await task).path.read_bytes() == content
    await asyncio.to_thread(other.communicate, timeout=30)
    assert other.returncode == 0
    assert len(web.transfers(PLAIN)) == 1


async def test_if_the_other_process_dies_the_one_who_waits_goes_on(library: Library, web: Web, content: bytes) -> None:
    write_catalog(library.home, {"type": "https", "url": web.add_plain(PLAIN, content)}, content=content)
    web.go_on.clear()
    other = get("tiny")
    await asyncio.to_thread(web.wait_until_held)
    await until_kept(library.home)
    task = asyncio.create_task(library.fetch("tiny"))
    await asyncio.sleep(1)
    other.kill()
    other.communicate()
    web.go_on.set()
    assert (await task).path.read_bytes() == content
    went_on(web.transfers(PLAIN), content)
