"""The ``https`` source: a file on a web server."""

from __future__ import annotations

from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from ..http_transfer import Remote, transfer
from .base import Job

_HINT = "put the name and password for the server into ~/.netrc"


class HttpsSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """
    Parameters:
        url: the address of the GGUF file, ``https://`` (or ``http://``, for private servers).
    """

    url: Annotated[str, Meta(pattern=r"^https?://[^/\s]+/\S+$")]


class HttpsSource:
    """Download from any web server. The environment's proxies and certificates apply, and ``~/.netrc``."""

    spec_type: ClassVar[type[Struct]] = HttpsSpec

    def describe(self, spec: HttpsSpec) -> str:
        parts = urlsplit(spec.url)  # what comes after the path may be a secret
        return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"

    def space(self, spec: HttpsSpec, size_bytes: int) -> int:
        return size_bytes

    async def fetch(self, spec: HttpsSpec, job: Job) -> str | None:
        remote = Remote(url=spec.url, size_bytes=job.size_bytes, sha256=job.sha256, hint=_HINT)
        await transfer(remote, job.target, job.on_bytes, job.threads)
        return None
