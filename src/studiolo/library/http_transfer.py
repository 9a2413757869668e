"""Download a file over HTTP. Partial files are resumed, and transient failures are retried."""

from __future__ import annotations

import asyncio
import email.utils
import errno
import os
import random
import re
import ssl
import time
from collections.abc import Mapping
from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct

from ..platform.file_status import free_bytes
from .disk_threads import DiskThreads
from .partial_downloads import kept_tag, resume_at, start_over
from .sources.base import OnBytes, SourceUnavailable

if TYPE_CHECKING:
    import aiohttp

TRIES = 5
"""Failures in a row, without a byte received, after which a download fails."""
CONNECT_TRIES = 3
"""The same for a server that cannot be reached."""
FIRST_WAIT_SECONDS = 0.5
"""The delay after the first failure; it doubles with each further one."""
LONGEST_WAIT_SECONDS = 60.0
"""If a server asks for a longer delay (``Retry-After``), the download fails at once."""
CONNECT_SECONDS = 20.0
STALL_SECONDS = 30.0
"""A connection without data for so long has failed."""
REPORT_SECONDS = 0.25

_BUFFER = 1 << 20
_FLUSH_SECONDS = 0.5
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


class Remote(Struct, frozen=True, kw_only=True):
    """A file on a server.

    Parameters:
        url: its address.
        headers: headers to send, beside those of the transfer itself. A redirect to another host does not get
            ``Authorization``.
        size_bytes, sha256: its size and hash, if they are known.
        tag: another identifier of this version of the content, if one is known.
        hint: what to do if the server refuses (401, 403).
        starts_with: the first bytes of a file of its kind.
        certificates: a file of certificates to trust beside the system's.
    """

    url: str
    headers: Mapping[str, str] = {}
    size_bytes: int | None = None
    sha256: str | None = None
    tag: str | None = None
    hint: str = ""
    starts_with: bytes = b"GGUF"
    certificates: str | None = None


class _TransientFailure(Exception):
    """A failure after which another attempt may succeed."""

    def __init__(self, reason: str, wait: float | None = None, tries: int = TRIES) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait
        self.tries = tries


async def transfer(remote: Remote, target: Path, on_bytes: OnBytes, threads: DiskThreads) -> None:
    """Download ``remote`` to ``target``, resuming what an earlier attempt left there.

    A partial file is resumed only if the rest certainly belongs to it: the file's hash is known and the same, or the
    server confirms that its content has not changed (``If-Range``). If a server sends the whole file all the same, the
    download starts over.

    Parameters:
        remote: the file.
        target: the path to write to, in a folder of its own. If the download fails or is cancelled, it stays.
        on_bytes: called with the bytes so far, those of earlier attempts included, and the total.
        threads: for disk work.

    Raises:
        SourceUnavailable: the server does not have the file, refuses it, or failed too often.
        OSError: the file cannot be written.
    """
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=STALL_SECONDS)
    try:
        tls = await threads.step(_tls, remote.certificates)
    except OSError as error:
        raise SourceUnavailable(f"the certificates cannot be read: {error}") from error
    connector = aiohttp.TCPConnector(ssl=tls)
    fetch = _Transfer(remote, target, on_bytes, threads)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, trust_env=True, auto_decompress=False
    ) as session:
        reporter = asyncio.create_task(fetch.keep_reporting())
        try:
            await _try(fetch, session)
        finally:
            reporter.cancel()


async def _try(fetch: _Transfer, session: aiohttp.ClientSession) -> None:
    failures = 0
    while True:
        before = fetch.received
        try:
            return await fetch.attempt(session)
        except _TransientFailure as failure:
            failures = 1 if fetch.received > before else failures + 1
            if failures >= failure.tries:
                raise SourceUnavailable(f"{failure.reason} ({failures} times)") from failure
            await fetch.wait(failure.wait or FIRST_WAIT_SECONDS * 2 ** (failures - 1) * random.uniform(0.8, 1.2))


