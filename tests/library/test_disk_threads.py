"""Work on disks has threads of its own: chats, look-ups and other downloads do not wait for it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from studiolo.domain.chat import Message, Text
from studiolo.engines.base import TemplateRequest
from studiolo.engines.chat_templates.formatting import CHATML, ModelTemplate, apply_template
from studiolo.engines.chat_templates.process import TemplateProcesses
from studiolo.host.images import prepare
from studiolo.library import Library, downloads
from studiolo.library.disk_threads import DiskThreads
from tests.support.model_files import write_gguf
from tests.support.web import Web

POOL = 4
"""Threads of the event loop's pool in these tests; the default has at least five."""


class Hash:
    """Stands in for a hash that takes minutes: it ends when it is allowed to, or when its download is cancelled."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.running = 0
        self.stopped = 0
        self._lock = threading.Lock()

    def __call__(self, file: Path, stop: threading.Event) -> str:
        with self._lock:
            self.running += 1
        while not self.may_end.wait(0.01) and not stop.is_set():
            pass
        with self._lock:
            self.running -= 1
            self.stopped += stop.is_set()
        return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def hashing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hash]:
    hashing = Hash()
    monkeypatch.setattr(downloads, "sha256_of", hashing)
    yield hashing
    hashing.may_end.set()


def offer(library: Library, web: Web, folder: Path, count: int) -> list[str]:
    """Write a catalog with ``count`` models on the hub."""
    lines: list[str] = []
    for number in range(count):
        file = write_gguf(folder / f"tiny{number}.gguf", weights=64, general__name=str(number))
        content = file.read_bytes()
        web.add_file(f"me/tiny{number}", file.name, content)
        lines += [
            f"[models.tiny{number}]",
            f'file = "me/tiny/tiny{number}.gguf"',
            f"size_bytes = {len(content)}",
            f'sha256 = "{hashlib.sha256(content).hexdigest()}"',
            f'sources = [{{ type = "hf", repo = "me/tiny{number}", file = "{file.name}" }}]',
        ]
    library.home.catalog.write_text("\n".join(lines))
    return [f"tiny{number}" for number in range(count)]


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110  (what is waited for happens in threads)
        await asyncio.sleep(0.01)


async def test_downloads_that_are_verified_stop_neither_chats_nor_look_ups_nor_other_downloads(
    library: Library, web: Web, tmp_path: Path, hashing: Hash
) -> None:
    with ThreadPoolExecutor(POOL) as pool:
        asyncio.get_running_loop().set_default_executor(pool)
        names = offer(library, web, tmp_path / "mirror", 2 * POOL + 1)
        write_gguf(library.home.models / "p" / "other.gguf", weights=64)
        received: list[str] = []
        fetches = [
            asyncio.create_task(library.fetch(name, None, lambda name=name: received.append(name)))
            for name in names[: 2 * POOL]
        ]
        try:
            async with asyncio.timeout(30):
                await until(lambda: len(received) == 2 * POOL and hashing.running)
                chat = TemplateRequest(messages=[Message(role="user", parts=[Text("Hello")])])
                processes = TemplateProcesses()
                assert "Hello" in (await apply_template(chat, ModelTemplate(template=CHATML), processes)).text
                await processes.close()
                assert await asyncio.to_thread(prepare, "a.png", _png())
                assert (await library.resolve("other")).key == "other"
                late = asyncio.create_task(library.fetch(names[-1], None, lambda: received.append(names[-1])))
                await until(lambda: names[-1] in received)
        finally:
            hashing.may_end.set()
        models = await asyncio.gather(*fetches, late)
        assert [model.key for model in models] == names


async def test_a_verification_that_waits_for_a_thread_is_cancelled_at_once_and_a_running_one_is_stopped(
    library: Library, web: Web, tmp_path: Path, hashing: Hash
) -> None:
    names = offer(library, web, tmp_path / "mirror", 8)
    received: list[str] = []
    fetches = [asyncio.create_task(library.fetch(name, None, lambda: received.append(""))) for name in names]
    async with asyncio.timeout(30):
        await until(lambda: len(received) == len(names) and hashing.running)
        running = hashing.running
        assert running < len(names), "some wait for a thread"
        for fetch in fetches:
            fetch.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)
    assert hashing.running == 0, "nothing still reads when the download is over"
    # A waiting one may get the thread of one that has just stopped, before its own cancellation reaches it.
    assert running <= hashing.stopped < len(names)


async def test_the_threads_end_when_the_library_is_closed(library: Library, web: Web, tmp_path: Path) -> None:
    (name,) = offer(library, web, tmp_path / "mirror", 1)
    others = set(threading.enumerate())
    await library.fetch(name)
    mine = [each for each in threading.enumerate() if each.name.startswith("studiolo-") and each not in others]
    assert len(mine) >= 3
    await library.close()
    for thread in mine:
        await asyncio.to_thread(thread.join, 30)
        assert not thread.is_alive()


async def test_a_step_ends_even_if_its_caller_is_cancelled() -> None:
    threads = DiskThreads()
    may_end = threading.Event()
    ended: list[int] = []

    def work() -> None:
        may_end.wait(30)
        ended.append(os.getpid())

    task = asyncio.create_task(threads.step(work))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.sleep(0.05)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended
    threads.close()
