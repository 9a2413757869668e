"""Fetch a file over HTTP: what is here of it is kept and gone on from, and passing faults are waited out."""

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
from . import partial_downloads as partial
from .sources.base import OnBytes, SourceUnavailable

if TYPE_CHECKING:
    import aiohttp

TRIES = 5
"""Failures in a row, without a byte gained, after which a fetch is given up."""
CONNECT_TRIES = 3
"""The same for a server that cannot be reached at all."""
FIRST_WAIT_SECONDS = 0.5
"""The wait after the first failure; it doubles with each one that follows."""
LONGEST_WAIT_SECONDS = 60.0
"""A server that asks for a longer wait (``Retry-After``) is given up at once."""
CONNECT_SECONDS = 20.0
STALL_SECONDS = 30.0
"""A connection that brings nothing for so long has failed."""
TELL_SECONDS = 0.25

_BUFFER = 1 << 20
_FLUSH_SECONDS = 0.5
_PASSING = {408, 425, 429, 500, 502, 503, 504}


class Remote(Struct, frozen=True, kw_only=True):
    """A file on a server.

    Parameters:
        url: where it is.
        headers: to send, beside those of the transfer itself. A redirect to another host gets no ``Authorization``.
        size_bytes, sha256: what is known of it beforehand.
        tag: what else tells its content from an earlier one at the same place, where that is known beforehand.
        hint: what to do when the server refuses (401, 403).
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


class _Passing(Exception):
    """A failure that may pass."""

    def __init__(self, reason: str, wait: float | None = None, tries: int = TRIES) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait
        self.tries = tries


async def transfer(remote: Remote, target: Path, on_bytes: OnBytes) -> None:
    """Fetch ``remote`` to ``target``, going on from what an earlier attempt has left there.

    A part is gone on from only if the rest surely belongs to it: the file's hash is known and the same, or the server
    confirms that its content has not changed (``If-Range``). A server that sends the whole file anyway starts it over.

    Parameters:
        remote: what to fetch.
        target: where to, in a folder of its own; what is here of it stays when the fetch fails or is cancelled.
        on_bytes: told the bytes so far, those of earlier attempts included, and in all.

    Raises:
        SourceUnavailable: the server does not have it, refuses it, or failed too often.
        OSError: the file cannot be written.
    """
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=STALL_SECONDS)
    try:
        tls = await asyncio.to_thread(_tls, remote.certificates)
    except OSError as error:
        raise SourceUnavailable(f"the certificates cannot be read: {error}") from error
    connector = aiohttp.TCPConnector(ssl=tls)
    fetch = _Fetch(remote, target, on_bytes)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, trust_env=True, auto_decompress=False
    ) as session:
        teller = asyncio.create_task(fetch.keep_telling())
        try:
            await _try(fetch, session)
        finally:
            teller.cancel()


async def _try(fetch: _Fetch, session: aiohttp.ClientSession) -> None:
    failures = 0
    while True:
        before = fetch.received
        try:
            return await fetch.attempt(session)
        except _Passing as failure:
            failures = 1 if fetch.received > before else failures + 1
            if failures >= failure.tries:
                raise SourceUnavailable(f"{failure.reason} ({failures} times)") from failure
            await fetch.wait(failure.wait or FIRST_WAIT_SECONDS * 2 ** (failures - 1) * random.uniform(0.8, 1.2))


class _Fetch:
    """One transfer, over all its attempts."""

    def __init__(self, remote: Remote, target: Path, on_bytes: OnBytes) -> None:
        self.remote = remote
        self.target = target
        self.on_bytes = on_bytes
        self.received = 0
        """Bytes that came in, in all attempts of this transfer."""
        self.here = 0
        self.total = remote.size_bytes or 0
        known = f"sha256:{remote.sha256}" if remote.sha256 else remote.tag
        self.known_tag = known

    async def attempt(self, session: aiohttp.ClientSession) -> None:
        """Fetch what is missing; whatever happens, what came in is in the file."""
        import aiohttp

        # Without a tag known beforehand, the one of the part decides: the server is asked whether it still holds.
        tag = self.known_tag or await asyncio.to_thread(partial.kept_tag, self.target)
        self.here = await asyncio.to_thread(partial.resume_at, self.target, tag)
        if self.here and self.here == self.remote.size_bytes and self.known_tag:
            return  # all of it came before; only the check was missing
        self._tell()
        try:
            async with session.get(self.remote.url, headers=self._request_headers(tag)) as response:
                await self._receive(response, tag)
        except aiohttp.ClientSSLError as error:
            raise SourceUnavailable(f"no safe connection to {urlsplit(self.remote.url).netloc}: {error}") from error
        except aiohttp.ClientConnectorError as error:
            host = urlsplit(self.remote.url).netloc
            reason = error.os_error.strerror or str(error)
            raise _Passing(f"cannot connect to {host}: {reason}", tries=CONNECT_TRIES) from error
        except (aiohttp.InvalidURL, aiohttp.TooManyRedirects, aiohttp.NonHttpUrlClientError) as error:
            raise SourceUnavailable(f"{self.remote.url} leads nowhere: {type(error).__name__}") from error
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            what = str(error) or ("nothing came any more" if isinstance(error, TimeoutError) else type(error).__name__)
            raise _Passing(f"the connection broke: {what}") from error

    def _request_headers(self, tag: str | None) -> dict[str, str]:
        headers = {**self.remote.headers, "Accept-Encoding": "identity"}
        if self.here:
            headers["Range"] = f"bytes={self.here}-"
            if not self.known_tag and tag:
                headers["If-Range"] = tag
        return headers

    async def _receive(self, response: aiohttp.ClientResponse, tag: str | None) -> None:
        if response.status == 416 and response.headers.get("Content-Range", "").strip() == f"bytes */{self.here}":
            return  # all of it came before
        self._refuse(response)
        if response.status == 200:
            size = response.content_length
            tag = self.known_tag or _validator(response.headers)
            await asyncio.to_thread(partial.start_over, self.target, tag)
            self.here = 0
        else:  # 206
            place = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
            size = int(place[2]) if place and place[2].isdecimal() else None
            wrong_size = size is not None and self.remote.size_bytes not in (None, size)
            now = _validator(response.headers)
            changed = not self.known_tag and now not in (None, tag)  # it knows nothing of If-Range
            if place is None or int(place[1]) != self.here or wrong_size or changed:
                await asyncio.to_thread(partial.start_over, self.target, None)
                raise _Passing("the server sends another part than the one asked for")
        if size is not None:
            self.total = size
        if self.remote.size_bytes not in (None, self.total):
            raise SourceUnavailable(f"its file has {self.total:,} bytes and should have {self.remote.size_bytes:,}")
        _check_space(self.target.parent, self.total - self.here)
        with self.target.open("ab", buffering=0) as file:
            await self._append(response, file)
        if self.total and self.here < self.total:
            raise _Passing(f"the connection broke after {self.here:,} of {self.total:,} bytes")

    def _refuse(self, response: aiohttp.ClientResponse) -> None:
        """Raise what an answer without the file means."""
        status = response.status
        named = f"HTTP {status} {response.reason or ''}".strip()
        if status == 206 or (status == 200 and "Content-Encoding" not in response.headers):
            return
        if status == 200:
            raise SourceUnavailable(f"the server compresses the file ({response.headers['Content-Encoding']})")
        if status == 416:  # there is more here than the server has
            partial.start_over(self.target, None)
            raise _Passing("the server's file is shorter than the part that is here")
        if status in (401, 403):
            hint = f"; {self.remote.hint}" if self.remote.hint else ""
            raise SourceUnavailable(f"the server refuses it ({named}){hint}")
        if status in (404, 410):
            raise SourceUnavailable(f"the server has no such file ({named})")
        if status in _PASSING:
            wait = _retry_after(response.headers.get("Retry-After"))
            if wait is not None and wait > LONGEST_WAIT_SECONDS:
                raise SourceUnavailable(f"the server is busy ({named}) and asks to come back in {wait:.0f} s")
            raise _Passing(f"the server answers {named}", wait)
        raise SourceUnavailable(f"the server answers {named}")

    async def _append(self, response: aiohttp.ClientResponse, file: RawIOBase) -> None:
        buffer = bytearray()
        flushed = time.monotonic()
        try:
            async for chunk in response.content.iter_any():
                buffer += chunk
                self.received += len(chunk)
                self.here += len(chunk)
                if self.total and self.here > self.total:
                    raise SourceUnavailable(f"the server sends more than the {self.total:,} bytes that it stated")
                start = self.remote.starts_with
                if len(start) <= self.here == len(buffer) and not buffer.startswith(start):
                    buffer.clear()
                    raise SourceUnavailable(f"what it sends is not the file ({_kind(response)})")
                self._tell()
                if len(buffer) >= _BUFFER or time.monotonic() - flushed >= _FLUSH_SECONDS:
                    full, buffer = buffer, bytearray()
                    await _write(file, full)
                    flushed = time.monotonic()
        finally:
            if buffer:
                _write_all(file, buffer)  # at once, a megabyte at most: it may be that this is being cancelled

    async def wait(self, seconds: float) -> None:
        """Wait before the next attempt."""
        await asyncio.sleep(seconds)

    async def keep_telling(self) -> None:
        """Tell how far it is even when nothing comes, so that the rate is true and the listener knows of life."""
        while True:
            await asyncio.sleep(TELL_SECONDS)
            self._tell()

    def _tell(self) -> None:
        self.on_bytes(self.here, self.total)


async def _write(file: RawIOBase, content: bytearray) -> None:
    """Write in a thread, to the end even when this is cancelled."""
    task = asyncio.ensure_future(asyncio.to_thread(_write_all, file, content))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


def _write_all(file: RawIOBase, content: bytearray) -> None:
    rest = memoryview(content)
    while rest:  # what fits on a disk that is nearly full is written before the error comes
        rest = rest[file.write(rest) :]


def _check_space(folder: Path, needed: int) -> None:
    if needed > free_bytes(folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _validator(headers: Mapping[str, str]) -> str | None:
    """What ``If-Range`` takes: a strong ETag, else the date of the last change."""
    etag = headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    return headers.get("Last-Modified")


def _retry_after(value: str | None) -> float | None:
    """The seconds that a server asks to wait: a number, or a date."""
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
    """The system's certificates and those that the usual variables name; without any, those of ``certifi``."""
    context = ssl.create_default_context()
    named = certificates or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if named:
        path = Path(named)
        context.load_verify_locations(capath=named) if path.is_dir() else context.load_verify_locations(cafile=named)
    elif not context.get_ca_certs() and not any(ssl.get_default_verify_paths()[:2]):
        import certifi

        context.load_verify_locations(cafile=certifi.where())
    return context