class _Transfer:
    """One download, over all its attempts."""

    def __init__(self, remote: Remote, target: Path, on_bytes: OnBytes, threads: DiskThreads) -> None:
        self.remote = remote
        self.target = target
        self.on_bytes = on_bytes
        self.threads = threads
        self.received = 0
        """Bytes received in all attempts of this download."""
        self.size = 0
        """Bytes in the file."""
        self.total = remote.size_bytes or 0
        known = f"sha256:{remote.sha256}" if remote.sha256 else remote.tag
        self.known_tag = known

    async def attempt(self, session: aiohttp.ClientSession) -> None:
        """Download what is missing. Even if this fails, what was received is in the file."""
        import aiohttp

        # If no tag is known, the partial file's is sent: the server says whether it still holds.
        tag = self.known_tag or await self.threads.step(kept_tag, self.target)
        self.size = await self.threads.step(resume_at, self.target, tag)
        if self.size and self.size == self.remote.size_bytes and self.known_tag:
            return  # an earlier attempt received all of it
        self._report()
        try:
            async with session.get(self.remote.url, headers=self._request_headers(tag)) as response:
                await self._receive(response, tag)
        except aiohttp.ClientSSLError as error:
            raise SourceUnavailable(f"no safe connection to {urlsplit(self.remote.url).netloc}: {error}") from error
        except aiohttp.ClientConnectorError as error:
            host = urlsplit(self.remote.url).netloc
            reason = error.os_error.strerror or str(error)
            raise _TransientFailure(f"cannot connect to {host}: {reason}", tries=CONNECT_TRIES) from error
        except (aiohttp.InvalidURL, aiohttp.TooManyRedirects, aiohttp.NonHttpUrlClientError) as error:
            raise SourceUnavailable(f"{self.remote.url} is not a usable address: {type(error).__name__}") from error
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            silence = f"no data for {STALL_SECONDS:.0f} s"
            what = str(error) or (silence if isinstance(error, TimeoutError) else type(error).__name__)
            raise _TransientFailure(f"the connection broke: {what}") from error

    def _request_headers(self, tag: str | None) -> dict[str, str]:
        headers = {**self.remote.headers, "Accept-Encoding": "identity"}
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
            if not self.known_tag and tag:
                headers["If-Range"] = tag
        return headers

    async def _receive(self, response: aiohttp.ClientResponse, tag: str | None) -> None:
        if response.status == 416 and response.headers.get("Content-Range", "").strip() == f"bytes */{self.size}":
            return  # an earlier attempt received all of it
        self._refuse(response)
        if response.status == 200:
            size = response.content_length
            tag = self.known_tag or _validator(response.headers)
            await self.threads.step(start_over, self.target, tag)
            self.size = 0
        else:  # 206
            place = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
            size = int(place[2]) if place and place[2].isdecimal() else None
            wrong_size = size is not None and self.remote.size_bytes not in (None, size)
            now = _validator(response.headers)
            changed = not self.known_tag and now not in (None, tag)  # a server without If-Range
            if place is None or int(place[1]) != self.size or wrong_size or changed:
                await self.threads.step(start_over, self.target, None)
                raise _TransientFailure("the server sends another range than the requested one")
        if size is not None:
            self.total = size
        if self.remote.size_bytes not in (None, self.total):
            raise SourceUnavailable(f"its file has {self.total:,} bytes and should have {self.remote.size_bytes:,}")
        _check_space(self.target.parent, self.total - self.size)
        with self.target.open("ab", buffering=0) as file:
            await self._append(response, file)
        if self.total and self.size < self.total:
            raise _TransientFailure(f"the connection broke after {self.size:,} of {self.total:,} bytes")

    def _refuse(self, response: aiohttp.ClientResponse) -> None:
        """Raise the error that a response without the file stands for."""
        status = response.status
        named = f"HTTP {status} {response.reason or ''}".strip()
        if status == 206 or (status == 200 and "Content-Encoding" not in response.headers):
            return
        if status == 200:
            raise SourceUnavailable(f"the server compresses the file ({response.headers['Content-Encoding']})")
        if status == 416:
            start_over(self.target, None)
            raise _TransientFailure("the server's file is shorter than the partial download")
        if status in (401, 403):
            hint = f"; {self.remote.hint}" if self.remote.hint else ""
            raise SourceUnavailable(f"the server refuses it ({named}){hint}")
        if status in (404, 410):
            raise SourceUnavailable(f"the server has no such file ({named})")
        if status in _TRANSIENT:
            wait = _retry_after(response.headers.get("Retry-After"))
            if wait is not None and wait > LONGEST_WAIT_SECONDS:
                raise SourceUnavailable(f"the server is busy ({named}) and asks to come back in {wait:.0f} s")
            raise _TransientFailure(f"the server answers {named}", wait)
        raise SourceUnavailable(f"the server answers {named}")

    async def _append(self, response: aiohttp.ClientResponse, file: RawIOBase) -> None:
        buffer = bytearray()
        flushed = time.monotonic()
        try:
            async for chunk in response.content.iter_any():
                buffer += chunk
                self.received += len(chunk)
                self.size += len(chunk)
                if self.total and self.size > self.total:
                    raise SourceUnavailable(f"the server sends more than the {self.total:,} bytes that it stated")
                start = self.remote.starts_with
                if len(start) <= self.size == len(buffer) and not buffer.startswith(start):
                    buffer.clear()
                    raise SourceUnavailable(f"what it sends is not the file ({_kind(response)})")
                self._report()
                if len(buffer) >= _BUFFER or time.monotonic() - flushed >= _FLUSH_SECONDS:
                    full, buffer = buffer, bytearray()
                    await self.threads.step(_write_all, file, full)
                    flushed = time.monotonic()
        finally:
            if buffer:
                _write_all(file, buffer)  # in the event loop, as this may be being cancelled; at most a megabyte

    async def wait(self, seconds: float) -> None:
        """Wait before the next attempt."""
        await asyncio.sleep(seconds)

    async def keep_reporting(self) -> None:
        """Report progress even while no data arrives, so that the rate is right and clients see a sign of life."""
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            self._report()

    def _report(self) -> None:
        self.on_bytes(self.size, self.total)


def _write_all(file: RawIOBase, content: bytearray) -> None:
    rest = memoryview(content)
    while rest:  # on a disk that is nearly full, what fits is written before the error
        rest = rest[file.write(rest) :]


def _check_space(folder: Path, needed: int) -> None:
    if needed > free_bytes(folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _validator(headers: Mapping[str, str]) -> str | None:
    """Return a value for ``If-Range``: a strong ETag, else the date of the last change."""
    etag = headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    return headers.get("Last-Modified")


def _retry_after(value: str | None) -> float | None:
    """Return the seconds that a server asks to wait, as a number or as a date."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _kind(response: aiohttp.ClientResponse) -> str:
    return response.headers.get("Content-Type", "of no stated type").partition(";")[0]


def _tls(certificates: str | None) -> ssl.SSLContext:
    """Trust the system's certificates and those that the usual variables name; without any, those of ``certifi``."""
    context = ssl.create_default_context()
    named = certificates or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if named:
        path = Path(named)
        context.load_verify_locations(capath=named) if path.is_dir() else context.load_verify_locations(cafile=named)
    elif not context.get_ca_certs() and not any(ssl.get_default_verify_paths()[:2]):
        import certifi

        context.load_verify_locations(cafile=certifi.where())
    return context
